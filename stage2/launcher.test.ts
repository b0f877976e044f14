/**
 * The launcher as the build makes it, run as root in a hand-made stage1 root:
 * what an app sees, what hostile images cannot do to it, and what is said when an app can't start.
 */

import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { ANNOTATIONS } from "../shared/contract/annotations.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import type { App } from "../shared/schema/types.ts";
import { mkfifo } from "../shared/syscall/file.ts";
import {
  type AppSettings,
  type ContainerSettings,
  type LaunchResult,
  makeStage1Root,
  type Stage1Root,
} from "../test/helpers/stage1-root.ts";

/** A container whose one app runs a shell script. */
const shell = (script: string, app: Partial<App> = {}, runtime: AppSettings = {}): ContainerSettings => ({
  apps: [{ ...runtime, app: { exec: ["/bin/sh", "-c", script], ...app } }],
});

function ok(result: LaunchResult): string {
  assert.deepEqual({ status: result.status, stderr: result.stderr }, { status: 0, stderr: "" });
  return result.stdout;
}

function put(path: string, content: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
}

/** One run of an app. */
async function run(
  t: TestContext,
  settings: ContainerSettings,
  prepare?: (root: Stage1Root) => void,
): Promise<LaunchResult> {
  const root = await makeStage1Root(t, settings);
  prepare?.(root);
  return root.launch();
}

// --- what an app sees -----------------------------------------------------------------

test("file systems of the kernel, with their flags", async (t) => {
  const out = ok(await run(t, shell("cat /proc/self/mountinfo")));
  const options = new Map(
    out
      .trim()
      .split("\n")
      .map((line) => line.split(" "))
      .map((fields) => [fields[4], `${fields[fields.indexOf("-") + 1]} ${fields[5]}`]),
  );
  const expected: Record<string, string> = {
    "/proc": "proc rw,nosuid,nodev,noexec,relatime",
    "/sys": "sysfs ro,nosuid,nodev,noexec,relatime",
    "/dev": "tmpfs rw,nosuid,nodev,noexec,relatime",
    "/dev/pts": "devpts rw,nosuid,noexec,relatime",
    "/dev/shm": "tmpfs rw,nosuid,nodev,noexec,relatime",
    "/proc/sys": "proc ro,nosuid,nodev,noexec,relatime",
    "/proc/bus": "proc ro,nosuid,nodev,noexec,relatime",
  };
  for (const [path, flags] of Object.entries(expected)) assert.equal(options.get(path), flags, path);
  for (const [path, flags] of options) {
    // A file of /sys that is hidden is a null device.
    if (path === "/sys/kernel/vmcoreinfo") assert.match(flags, /^devtmpfs ro/);
    else if (path?.startsWith("/sys")) assert.match(flags, / ro,nosuid,nodev,noexec/, path);
    if (path === "/dev/null" || path === "/dev/console") assert.match(flags, / ro,nosuid,noexec/, path);
  }
  assert.match(options.get("/") ?? "", / rw,nodev/);
  // Nothing of stage 1 is left mounted behind it.
  assert.doesNotMatch(out, / \/(rkt|opt|usr|old)\b/);
});

test("devices work, and the links to streams lead where they should", async (t) => {
  const script = `
    head -c 3 /dev/zero | wc -c
    head -c 3 /dev/urandom | wc -c
    echo gone >/dev/null
    (echo full >/dev/full) 2>/dev/null || echo no space
    echo gone >/dev/console
    echo out >/dev/stdout
    cat /dev/stdin </dev/fd/0
    readlink /dev/ptmx
    touch /dev/shm/x /dev/x && ls /dev | tr '\\n' ' '`;
  const root = await makeStage1Root(t, shell(script));
  assert.equal(
    // Pipes: Node.js gives a child sockets, which have no name to open them by.
    ok(root.script("echo in | launcher app | cat")),
    `3
3
no space
out
in
pts/ptmx
console fd full log null ptmx pts random shm stderr stdin stdout tty urandom x zero `,
  );
});

