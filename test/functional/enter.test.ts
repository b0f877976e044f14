/** `rkt enter`: a command in an app of a running container is confined as the app is. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  eventually,
  exampleAci,
  finished,
  makeRkt,
  type Rkt,
  type Result,
  requires,
  rktBinary,
} from "../helpers/rkt.ts";
import { terminal } from "../helpers/terminal.ts";

const busybox = exampleAci("busybox");

interface Running {
  rkt: Rkt;
  uuid: string;
  /** The first process of an app, as the host numbers it. */
  pid(app: string): number;
  /** `rkt enter` of a script, which has to succeed. */
  says(script: string, ...options: string[]): string;
  /** What `rkt run` ended with. */
  ended: Promise<Result>;
}

/** A container whose apps say that they are up; `args` follow `rkt run`. */
async function running(t: TestContext, args: readonly string[], apps = ["busybox"]): Promise<Running> {
  const rkt = makeRkt(t);
  const child = rkt.start(["run", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const ended = finished(child);
  let output = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    output += chunk;
  });
  const up = eventually("the apps are up", () => (output.split("is up\n").length > apps.length ? true : undefined));
  await Promise.race([up, ended.then(({ status, stderr }) => assert.fail(`ended with ${status}: ${stderr}`))]);
  const uuid = basename(rkt.containers()[0] ?? "");
  return {
    rkt,
    uuid,
    ended,
    pid: (app) => appProcess(uuid, app),
    says: (script, ...options) => rkt.ok(["enter", ...options, uuid, "/bin/sh", "-c", script]).stdout,
  };
}

function appProcess(uuid: string, app: string): number {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const found = pids.find((pid) => {
    try {
      const cgroup = readFileSync(`/proc/${pid}/cgroup`, "utf8");
      return cgroup.includes(`rkt-${uuid}/`) && cgroup.includes(`/app-${app}.service\n`);
    } catch {
      return false;
    }
  });
  assert.ok(found !== undefined, `no process of app ${app}`);
  return Number(found);
}

const app = (...options: string[]): string[] => [
  busybox,
  ...options,
  "--exec=/bin/sh",
  "--",
  "-c",
  "echo is up; exec sleep 1000",
];

const NAMESPACES = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

