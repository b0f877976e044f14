/** The options of `rkt run`, one by one: what an app then is, and sees. */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { exampleAci, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

/** Accounts of the image's own, which mean something else, or nothing, on the host. */
const PASSWD = "root:x:0:0::/root:/bin/sh\nweb:x:1001:1002:Web:/srv/web:/bin/sh\ndaemon:x:1003:1003::/:/bin/false\n";
const GROUP = "root:x:0:\nwww:x:1002:web\ndaemon:x:1003:\nlogs:x:1004:daemon,web\n";

const ROOT: readonly Entry[] = [
  { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
  { name: "rootfs/bin/sh", type: "2", link: "busybox" },
  { name: "rootfs/etc/passwd", data: PASSWD },
  { name: "rootfs/etc/group", data: GROUP },
  { name: "rootfs/owned", data: "", uid: 2001, gid: 2002 },
  { name: "rootfs/srv/web", type: "5", uid: 1001, gid: 1002 },
];

let made = 0;

/** An image with a shell, accounts and, where asked for, mount points. */
function image(rkt: Rkt, app: object = {}, entries: readonly Entry[] = []): string {
  const text = manifest({ app: { exec: ["/bin/sh", "-c", "true"], user: "root", group: "root", ...app } });
  return scratchFile(rkt, `image-${made++}.aci`, makeAci([...ROOT.filter(({ name }) => !entries.some((own) => own.name === name)), ...entries], text));
}

/** Words that make an app run a script; `busybox` is the only program there is. */
const sh = (script: string): string[] => ["--exec=/bin/sh", "--", "-c", `busybox() { /bin/busybox "$@"; }; ${script}`];

/** Names that consist of digits. */
const DIGITS: readonly Entry[] = [
  { name: "rootfs/etc/passwd", data: `1000:x:0:0::/:/bin/sh\n${PASSWD}` },
  { name: "rootfs/etc/group", data: `1000:x:0:\nshadow:x:42:1000\n${GROUP}` },
];

interface Case {
  name: string;
  /** Before the image, and after it. */
  before?: string[];
  after?: string[];
  app?: object;
  entries?: readonly Entry[];
  script: string;
  out: string;
  env?: Record<string, string>;
}

const account = "busybox id -u; busybox id -g";
const cases: Case[] = [
  {
    name: "--user and --group by name, from the image's own files",
    after: ["--user=web", "--group=www"],
    script: account,
    out: "1001\n1002\n",
  },
  { name: "--user and --group by number", after: ["--user=7", "--group=8"], script: account, out: "7\n8\n" },
  {
    name: "--user and --group by number, of an image that calls root so (CVE-2016-3697)",
    after: ["--user=1000", "--group=1000"],
    entries: DIGITS,
    script: `${account}; busybox id -G`,
    out: "1000\n1000\n1000\n",
  },
  {
    name: "an image's own user that is called by digits",
    app: { user: "1000", group: "1000" },
    entries: DIGITS,
    script: account,
    out: "0\n0\n",
  },
  {
    name: "--user and --group by the owner of a file",
    after: ["--user=/owned", "--group=/owned"],
    script: account,
    out: "2001\n2002\n",
  },
  {
    name: "the home and the name of the user",
    after: ["--user=web", "--group=www"],
    script: 'echo "$HOME $USER $LOGNAME"',
    out: "/srv/web web web\n",
  },
  {
    name: "--supplementary-gids in place of the image's",
    app: { supplementaryGIDs: [5] },
    after: ["--user=web", "--group=www", "--supplementary-gids=10,20", "--supplementary-gids=30"],
    script: "busybox id -G",
    out: "1002 10 20 30 1004\n",
  },
  {
    name: "none of the image's supplementary groups for another user than its own",
    app: { supplementaryGIDs: [0, 6, 42] },
    after: ["--user=web", "--group=www"],
    script: "busybox id -G",
    out: "1002 1004\n",
  },
  {
    name: "… nor for another group",
    app: { supplementaryGIDs: [0, 6, 42] },
    after: ["--group=9"],
    script: "busybox id -G",
    out: "9\n",
  },
  {
    name: "the groups of the image's /etc/group, of a user given by name",
    after: ["--user=web", "--group=www"],
    script: "busybox id -G",
    out: "1002 1004\n",
  },
  {
    name: "… and none for a user given by number",
    after: ["--user=1001", "--group=1002"],
    script: "busybox id -G",
    out: "1002\n",
  },
  {
    name: "the image's supplementary groups",
    app: { supplementaryGIDs: [5, 6] },
    script: "busybox id -G",
    out: "0 5 6\n",
  },
  { name: "--working-dir", after: ["--working-dir=/srv/web"], script: "pwd", out: "/srv/web\n" },
  {
    name: "the environment: image, --set-env-file, --set-env, --environment, the later over the earlier",
    app: { environment: ["A", "B", "C", "D"].map((name) => ({ name, value: "image" })) },
    before: ["--set-env-file=variables", "--set-env=C=set-env", "--set-env=D=set-env"],
    after: ["--environment=D=environment"],
    script: 'echo "$A $B $C $D"',
    out: "image file set-env environment\n",
  },
  {
    name: "--inherit-env gives what nothing else sets",
    before: ["--inherit-env"],
    app: { environment: [{ name: "B", value: "image" }] },
    env: { A: "caller", B: "caller", "BASH_FUNC_x%%": "() { :; }" },
    script: 'echo "$A $B"',
    out: "caller image\n",
  },
  {
    name: "without --inherit-env the caller's environment stays outside",
    env: { A: "caller" },
    script: 'echo "[$A]"',
    out: "[]\n",
  },
  {
    name: "--volume NAME:/PATH for the mount point of that name",
    app: { mountPoints: [{ name: "data", path: "/data" }] },
    before: ["--volume=data:SOURCE"],
    script: "busybox cat /data/file",
    out: "of the host\n",
  },
  {
    name: "--volume bind:/PATH for the one mount point without a volume",
    app: {
      mountPoints: [
        { name: "one", path: "/one" },
        { name: "two", path: "/two" },
      ],
    },
    before: ["--volume=bind:SOURCE", "--volume=one,kind=empty"],
    script: "busybox cat /two/file; busybox ls /one",
    out: "of the host\n",
  },
  {
    name: "--volume NAME,kind=host,source=/PATH,readOnly=true",
    app: { mountPoints: [{ name: "data", path: "/data" }] },
    before: ["--volume=data,kind=host,source=SOURCE,readOnly=true"],
    script: "busybox cat /data/file; { echo x >/data/file; } 2>/dev/null || echo refused",
    out: "of the host\nrefused\n",
  },
  {
    name: "a mount point that is read-only by the image, where the volume says nothing",
    app: { mountPoints: [{ name: "data", path: "/data", readOnly: true }] },
    before: ["--volume=data,kind=host,source=SOURCE"],
    script: "{ echo x >/data/file; } 2>/dev/null || echo refused",
    out: "refused\n",
  },
  {
    name: "--mount before the images, and its directory made where there is none",
    before: ["--volume=v:SOURCE", "--mount=volume=v,target=/a/b/c"],
    script: "busybox cat /a/b/c/file",
    out: "of the host\n",
  },
  {
    name: "a volume that is a file",
    before: ["--volume=v:SOURCE/file"],
    after: ["--mount=volume=v,target=/etc/config"],
    script: "busybox cat /etc/config",
    out: "of the host\n",
  },
  {
    name: "single-dash long options, a value as a word of its own",
    before: ["-set-env", "A=1"],
    after: ["-user", "web", "-group=www"],
    script: `echo $A; ${account}`,
    out: "1\n1001\n1002\n",
  },
  {
    name: "--exec with the image's arguments gone",
    app: { exec: ["/bin/sh", "-c", "echo the image's"] },
    script: "echo $#",
    out: "0\n",
  },
  {
    name: "/tmp for everybody, also where the image has none",
    after: ["--user=web", "--group=www"],
    script: "busybox stat -c %a /tmp; echo x >/tmp/x && busybox cat /tmp/x",
    out: "1777\nx\n",
  },
  { name: "/proc of the container", script: "test -r /proc/self/status && busybox cat /proc/1/comm", out: "systemd\n" },
  {
    name: "pseudoterminals and shared memory of the container's own",
    script: "busybox ls /dev/pts; busybox stat -c %a /dev/shm; test -c /dev/ptmx && echo ptmx",
    out: "ptmx\n1777\nptmx\n",
  },
];
// One data directory for all: the images are many, the stage1 image is taken in once.
test("rkt run", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const source = join(rkt.scratch, "source");
  mkdirSync(source);
  writeFileSync(join(source, "file"), "of the host\n");
  scratchFile(rkt, "variables", "# a comment\n\nB=file\nC=file\nD=file\n");
  for (const c of cases)
    await t.test(c.name, () => {
      const before = (c.before ?? []).map((word) => word.replace("SOURCE", source));
      const words = ["run", ...before, image(rkt, c.app, c.entries), ...(c.after ?? []), ...sh(c.script)];
      assert.equal(rkt.ok(words, { env: c.env ?? {} }).stdout, c.out);
      assert.equal(readFileSync(join(source, "file"), "utf8"), "of the host\n");
    });
});

test("--volume bind: with several candidates names them", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const mountPoints = ["one", "two"].map((name) => ({ name, path: `/${name}` }));
  const { stderr } = rkt.fails(["run", "--volume=bind:/tmp", image(rkt, { mountPoints })], 254, /^rkt: run: /);
  assert.match(stderr, /bind:\/tmp could serve any of the mount points one, two\nhint: .*--volume one:\/tmp/);
  assert.deepEqual(rkt.containers(), []);
});

