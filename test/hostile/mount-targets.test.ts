/**
 * Links that lead a mount elsewhere, put where a volume is mounted by whoever else can write there: another app with
 * the same volume, an app before its handler runs, the image's maker (CVE-2019-16884, CVE-2021-30465). What is mounted
 * lands where the manifest says, or nothing starts.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { dist, finished, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

const LINKS = ["cat", "id", "ln", "ls", "mkdir", "mv", "rm", "rmdir", "sh", "sleep", "touch", "true"];
const busybox = (): Entry[] => [
  { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
  ...LINKS.map((name): Entry => ({ name: `rootfs/bin/${name}`, type: "2", link: "busybox" })),
  { name: "rootfs/etc/passwd", data: "root:x:0:0::/:/bin/sh\nvictim:x:1000:1000::/:/bin/sh\n" },
  { name: "rootfs/etc/group", data: "root:x:0:\nvictim:x:1000:\n" },
];

let made = 0;
function image(rkt: Rkt, name: string, app: object, entries: readonly Entry[] = []): string {
  const text = manifest({ name: `example.com/${name}`, app: { user: "0", group: "0", ...app } });
  return scratchFile(rkt, `image-${made++}.aci`, makeAci([...busybox(), ...entries], text));
}

/** Of the host, for everybody to read. */
function directory(rkt: Rkt, prefix: string): string {
  const dir = mkdtempSync(join(rkt.scratch, prefix));
  chmodSync(dir, 0o755);
  return dir;
}

/** A directory with what takes over whoever has it in the place of /bin or /etc. */
function weapon(rkt: Rkt): string {
  const dir = directory(rkt, "weapon-");
  const source = scratchFile(rkt, "weapon.c", 'int puts(const char *);\nint main(void) { puts("REACHED"); return 0; }\n');
  execFileSync("gcc", ["-static", "-o", join(dir, "sh"), source]);
  for (const name of ["id", "cat", "true"]) copyFileSync(join(dir, "sh"), join(dir, name));
  writeFileSync(join(dir, "passwd"), "root:x:0:0::/:/bin/sh\nvictim:x:0:0::/:/bin/sh\n");
  writeFileSync(join(dir, "group"), "root:x:0:\nvictim:x:0:\n");
  return dir;
}

const FLAVORS: readonly [name: string, options: readonly string[]][] = [
  ["nspawn", []],
  ["nspawn with users of its own", ["--private-users"]],
  ["fly", [`--stage1-path=${join(dist, "stage1-fly.aci")}`]],
];

const ready = (t: TestContext) => requires(t, "root", "build", "gcc");
/** Whatever says that it is root, who should be "victim", or runs what is not the image's. */
const TAKEN = /REACHED|uid=0/;

// --- links that are there before the container is made ----------------------------------------------------

interface Trap {
  name: string;
  /** What "sub" of the volume on /data is a link to. */
  link: string;
  /** Where the second volume is mounted; a link in the volume is on the way. */
  target?: string;
  entries?: Entry[];
}

const traps: Trap[] = [
  ...["/bin", "/etc", "../bin", "../../etc", "/dev", "/proc", "/sys", "/", "..", ".", "sub"].map((link) => ({
    name: `to ${link}`,
    link,
  })),
  { name: "to a directory, on the way to the target", link: "/", target: "/data/sub/bin" },
  { name: "to another place in the volume", link: "other" },
  { name: "to nothing", link: "/nothing/there" },
  { name: "to /proc/self/root/bin", link: "/proc/self/root/bin" },
  {
    name: "on a way that the image's own link leads into the volume",
    link: "/bin",
    target: "/way/sub",
    entries: [{ name: "rootfs/way", type: "2", link: "data" }],
  },
  {
    name: "on a way out of the volume by the image's own link",
    link: "/bin",
    target: "/way",
    entries: [{ name: "rootfs/way", type: "2", link: "data/../bin" }],
  },
];