test("a process that owes nothing to the launcher's runtime", async (t) => {
  const script = `
    grep -E '^(Sig(Blk|Ign|Cgt)|Threads)' /proc/self/status
    ls /proc/self/fd | wc -l
    ulimit -Sn; umask; cat /proc/self/comm`;
  // One command, so that the shell starts nothing with dispositions of its own.
  const direct = ok(await run(t, { apps: [{ app: { exec: ["/bin/grep", "^Sig[BI]", "/proc/self/status"] } }] }));
  assert.equal(direct, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  assert.match(
    ok(await run(t, shell(script))),
    /^Threads:\t1\nSigBlk:\t0{16}\nSigIgn:\t0{16}\nSigCgt:\t0{16}\n4\n1024\n0022\ncat\n$/,
  );
});

test("streams are the FIFOs that stage 1 made", async (t) => {
  const root = await makeStage1Root(t, shell("echo out; echo err >&2; cat"));
  for (const fifo of [STAGE1.appStdin("app"), STAGE1.appStdout("app"), STAGE1.appStderr("app")])
    mkfifo(root.path(fifo), 0o600);
  const at = "/rkt/stdio/app";
  const done = root.script(
    `cat ${at}.out >/tmp/out & cat ${at}.err >/tmp/err & echo in >${at}.in & launcher app; status=$?; wait; echo out: $(cat /tmp/out); echo err: $(cat /tmp/err); exit $status`,
  );
  assert.equal(ok(done), "out: out in\nerr: err\n");
});

test("what is refused before anything is done is said on the app's stderr", async (t) => {
  const root = await makeStage1Root(t, { apps: [{ app: { exec: [] } }] });
  mkfifo(root.path(STAGE1.appStderr("app")), 0o600);
  const refused = () =>
    root.script(
      `cat /rkt/stdio/app.err >/tmp/err & launcher app 2>/dev/null; status=$?; wait; cat /tmp/err; exit $status`,
    );
  assert.deepEqual(refused(), { status: 254, stdout: "rkt: app app: it does not say what to execute\n", stderr: "" });
  put(root.path(STAGE1.manifest), "{");
  const { status, stdout } = refused();
  assert.equal(status, 254);
  assert.match(stdout, /^rkt: app app: container manifest: line 1, column 2: .*\n$/);
});

test("the terminal of an interactive app is /dev/console", async (t) => {
  const settings = shell("tty; [ -t 0 ] && [ -t 1 ] && echo $TERM");
  const root = await makeStage1Root(t, {
    ...settings,
    annotations: [{ name: ANNOTATIONS.interactive, value: "true" }],
  });
  const done = root.launch(["app"], { terminal: true, env: { TERM: "vt220" } });
  assert.deepEqual([done.status, done.stdout], [0, "/dev/console\r\nvt220\r\n"]);
});

// --- images that are up to something --------------------------------------------------

const EMPTY = { name: "data", kind: "empty", readOnly: false } as const;

test("links on the way to a mount point lead nowhere but into the app's root", async (t) => {
  const links: Record<string, string> = {
    absolute: "/elsewhere",
    climbing: "../../../../../../../../elsewhere",
    dangling: "/not/there/yet",
    magic: "/proc/1/root",
  };
  for (const [name, target] of Object.entries(links)) {
    const mounts = [{ volume: "data", path: `/${name}/deep` }];
    const root = await makeStage1Root(t, {
      ...shell(`cat /${name}/deep/file; readlink -f /${name}/deep`, {}, { mounts }),
      volumes: [EMPTY],
    });
    put(join(root.path(STAGE1.emptyVolume("data")), "file"), "volume\n");
    symlinkSync(target, root.inApp(`/${name}`));
    const done = root.launch();
    // The kernel's file systems are there before the volumes: a way out by /proc is one into the app's own.
    if (name === "magic") assert.notEqual(done.status, 0);
    else {
      const clean = target.replace(/^(\.\.\/)+/, "/");
      assert.equal(ok(done), `volume\n${clean}/deep\n`);
    }
    for (const outside of ["/elsewhere", "/not", "/deep"])
      assert.ok(!existsSync(root.path(outside)) && !existsSync(outside), outside);
  }
});

test("links in the place of the kernel's mount points", async (t) => {
  for (const point of ["/proc", "/sys", "/dev"]) {
    const { status, stdout, stderr } = await run(t, shell("echo started"), (root) => {
      mkdirSync(root.inApp("/real"));
      symlinkSync("/real", root.inApp(point));
    });
    assert.deepEqual([status, stdout], [226, ""]);
    assert.match(stderr, new RegExp(`cannot mount .* on ${point}: the image has a link in its place`));
  }
});

const accountFiles: { name: string; make: (path: string) => void; message: RegExp }[] = [
  { name: "a FIFO", make: (path) => mkfifo(path, 0o600), message: /the image's \/etc\/passwd is not a regular file/ },
  { name: "an endless device", make: (path) => symlinkSync("/dev/zero", path), message: /is not a regular file/ },
  { name: "too large", make: (path) => put(path, "x".repeat((1 << 20) + 1)), message: /is larger than 1048576 bytes/ },
  { name: "a loop", make: (path) => symlinkSync("passwd", path), message: /cannot be opened: ELOOP/ },
];

for (const { name, make, message } of accountFiles)
  test(`accounts from ${name}`, async (t) => {
    const { status, stdout, stderr } = await run(t, shell("echo started", { user: "web" }), (root) => {
      mkdirSync(root.inApp("/etc"));
      make(root.inApp("/etc/passwd"));
    });
    assert.deepEqual([status, stdout], [217, ""]);
    assert.match(stderr, message);
  });

test("accounts by a link out of the root are those inside", async (t) => {
  const out = await run(t, shell("id -u", { user: "web", group: "5" }), (root) => {
    mkdirSync(root.inApp("/etc"));
    symlinkSync("../../../../../../../etc/shadow-passwd", root.inApp("/etc/passwd"));
    put(root.inApp("/etc/shadow-passwd"), "web:x:4242:1::/:/bin/sh\n");
  });
  assert.equal(ok(out), "4242\n");
});

// --- arguments -------------------------------------------------------------------------

const refused: { args: string[]; status: number; message: string }[] = [
  {
    args: [],
    status: 2,
    message: "rkt: usage: launcher APP [pre-start|post-stop|enter COMMAND...]\n",
  },
  { args: ["app", "restart"], status: 2, message: 'rkt: app app: no such event: "restart"\n' },
  {
    args: ["app", "pre-start", "x"],
    status: 2,
    message: "rkt: app app: usage: launcher APP [pre-start|post-stop|enter COMMAND...]\n",
  },
  {
    args: ["ap\u001b[2Jp"],
    status: 254,
    message: "rkt: app ap\\x1b[2Jp: the container manifest has no app of that name\n",
  },
  { args: ["app", "pre-start"], status: 254, message: "rkt: app app: it has no pre-start handler\n" },
  {
    args: ["app", "enter", "ls"],
    status: 254,
    message: "rkt: app app: RKT_ENTER_FDS names no descriptors: an app is entered by `rkt enter`\n",
  },
];

test("arguments that make no sense", async (t) => {
  const root = await makeStage1Root(t, shell("echo started"));
  for (const { args, status, message } of refused) {
    const done = root.launch(args);
    assert.deepEqual([done.status, done.stdout, done.stderr], [status, "", message]);
  }
});

test("what enters an app that is still being launched is turned away", async (t) => {
  const root = await makeStage1Root(t, shell("echo started"));
  // A mount namespace whose root is stage 1's, as the launcher's is at first.
  const done = root.script(`exec 3</proc/self/ns/mnt; RKT_ENTER_FDS=3 launcher app enter ls /; exit $?`);
  assert.deepEqual(
    [done.status, done.stdout, done.stderr],
    [226, "", "rkt: app app: it has no root of its own yet: try again\n"],
  );
});

test("an errno that nobody has put into words is one line that names operation and object", async (t) => {
  const err = STAGE1.appStderr("app");
  const { status, stderr } = await run(t, shell("true"), (root) => {
    mkdirSync(dirname(root.path(err)), { recursive: true });
    symlinkSync("app.err", root.path(err));
  });
  assert.deepEqual([status, stderr], [254, `rkt: app app: open ${err}: ELOOP\n`]);
});

test("what tells of the memory of everybody is empty, for root too", async (t) => {
  const files = ["kpagecgroup", "kpagecount", "kpageflags", "pagetypeinfo", "slabinfo", "vmallocinfo"];
  const paths = [...files.map((file) => `/proc/${file}`), "/sys/kernel/vmcoreinfo"];
  const script = `for f in ${paths.join(" ")}; do [ ! -e $f ] || head -c 8 $f; done | wc -c`;
  assert.equal(ok(await run(t, shell(script))), "0\n");
});