test("options after an image are that image's, and those of the container may stand anywhere", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const say = 'echo "$0 $(/bin/busybox id -u) $A $B"';
  const app = (name: string, user: string, ...more: string[]) => [
    image(rkt),
    `--name=${name}`,
    `--user=${user}`,
    ...more,
    "--exec=/bin/sh",
    "--",
    "-c",
    say,
    name,
  ];
  const { stdout } = rkt.ok([
    "run",
    "--set-env=A=all",
    ...app("x", "7", "--environment=B=x"),
    "---",
    ...app("y", "8", "--set-env=B=late"),
  ]);
  assert.deepEqual(stdout.split("\n").sort(), ["", "x 7 all x", "y 8 all late"]);
});

test("annotations and labels are in the container manifest, of the container or of an app", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const three = (of: string) =>
    ["--annotation", "--user-annotation", "--user-label"].map((option) => `${option}=example.com/x=${of}`);
  const uuid = rkt.ok(["prepare", ...three("container"), image(rkt), "--name=a", ...three("app")]).stdout.trim();
  const pod = JSON.parse(rkt.ok(["cat-manifest", uuid]).stdout);
  const [app] = pod.apps;
  const found = (annotations: { name: string; value: string }[]) =>
    annotations.find(({ name }) => name === "example.com/x")?.value;
  assert.deepEqual(
    [found(pod.annotations), pod.userAnnotations, pod.userLabels],
    ["container", { "example.com/x": "container" }, { "example.com/x": "container" }],
  );
  assert.deepEqual(
    [found(app.annotations), app.app.userAnnotations, app.app.userLabels],
    ["app", { "example.com/x": "app" }, { "example.com/x": "app" }],
  );
});