for (const [flavor, options] of FLAVORS)
  test(`${flavor}: a link in a volume leads no mount out of it`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const second = weapon(rkt);
    for (const trap of traps)
      await t.test(trap.name, () => {
        const first = directory(rkt, "first-");
        mkdirSync(join(first, "other"));
        symlinkSync(trap.link, join(first, "sub"));
        const app = {
          exec: ["/bin/sh", "-c", "id; echo started"],
          user: "victim",
          group: "victim",
          mountPoints: [
            { name: "first", path: "/data" },
            { name: "second", path: trap.target ?? "/data/sub" },
          ],
        };
        const volumes = [`--volume=first:${first}`, `--volume=second:${second}`];
        const file = image(rkt, "victim", app, trap.entries);
        const { status, stdout, stderr } = rkt.run(["run", ...options, ...volumes, file]);
        assert.doesNotMatch(stdout, TAKEN);
        assert.deepEqual([status, stdout], [226, ""], stderr);
        assert.match(stderr, /cannot mount volume "second" on .*: (?:a symbolic link is on its way|its path leaves)/);
      });
  });

test("a file of a volume that is a link leads no mount onto another file", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const first = directory(rkt, "first-");
  symlinkSync("/etc/passwd", join(first, "settings"));
  const app = {
    exec: ["/bin/sh", "-c", "id"],
    user: "victim",
    group: "victim",
    mountPoints: [
      { name: "first", path: "/data" },
      { name: "second", path: "/data/settings" },
    ],
  };
  const volumes = [`--volume=first:${first}`, `--volume=second:${join(weapon(rkt), "passwd")}`];
  const { stdout } = rkt.fails(["run", ...volumes, image(rkt, "victim", app)], 226, /a symbolic link is on its way/);
  assert.equal(stdout, "");
});

// --- links that come and go ---------------------------------------------------------------------------------

for (const [flavor, options] of FLAVORS)
  test(`${flavor}: a link that comes and goes while containers start leads no mount out of the volume`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const second = weapon(rkt);
    const first = directory(rkt, "first-");
    const [sub, aside] = [join(first, "sub"), join(first, "aside")];
    mkdirSync(sub);
    symlinkSync("/bin", aside);
    const app = {
      exec: ["/bin/sh", "-c", "id; echo started"],
      user: "victim",
      group: "victim",
      mountPoints: [
        { name: "first", path: "/data" },
        { name: "second", path: "/data/sub" },
      ],
    };
    const file = image(rkt, "victim", app);
    // In a process of its own, since the test's waits for rkt.
    const swap = `import os, ctypes
libc = ctypes.CDLL(None)
while True: libc.renameat2(-100, b"${sub}", -100, b"${aside}", 2)`;
    const attacker = execFileSync("sh", ["-c", 'python3 -c "$1" >/dev/null 2>&1 & echo $!', "sh", swap], {
      encoding: "utf8",
    });
    try {
      for (let round = 0; round < 12; round++) {
        const volumes = [`--volume=first:${first}`, `--volume=second:${second}`];
        const { status, stdout, stderr } = rkt.run(["run", ...options, ...volumes, file]);
        assert.doesNotMatch(stdout, TAKEN);
        assert.ok(status === 0 || (status === 226 && stdout === ""), `status ${status}: ${stdout}${stderr}`);
      }
    } finally {
      process.kill(Number(attacker), "SIGKILL");
    }
  });

test("an app puts a link in a volume that it shares, before its neighbour's handler runs", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const second = weapon(rkt);
  const mountPoints = [
    { name: "first", path: "/data" },
    { name: "second", path: "/data/sub" },
  ];
  const victim = image(rkt, "victim", {
    exec: ["/bin/sh", "-c", "while [ ! -L /data/sub ]; do sleep 0.05; done; exit 3"],
    mountPoints,
    eventHandlers: [{ name: "post-stop", exec: ["/bin/sh", "-c", "echo handler of the image"] }],
  });
  const attacker = image(rkt, "attacker", {
    exec: ["/bin/sh", "-c", "while [ ! -d /data/sub ]; do sleep 0.05; done; mv /data/sub /data/was; ln -s /bin /data/sub"],
    user: "1000",
    group: "1000",
    mountPoints: [{ name: "first", path: "/data" }],
  });
  const volumes = ["--volume=first,kind=empty,mode=0777", `--volume=second:${second}`];
  const { status, stdout, stderr } = await finished(rkt.start(["run", ...volumes, victim, "---", attacker]));
  assert.equal(status, 3, stderr);
  assert.doesNotMatch(stdout, TAKEN);
  assert.match(stderr, /a symbolic link is on its way/);
});