test("namespaces, root and cgroups are the app's", async (t) => {
  if (!requires(t, "root", "build")) return;
  const { rkt, uuid, pid } = await running(t, app());
  const child = rkt.start(["enter", uuid, "/bin/sh", "-c", "echo in; exec sleep 500"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  // The child of nsenter, which is one of what `rkt enter` became.
  const childOf = (pid: number | undefined) => Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8"));
  const entered = childOf(childOf(child.pid));
  const own = pid("busybox");
  assert.notEqual(entered, own);
  for (const name of NAMESPACES)
    assert.equal(readlinkSync(`/proc/${entered}/ns/${name}`), readlinkSync(`/proc/${own}/ns/${name}`), name);
  assert.equal(readFileSync(`/proc/${entered}/cgroup`, "utf8"), readFileSync(`/proc/${own}/cgroup`, "utf8"));
  const root = (of: number) => {
    const { dev, ino } = statSync(`/proc/${of}/root/`);
    return { dev, ino };
  };
  assert.deepEqual(root(entered), root(own));
  // The one who waits outside has not moved: the unit's cgroup holds nobody whom systemd cannot see.
  assert.equal(readFileSync(`/proc/${child.pid}/cgroup`, "utf8"), readFileSync("/proc/self/cgroup", "utf8"));
});

const STATUS =
  "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; cat /proc/self/oom_score_adj; umask";

const confined: { name: string; options: string[] }[] = [
  { name: "as it comes", options: [] },
  {
    name: "with a user, groups and fewer capabilities",
    options: [
      "--working-dir=/",
      "--user=1000",
      "--group=1001",
      "--supplementary-gids=5,6",
      "--caps-retain=CAP_CHOWN,CAP_KILL",
    ],
  },
];

for (const { name, options } of confined)
  test(`an app ${name}: whom the command runs as and what it may are the app's`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const script = `${STATUS}; echo is up; exec sleep 1000`;
    const child = [busybox, ...options, "--exec=/bin/sh", "--", "-c", script];
    const { says, rkt, uuid, ended } = await running(t, child);
    const entered = says(STATUS);
    rkt.ok(["stop", uuid]);
    assert.equal(`${entered}is up\n`, (await ended).stdout);
  });

test("environment and working directory are the app's", async (t) => {
  if (!requires(t, "root", "build")) return;
  const options = ["--environment=GREETING=hello world", "--working-dir=/etc"];
  const { says, pid } = await running(t, app(...options));
  const env = (text: string, separator: string) =>
    text
      .split(separator)
      .filter((line) => line !== "" && !/^(_|SHLVL|PWD|OLDPWD)=/.test(line))
      .sort();
  assert.deepEqual(env(says("env"), "\n"), env(readFileSync(`/proc/${pid("busybox")}/environ`, "utf8"), "\0"));
  assert.equal(says("echo $GREETING; pwd"), "hello world\n/etc\n");
  assert.doesNotMatch(says("env"), /RKT_/);
});

test("streams byte by byte, exit statuses, signals", async (t) => {
  if (!requires(t, "root", "build")) return;
  const { rkt, uuid, says } = await running(t, app());
  const bytes = Buffer.from(Array.from({ length: 65536 }, (_, i) => i % 256));
  const copied = spawnSync(rktBinary, [`--dir=${rkt.dir}`, "enter", uuid, "cat"], { input: bytes });
  assert.ok(copied.stdout.equals(bytes));
  const both = rkt.run(["enter", uuid, "sh", "-c", "echo out; echo err >&2; exit 7"]);
  assert.deepEqual([both.status, both.stdout, both.stderr], [7, "out\n", "err\n"]);
  assert.equal(rkt.run(["enter", uuid, "sh", "-c", "kill -KILL $$"]).signal, "SIGKILL");
  // Words stay words.
  assert.equal(rkt.ok(["enter", uuid, "echo", "a b", "$HOME", "'", "--", "-n"]).stdout, "a b $HOME ' -- -n\n");
  assert.equal(says("echo by name", "--app=busybox"), "by name\n");
});

test("an /etc/passwd that the app has made a FIFO keeps nobody out, and is not opened", async (t) => {
  if (!requires(t, "root", "build")) return;
  const writer = "(exec 3>/etc/passwd; cat /by >/opened.new; mv /opened.new /opened)";
  const script = `rm -f /etc/passwd; mkfifo /etc/passwd; echo rkt >/by; ${writer} & echo is up; exec sleep 1000`;
  const { rkt, uuid, pid } = await running(t, [busybox, "--exec=/bin/sh", "--", "-c", script]);
  const root = `/proc/${pid("busybox")}/root`;
  rkt.ok(["enter", uuid, "true"]);
  // The writer still waits for somebody who reads: that is the test.
  writeFileSync(`${root}/by`, "the test\n");
  const fifo = openSync(`${root}/etc/passwd`, constants.O_RDONLY | constants.O_NONBLOCK);
  t.after(() => closeSync(fifo));
  const opened = await eventually("it is opened", () => (existsSync(`${root}/opened`) ? true : undefined));
  assert.ok(opened);
  assert.equal(readFileSync(`${root}/opened`, "utf8"), "the test\n");
});

test("a command ends with `rkt enter`, and with its app", async (t) => {
  if (!requires(t, "root", "build")) return;
  const { rkt, uuid, says, ended } = await running(t, app("--working-dir=/", "--user=1000", "--group=1000"));
  const start = async () => {
    const child = rkt.start(["enter", uuid, "sh", "-c", "echo in; exec sleep 777"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    return child;
  };
  const sleeping = () => says("ps | grep -c '[s]leep 777' || true").trim();
  const first = await start();
  assert.equal(sleeping(), "1");
  first.kill("SIGKILL");
  await eventually("the command has ended", () => (sleeping() === "0" ? true : undefined));
  const second = finished(await start());
  rkt.ok(["stop", uuid]);
  assert.equal((await second).signal, "SIGKILL");
  assert.notEqual((await ended).status, 254);
});

test("nothing of the host's but the streams", async (t) => {
  if (!requires(t, "root", "build")) return;
  const { rkt, uuid } = await running(t, app());
  const secret = openSync("/etc/passwd", "r");
  t.after(() => closeSync(secret));
  const child = spawn(rktBinary, [`--dir=${rkt.dir}`, "enter", uuid, "/bin/sh", "-c", "echo /proc/self/fd/*"], {
    stdio: ["ignore", "pipe", "pipe", secret, secret],
    env: { ...process.env, HOST_SECRET: "1" },
  });
  // The last is the one the shell reads the directory by.
  assert.equal((await finished(child)).stdout, "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n");
});

const TWO = [...app("--name=one"), "---", ...app("--name=two", "--working-dir=/", "--user=1000", "--group=1000")];

test("several apps: --app chooses", async (t) => {
  if (!requires(t, "root", "build")) return;
  const { rkt, uuid, says, pid } = await running(t, TWO, ["one", "two"]);
  rkt.fails(["enter", uuid, "true"], 2, /the container has several apps\nhint: choose one with --app: one .*two/);
  rkt.fails(["enter", "--app=three", uuid, "true"], 254, /the container has no app three\nhint: there are: one/);
  assert.equal(says("id -u", "--app=one"), "0\n");
  assert.equal(says("id -u", "--app=two"), "1000\n");
  const mounts = (name: string) => readlinkSync(`/proc/${pid(name)}/ns/mnt`);
  assert.notEqual(mounts("one"), mounts("two"));
  // Each app has its own files.
  says("echo only here >/tmp/mark", "--app=one");
  assert.equal(says("ls /tmp/mark 2>&1 || true", "--app=two"), "ls: /tmp/mark: No such file or directory\n");
});

test("what cannot be entered says why", async (t) => {
  if (!requires(t, "root", "build")) return;
  const { rkt, uuid } = await running(t, app());
  rkt.fails(
    ["enter", uuid, "/bin/nothing"],
    203,
    /^rkt: app busybox: cannot execute "\/bin\/nothing": no such file\n$/,
  );
  rkt.fails(["enter", uuid, "nothing"], 203, /cannot execute "nothing": not found in PATH/);
  rkt.fails(["enter", uuid, "/etc"], 203, /cannot execute "\/etc": it is a directory/);
  rkt.fails(["enter", "00000000", "true"], 254, /00000000/);
  rkt.ok(["enter", uuid, "rm", "/bin/sh"]);
  rkt.fails(
    ["enter", uuid],
    203,
    /cannot execute "\/bin\/sh": no such file\nhint: an app without a shell is entered with a command/,
  );
  rkt.ok(["stop", uuid]);
  rkt.fails(["enter", uuid, "true"], 254, new RegExp(`container ${uuid} is not running: it is exited`));
});

// --- terminals -------------------------------------------------------------------------

const enterLine = ({ rkt, uuid }: Running, args: string): string =>
  `'${rktBinary}' --dir='${rkt.dir}' enter ${uuid} ${args}`;

test("a terminal: job control, the window's size, TERM, and a pty that is not the host's", async (t) => {
  if (!requires(t, "root", "build", "tmux")) return;
  const container = await running(t, app());
  const tty = terminal(t, `tty; TERM=vt100 ${enterLine(container, "")}; echo status $?`);
  await tty.shows(/# $/m);
  tty.type("stty size; echo $TERM; echo it''s in", "Enter");
  await tty.shows(/^30 100\nvt100\nits in$/m);
  tty.resize(80, 24);
  tty.type("stty size", "Enter");
  await tty.shows(/^24 80$/m);
  await tty.foreground("waits for Z");
  tty.type("C-z");
  await tty.shows(/Stopped/);
  tty.type("kill -KILL %1; wait; clear; echo clea''red", "Enter");
  // At a prompt again: what is typed before is lost.
  await tty.shows(/^cleared\n(?:.*\n)*.*# *\n*$/);
  // ^C reaches the foreground job alone.
  await tty.foreground("waits for C");
  tty.type("C-c");
  tty.type("echo ali''ve", "Enter");
  const screen = await tty.shows(/^alive$/m);
  assert.doesNotMatch(screen, /status/);
  // A session that the host's terminal does not belong to: only a number that the container has given.
  tty.type("clear; ps -o pid,sid,tty | grep ' ps ' ; cut -d' ' -f6,7 /proc/self/stat", "Enter");
  const shell = await tty.shows(/^\d+ \d+$/m);
  const [, session = ""] = /^(\d+) \d+$/m.exec(shell) ?? [];
  assert.ok(Number(session) > 1, shell);
  tty.type("exit 5", "Enter");
  await tty.shows(/^status 5$/m);
});

const mixed: { name: string; redirect: string; shows: RegExp }[] = [
  { name: "standard output", redirect: "</dev/null 2>ERR", shows: /^pipe\nnot a tty$/m },
  { name: "standard output and error", redirect: "</dev/null", shows: /^pipe\nnot a tty$/m },
  { name: "standard error", redirect: "</dev/null 2>&1 >OUT", shows: /^pipe$/m },
  { name: "standard input", redirect: "| cat", shows: /^\/memfd$/m },
];

for (const { name, redirect, shows } of mixed)
  test(`a terminal as ${name} alone stays outside`, async (t) => {
    if (!requires(t, "root", "build", "tmux")) return;
    const container = await running(t, app());
    const scratch = (line: string) => line.replace(/ERR|OUT/, (file) => join(container.rkt.scratch, file));
    const fd = name === "standard error" ? 2 : name === "standard input" ? 0 : 1;
    const script = `readlink /proc/self/fd/${fd} | sed "s/:.*//; s,/dev/,," >&${fd || 1}; tty >&${fd || 1}; (: </dev/tty) 2>/dev/null && echo has a terminal; exit 6`;
    const words = `/bin/sh -c '${script}'`;
    const line = scratch(`${enterLine(container, words)} ${redirect}`);
    const tty = terminal(t, `${line}; echo status $?`);
    const screen = await tty.shows(/^status \d+$/m);
    assert.match(screen, shows);
    assert.doesNotMatch(screen, /^has a terminal$/m);
    if (!redirect.includes("|")) assert.match(screen, /^status 6$/m);
  });

test("a file of the host's is read and written, and nothing else is done to it", async (t) => {
  if (!requires(t, "root", "build")) return;
  const { rkt, uuid } = await running(t, app());
  const [input, output, errors] = ["in", "out", "err"].map((name) => join(rkt.scratch, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(input, "one\ntwo\n");
  const fds = [openSync(input, "r"), openSync(output, "w", 0o644), openSync(errors, "w", 0o644)];
  t.after(() => fds.forEach(closeSync));
  const script =
    "for fd in 0 1 2; do chmod 4777 /proc/self/fd/$fd; chown 1:1 /proc/self/fd/$fd; done 2>/dev/null; cat; echo oops >&2; exit 5";
  for (const [stdio, written, said] of [
    [fds, "one\ntwo\n", "oops\n"],
    [["ignore", fds[1], fds[1]], "one\ntwo\noops\n", "oops\n"],
  ] as const) {
    const child = spawn(rktBinary, [`--dir=${rkt.dir}`, "enter", uuid, "/bin/sh", "-c", script], { stdio: [...stdio] });
    assert.equal((await finished(child)).status, 5);
    assert.deepEqual([readFileSync(output, "utf8"), readFileSync(errors, "utf8")], [written, said]);
  }
  for (const file of [input, output, errors, "/dev/null"]) {
    const { mode, uid } = statSync(file);
    assert.deepEqual([mode & 0o7777, uid], [file === "/dev/null" ? 0o666 : 0o644, 0], file);
  }
});