test("--debug shows what lies beneath an error, and never without", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  scratchFile(rkt, "bad.aci", "hello\n".repeat(200));
  const beneath = /\n {4}at .*\n {2}caused by:\n/;
  assert.doesNotMatch(rkt.fails(["run", "./bad.aci"], 254, /^rkt: run: cannot import/).stderr, /\n {4}at /);
  rkt.fails(["--debug", "run", "./bad.aci"], 254, beneath);
  rkt.fails(["run", "./bad.aci", "--debug"], 254, beneath);
});

test("--quiet leaves warnings out, and errors in", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const unused = ["run", "--volume=unused,kind=empty", image(rkt)];
  assert.match(rkt.ok(unused).stderr, /^rkt: warning: no app mounts the volume "unused"\n$/);
  assert.equal(rkt.ok(["--quiet", ...unused]).stderr, "");
  rkt.fails(["--quiet", "run", "sha512-00"], 254, /no image sha512-00 in the store/);
});

// --- what cannot be started ---------------------------------------------------------------

/** A dynamic program of the host's, without the libraries that it needs. */
const dynamic = readFileSync("/usr/bin/env");
const forArm = Buffer.from(dynamic);
forArm.writeUInt16LE(183, 18);

const failures: { name: string; entries?: Entry[]; app?: object; after?: string[]; status: number; stderr: RegExp }[] =
  [
    {
      name: "no such program",
      app: { exec: ["/no/program"] },
      status: 203,
      stderr: /cannot execute "\/no\/program": no such file/,
    },
    {
      name: "a program that is not executable",
      entries: [{ name: "rootfs/x", data: "#!/bin/sh\n" }],
      app: { exec: ["/x"] },
      status: 203,
      stderr: /cannot execute "\/x": it is not executable \(mode 0644\)/,
    },
    {
      name: "a program whose loader is not in the image",
      entries: [{ name: "rootfs/x", data: dynamic, mode: 0o755 }],
      app: { exec: ["/x"] },
      status: 203,
      stderr:
        /cannot execute "\/x": its interpreter "\/lib64\/ld-linux-x86-64\.so\.2" is not in the image \(linked with glibc\)/,
    },
    {
      name: "a program for another architecture",
      entries: [{ name: "rootfs/x", data: forArm, mode: 0o755 }],
      app: { exec: ["/x"] },
      status: 203,
      stderr: /cannot execute "\/x": it is made for aarch64, and this is x86-64/,
    },
    {
      name: 'a bad "#!" line',
      entries: [{ name: "rootfs/x", data: "#!/bin/sh\r\necho\r\n", mode: 0o755 }],
      app: { exec: ["/x"] },
      status: 203,
      stderr: /cannot execute "\/x": its "#!" line ends in CR LF/,
    },
    {
      name: "an unknown user",
      after: ["--user=nobody"],
      status: 217,
      stderr: /user "nobody" is not in the image's \/etc\/passwd/,
    },
    {
      name: "an unknown group",
      after: ["--group=nogroup"],
      status: 216,
      stderr: /group "nogroup" is not in the image's \/etc\/group/,
    },
    {
      name: "a file for the user that is not there",
      after: ["--user=/no/file"],
      status: 217,
      stderr: /cannot take the user from the owner of \/no\/file: it does not exist in the image/,
    },
    {
      name: "a working directory that is not there",
      after: ["--working-dir=/no/dir"],
      status: 200,
      stderr: /cannot enter working directory "\/no\/dir": it does not exist/,
    },
  ];
