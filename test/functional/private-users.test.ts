/** `--private-users`: the container's users are others of the host's, and its files are theirs nevertheless. */

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import {
  eventually,
  exampleAci,
  finished,
  makeRkt,
  requires,
  type Result,
  type Rkt,
  scratchFile,
  sh,
} from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

interface Running {
  uuid: string;
  child: ChildProcess;
  ended: Promise<Result>;
  /** Of the container's first id and their number, as `rkt status` says. */
  ids: { first: number; count: number };
}

let started = 0;

/** `rkt run --private-users`, when all apps have been started. */
async function running(rkt: Rkt, ...args: string[]): Promise<Running> {
  const file = join(rkt.scratch, `uuid-${started++}`);
  const child = rkt.start(["run", "--private-users", `--uuid-file-save=${file}`, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = finished(child);
  let over = false;
  void ended.then(() => {
    over = true;
  });
  const { uuid, ids } = await eventually("the container runs", () => {
    if (over) return { uuid: "", ids: undefined };
    const { stdout } = rkt.run(["status", `--uuid-file=${file}`]);
    const [, first, count] = /^private-users=(\d+):(\d+)$/m.exec(stdout) ?? [];
    if (!stdout.includes("ready=true\n")) return undefined;
    return { uuid: readFileSync(file, "utf8"), ids: { first: Number(first), count: Number(count) } };
  });
  if (ids === undefined) assert.fail(`it has ended: ${(await ended).stderr}`);
  return { uuid, child, ended, ids };
}

/** The processes of the host whose effective user is one of the container's. */
function processesOf({ first, count }: Running["ids"]): { pid: number; uid: number; command: string }[] {
  const { stdout } = spawnSync("ps", ["-eo", "pid=,uid=,args="], { encoding: "utf8" });
  return stdout.split("\n").flatMap((line) => {
    const [, pid, uid, command] = /^ *(\d+) +(\d+) (.*)$/.exec(line) ?? [];
    const id = Number(uid);
    return command !== undefined && id >= first && id < first + count ? { pid: Number(pid), uid: id, command } : [];
  });
}

/** The container's sleep(1): apps that have been started are still to become what they are. */
function sleeping(ids: Running["ids"]): Promise<{ pid: number }> {
  return eventually("it sleeps", () => processesOf(ids).find(({ command }) => /^(\/bin\/)?sleep 1000/.test(command)));
}

/** Whether the kernel has a lock on the ids (proc_locks(5)). */
function isReserved({ first, count }: Running["ids"]): boolean {
  const { ino } = statSync("/run/rkt/users");
  const byte = first / count;
  return new RegExp(`OFDLCK.*:${ino} ${byte} ${byte}$`, "m").test(readFileSync("/proc/locks", "utf8"));
}

test("an app's root is an ordinary user of the host, and all that is done with a container works", async (t) => {
  if (!requires(t, "root", "build", "ps", "nsenter")) return;
  const rkt = makeRkt(t);
  const script = "cat /proc/self/uid_map /proc/self/gid_map; trap 'echo stopped; exit 5' TERM; sleep 1000 & wait";
  const { uuid, ids, ended } = await running(rkt, busybox, ...sh(script));
  assert.equal(ids.count, 65_536);
  assert.equal(ids.first % 65_536, 0);
  assert.ok(ids.first >= 0x00080000 && ids.first <= 0x6fff0000, `${ids.first}`);

  // Everything in the container, from its first process on.
  const sleeper = await sleeping(ids);
  assert.ok(processesOf(ids).some(({ command }) => command.includes("systemd")));
  const map = `0 ${ids.first} 65536`;
  for (const file of ["uid_map", "gid_map"])
    assert.equal(readFileSync(`/proc/${sleeper.pid}/${file}`, "utf8").trim().replaceAll(/ +/g, " "), map);
  const status = readFileSync(`/proc/${sleeper.pid}/status`, "utf8");
  assert.match(status, new RegExp(`^Uid:(\t${ids.first}){4}$`, "m"));
  assert.match(status, new RegExp(`^Gid:(\t${ids.first}){4}$`, "m"));
  const inside = spawnSync("nsenter", [`-t${sleeper.pid}`, "-U", "-m", "-p", "-r", "-w", "/bin/sh", "-c", "id -u"]);
  assert.equal(inside.stdout.toString(), "0\n", inside.stderr.toString());

  const entered = rkt.run(["enter", uuid, "/bin/sh", "-c", "id -u; cat /proc/self/uid_map; exit 9"]);
  assert.equal(entered.status, 9, entered.stderr);
  assert.deepEqual(entered.stdout.replaceAll(/ +/g, " ").split("\n"), ["0", ` ${map}`, ""]);
  const [facts] = JSON.parse(rkt.ok(["list", "--format=json"]).stdout);
  assert.deepEqual(facts.privateUsers, ids);
  assert.ok(isReserved(ids));

  rkt.ok(["stop", uuid]);
  const { status: code, stdout } = await ended;
  assert.equal(code, 5);
  assert.match(stdout, /stopped\n$/);
  assert.equal(rkt.ok(["logs", uuid]).stdout, stdout);
  const after = rkt.ok(["status", uuid]).stdout;
  assert.match(after, /^app-busybox=5$/m);
  assert.doesNotMatch(after, /private-users/);
  assert.ok(!isReserved(ids));
  assert.deepEqual(processesOf(ids), []);
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
});

/** An image whose files are of three owners, some of them setuid. */
function ownersImage(rkt: Rkt): string {
  const program = join(rkt.scratch, "owners");
  execFileSync("gcc", ["-static", "-o", program, join(import.meta.dirname, "../fixtures/owners.c")]);
  const data = readFileSync(program);
  const entries: Entry[] = [
    { name: "rootfs/owners", data, mode: 0o755 },
    { name: "rootfs/as-root", data, mode: 0o4755 },
    { name: "rootfs/as-1000", data, mode: 0o6755, uid: 1000, gid: 1001 },
    { name: "rootfs/secret", data: "x", mode: 0o600 },
    { name: "rootfs/home/", type: "5", uid: 1000, gid: 1001, mode: 0o700 },
    { name: "rootfs/home/last", data: "x", uid: 65_535, gid: 65_534 },
  ];
  const text = manifest({ name: "example.com/owners", app: { exec: ["/owners"], user: "0", group: "0" } });
  return scratchFile(rkt, "owners.aci", makeAci(entries, text));
}

for (const [how, options] of [
  ["overlays", []],
  ["copies", ["--no-overlay"]],
] as const)
  test(`on ${how}, files have the owners that the image gives them, and are stored with those`, (t) => {
    if (!requires(t, "root", "build", "gcc", "tar")) return;
    const rkt = makeRkt(t);
    const image = ownersImage(rkt);
    const run = (...args: string[]) =>
      rkt.ok(["--insecure-options=image", "run", "--private-users", ...options, image, ...args]).stdout;
    const files = ["/", "/owners", "/as-root", "/as-1000", "/secret", "/home", "/home/last", "/etc/hosts", "/dev/null"];
    const asUser = ["--user=1000", "--group=1001"];
    const seen = `\
/ 0:0 755
/owners 0:0 755
/as-root 0:0 4755
/as-1000 1000:1001 6755
/secret 0:0 600
/home 1000:1001 700
/home/last 65535:65534 644
/etc/hosts 0:0 644
/dev/null 0:0 666
`;
    assert.equal(run("--", ...files, "+/made"), `0 0 0\n${seen}/made 0:0 644\n`);
    assert.equal(run(...asUser, "--", ...files, "+/home/made"), `1000 1000 1001\n${seen}/home/made 1000:1001 644\n`);
    assert.equal(run(...asUser, "--exec=/as-root"), "1000 0 1001\n");
    assert.equal(run("--exec=/as-1000"), "0 1000 0\n");

    // As they are stored: as the container's own ids, whose range is gone.
    const uuids = rkt.containers().map((path) => basename(path));
    const owners = new Set<string>();
    for (const uuid of uuids) {
      const aci = join(rkt.scratch, `${uuid}.aci`);
      rkt.ok(["export", uuid, aci]);
      const list = execFileSync("tar", ["-tvzf", aci, "--numeric-owner"], { encoding: "utf8" });
      for (const [, owner = "", path] of list.matchAll(/^\S+ (\d+\/\d+) .* rootfs\/(\S*)$/gm))
        owners.add(`${path} ${owner}`);
    }
    for (const expected of ["made 0/0", "home/made 1000/1001", "home/last 65535/65534", "as-1000 1000/1001"])
      assert.ok(owners.has(expected), `${expected} in ${[...owners].join(", ")}`);
  });

test("a running app is exported with the owners that it sees; its empty volume is its own, a host's if asked for", async (t) => {
  if (!requires(t, "root", "build", "tar")) return;
  const rkt = makeRkt(t);
  const host = join(rkt.scratch, "host");
  mkdirSync(host);
  const given = join(rkt.scratch, "given");
  mkdirSync(given);
  writeFileSync(join(host, "open"), "of the host's\n");
  writeFileSync(join(host, "closed"), "secret\n");
  chmodSync(join(host, "closed"), 0o600);
  const script = `touch /mine /e/mine; chown 7:8 /mine; stat -c '%n %u:%g' /e /e/mine /h /h/open; cat /h/open /h/closed
touch /h/new; echo x >>/h/open; touch /g/root /g/user; chown 1000:1001 /g/user; stat -c '%n %u:%g' /g /g/user; sleep 1000`;
  const { uuid } = await running(
    rkt,
    ...["--volume=e,kind=empty,uid=5,gid=6", `--volume=h,kind=host,source=${host}`],
    ...[`--volume=g,kind=host,idmap=true,source=${given}`, "--mount=volume=g,target=/g"],
    ...["--mount=volume=e,target=/e", "--mount=volume=h,target=/h", busybox, ...sh(script)],
  );
  const expected = `\
/e 5:6
/e/mine 0:0
/h 65534:65534
/h/open 65534:65534
of the host's
/g 0:0
/g/user 1000:1001
cat: can't open '/h/closed': Permission denied
touch: /h/new: Permission denied
/bin/sh: can't create /h/open: Permission denied
`;
  await eventually("the app has said all", () => {
    const { stdout, stderr } = rkt.ok(["logs", uuid]);
    return stdout + stderr.replaceAll(/^\/bin\/sh: (line \d+: )?/gm, "/bin/sh: ") === expected ? true : undefined;
  });
  const owner = (name: string) => spawnSync("stat", ["-c", "%u:%g", join(given, name)], { encoding: "utf8" }).stdout;
  assert.deepEqual([owner("root"), owner("user")], ["0:0\n", "1000:1001\n"]);
  const aci = join(rkt.scratch, "live.aci");
  rkt.ok(["export", uuid, aci]);
  const list = execFileSync("tar", ["-tvzf", aci, "--numeric-owner"], { encoding: "utf8" });
  assert.match(list, /^\S+ 7\/8 .* rootfs\/mine$/m);
  assert.deepEqual(
    [...list.matchAll(/^\S+ (\d+\/\d+) /gm)].map(([, owner]) => owner).filter((owner) => owner !== "0/0"),
    ["7/8"],
  );
  rkt.ok(["stop", "--force", uuid]);
});

test("sixteen at once have ids of their own, which are free when they have ended, however they did", async (t) => {
  if (!requires(t, "root", "build", "ps")) return;
  const rkt = makeRkt(t);
  // The images are in the store before all want them at once.
  rkt.ok(["run", "--rm", "--private-users", busybox, "--exec=/bin/true"]);
  const all = await Promise.all(
    Array.from({ length: 16 }, () => running(rkt, "--rm", busybox, "--exec=/bin/sleep", "--", "1000")),
  );
  const firsts = new Set(all.map(({ ids }) => ids.first));
  assert.equal(firsts.size, 16, [...firsts].join());
  for (const { ids } of all) {
    assert.ok(isReserved(ids));
    const { pid } = await sleeping(ids);
    const map = readFileSync(`/proc/${pid}/uid_map`, "utf8").trim().split(/ +/).map(Number);
    assert.deepEqual(map, [0, ids.first, 65_536]);
  }
  for (const [i, { child, uuid }] of all.entries())
    if (i % 2 === 0) child.kill("SIGKILL");
    else rkt.ok(["stop", "--force", uuid]);
  await Promise.all(all.map(({ ended }) => ended));
  for (const { ids } of all) {
    assert.ok(!isReserved(ids));
    await eventually("nothing runs as its users", () => (processesOf(ids).length === 0 ? true : undefined));
  }
  await eventually("--rm has removed them", () => (rkt.containers().length === 0 ? true : undefined));
});

test("isolators, handlers, several apps, standard input and prepared containers are as without", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const limits = ["--memory=64Mi", "--cpu=500m", "--user=1000", "--group=1000", "--working-dir=/"];
  const cgroup = "grep -c app-busybox /proc/self/cgroup >/dev/null && id -u";
  assert.equal(rkt.ok(["run", "--private-users", busybox, ...limits, ...sh(cgroup)]).stdout, "1000\n");
  const hog = 'a=$(head -c 100000000 /dev/zero | tr "\\0" x); echo survived';
  assert.equal(rkt.run(["run", "--private-users", busybox, ...limits, ...sh(hog)]).stdout, "");

  const two = ["run", "--private-users", busybox, "--name=a", ...sh("exit 3"), "---", busybox, "--name=b"];
  assert.equal(rkt.run([...two, ...sh("sleep 1000")]).status, 3);
  const input = { input: "through\n" };
  assert.equal(rkt.ok(["run", "--private-users", "--interactive", busybox, ...sh("cat")], input).stdout, "through\n");
  const readOnly = rkt.run(["run", "--private-users", busybox, "--readonly-rootfs", ...sh("touch /x")]);
  assert.match(readOnly.stderr, /Read-only file system/);

  const uuid = rkt.ok(["prepare", "--private-users", busybox, ...sh("head -n1 /proc/self/uid_map")]).stdout.trim();
  assert.match(rkt.ok(["run-prepared", uuid]).stdout, /^ +0 +[1-9]\d{5,} +65536\n$/);
  assert.equal(
    rkt.ok(["run", busybox, ...sh("cat /proc/self/uid_map")]).stdout,
    readFileSync("/proc/self/uid_map", "utf8"),
  );
});

test("what it can't have is refused before anything starts, and nothing is left", (t) => {
  if (!requires(t, "root", "build", "unshare")) return;
  const rkt = makeRkt(t);
  const fly = join(exampleAci("busybox"), "../../stage1-fly.aci");
  const data = join(rkt.scratch, "ramfs");
  mkdirSync(data);
  const run = (...args: string[]) => ["run", "--private-users", ...args];
  rkt.fails(
    run(`--stage1-path=${fly}`, busybox),
    254,
    /stage1-fly can't give a container users of its own\nhint: leave/,
  );
  rkt.fails(run(busybox, "--user=70000"), 254, /app busybox: the user is 70000, and .* ids up to 65535/);
  rkt.fails(run(busybox, "--supplementary-gids=1,65536"), 254, /a supplementary group is 65536/);
  rkt.fails(run("--volume=e,kind=empty,uid=65536", busybox), 254, /volume e: the owner is 65536/);
  rkt.fails(
    ["run", `--volume=g,kind=host,idmap=true,source=${data}`, busybox],
    2,
    /idmap has a meaning with --private/,
  );
  // Wherever the caller's PATH leads: the programs of the host are looked for in the usual places.
  const rktItself = [join(exampleAci("busybox"), "../../rkt"), `--dir=${rkt.dir}`, ...run(busybox)];
  const without = 'mount --bind /dev/null /usr/bin/unshare && exec "$@"';
  const noProgram = spawnSync("unshare", ["-m", "sh", "-c", without, "sh", ...rktItself], { encoding: "utf8" });
  assert.equal(noProgram.status, 254);
  assert.match(noProgram.stderr, /cannot make a user namespace: .*\nhint: .*unshare\(1\)/);
  // ramfs has no idmapped mounts.
  const script = 'mount -t ramfs none "$0" && exec "$@"';
  const command = [join(exampleAci("busybox"), "../../rkt"), `--dir=${data}/d`, ...run("--no-overlay", busybox)];
  const done = spawnSync("unshare", ["-m", "sh", "-c", script, data, ...command], { encoding: "utf8" });
  assert.equal(done.status, 254);
  assert.match(
    done.stderr,
    /cannot map the owners of \.\/stage1\/rootfs: its file system has no idmapped mounts\nhint: /,
  );
  assert.deepEqual(rkt.containers(), []);

  // Known when it is to be mounted.
  const volume = "--volume=p,kind=host,idmap=true,source=/proc";
  const unmapped = /the owners in \/proc can't be mapped: .*\nhint: .*recursive=false/;
  rkt.fails(run(volume, "--mount=volume=p,target=/p", busybox), 254, unmapped);
});