test("an app of an ordinary user puts a link in its own directory, and its handler becomes nobody else", (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const app = {
    exec: ["/bin/sh", "-c", "rmdir /own/data/* 2>/dev/null; cd /own && mv data was && ln -s /etc data; exit 3"],
    user: "victim",
    group: "victim",
    mountPoints: [{ name: "accounts", path: "/own/data/accounts" }],
    eventHandlers: [{ name: "post-stop", exec: ["/bin/sh", "-c", "id"] }],
  };
  // The link would have it mounted on /etc/accounts; one level up, on /etc itself.
  for (const target of ["/own/data/accounts", "/own/data"]) {
    const entries: Entry[] = [{ name: "rootfs/own", type: "5", uid: 1000, gid: 1000, mode: 0o755 }];
    const file = image(rkt, "victim", { ...app, mountPoints: [{ name: "accounts", path: target }] }, entries);
    const done = rkt.run(["run", `--volume=accounts:${weapon(rkt)}`, file]);
    assert.equal(done.status, 3, done.stderr);
    assert.doesNotMatch(done.stdout, TAKEN);
  }
});

// --- links of the image -------------------------------------------------------------------------------------

const ofTheImage: { name: string; target: string; entries: Entry[]; refused?: RegExp; out?: string }[] = [
  {
    name: "a link to the root",
    target: "/l",
    entries: [{ name: "rootfs/l", type: "2", link: "/" }],
    refused: /it leads to the app's root itself/,
  },
  {
    name: "a link upwards to the root",
    target: "/a/l",
    entries: [{ name: "rootfs/a/l", type: "2", link: "../.." }],
    refused: /it leads to the app's root itself/,
  },
  ...["/dev", "/proc", "/sys", "/proc/self", "/dev/shm"].map((link) => ({
    name: `a link to ${link}`,
    target: "/l",
    entries: [{ name: "rootfs/l", type: "2", link } as Entry],
    refused: /the image has a link in its place, which leads into \/(?:dev|proc|sys)/,
  })),
  {
    name: "a link to where another volume is",
    target: "/l",
    entries: [{ name: "rootfs/l", type: "2", link: "/data" }],
    refused: /it leads to \/data, on which something is mounted already/,
  },
  {
    name: "a loop of links",
    target: "/l/x",
    entries: [{ name: "rootfs/l", type: "2", link: "/l" }],
    refused: /too many symbolic links are on its way/,
  },
  {
    name: "a link into a volume, to a directory that is there",
    target: "/l/other",
    entries: [{ name: "rootfs/l", type: "2", link: "/data" }],
    out: "passwd\n",
  },
  {
    name: "a link of an ordinary user, to a directory of that user",
    target: "/l",
    entries: [
      { name: "rootfs/own", type: "5", uid: 1000, gid: 1000, mode: 0o755 },
      { name: "rootfs/l", type: "2", link: "/own", uid: 1000, gid: 1000 },
    ],
    out: "passwd\n",
  },
  {
    name: "a link of an ordinary user, to a directory of root",
    target: "/l",
    entries: [{ name: "rootfs/l", type: "2", link: "/etc", uid: 1000, gid: 1000 }],
    refused: /a symbolic link of user 1000 is on its way, and leads to a file of user 0/,
  },
];

for (const [flavor, options] of FLAVORS)
  test(`${flavor}: links of the image`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const second = weapon(rkt);
    const first = directory(rkt, "first-");
    mkdirSync(join(first, "other"));
    for (const c of ofTheImage)
      await t.test(c.name, () => {
        const app = {
          exec: ["/bin/sh", "-c", `cd ${c.target} && ls -d passwd`],
          mountPoints: [
            { name: "first", path: "/data" },
            { name: "second", path: c.target },
          ],
        };
        const volumes = [`--volume=first:${first}`, `--volume=second:${second}`];
        const words = ["run", ...options, ...volumes, image(rkt, "victim", app, c.entries)];
        if (c.refused === undefined) assert.equal(rkt.ok(words).stdout, c.out);
        else assert.equal(rkt.fails(words, 226, c.refused).stdout, "");
        assert.ok(!lstatSync(join(first, "other")).isSymbolicLink());
      });
  });