test("an app that cannot start says why", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  for (const c of failures)
    await t.test(c.name, () => {
      const words = ["run", image(rkt, c.app, c.entries), ...(c.after ?? [])];
      const { stderr } = rkt.fails(words, c.status, /^rkt: app test: [^\n]*\n$/);
      assert.match(stderr, c.stderr);
      rkt.ok(["gc", "--grace-period=0"]);
    });
});

test("what a pre-start handler has removed is missed when the app starts", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const remove = ["/bin/busybox", "rm", "-r", "/bin/gone", "/gone"];
  const app = { exec: ["/bin/gone"], eventHandlers: [{ name: "pre-start", exec: remove }] };
  const aci = image(rkt, app, [
    { name: "rootfs/bin/gone", type: "2", link: "busybox" },
    { name: "rootfs/gone", type: "5" },
  ]);
  for (const [words, status, message] of [
    [[], 203, /cannot execute "\/bin\/gone": no such file/],
    [["--working-dir=/gone"], 200, /cannot enter working directory "\/gone": it does not exist/],
    // The handler has the same user and group, and is the first to need them.
    [["--user=nosuch"], 217, /user "nosuch" is not in the image's \/etc\/passwd/],
    [["--group=nosuch"], 216, /group "nosuch" is not in the image's \/etc\/group/],
  ] as const)
    await t.test(String(status), () => {
      rkt.fails(["run", aci, ...words], status, new RegExp(`^rkt: app test: ${message.source}`, "m"));
    });
});

test("what the launcher refuses in a directory that somebody changed is said on stderr", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = rkt.ok(["prepare", image(rkt)]).stdout.trim();
  const file = join(rkt.dir, "containers/prepared", uuid, "container");
  const pod = JSON.parse(readFileSync(file, "utf8"));
  pod.apps[0].app.exec = [];
  writeFileSync(file, JSON.stringify(pod));
  rkt.fails(["run-prepared", uuid], 254, /^rkt: app test: it does not say what to execute$/m);
});

test("an app that ignores SIGTERM is killed after the grace period", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const words = [
    "run",
    exampleAci("busybox"),
    "--exec=/bin/sh",
    "--",
    "-c",
    "trap '' TERM; echo up; while :; do sleep 1; done",
  ];
  const child = rkt.start(words);
  const status = new Promise((resolve) => child.on("close", resolve));
  await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
  child.kill("SIGTERM");
  assert.equal(await status, 128 + 9);
});
