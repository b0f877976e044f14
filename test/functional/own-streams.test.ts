/** An app that is not root opens its own streams by name: many an image has its logs linked to /dev/stdout. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { dist, exampleAci, finished, makeRkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";
import { terminal } from "../helpers/terminal.ts";

const busybox = exampleAci("busybox");
const www = ["--user=33", "--group=33", "--working-dir=/"];
const sh = (script: string): string[] => ["--exec=/bin/sh", ...www, "--", "-c", script];
const OPENS = "echo one >/dev/stdout; echo two >/dev/stderr; echo three >/proc/self/fd/1";

const users = [
  ["users of the host", []],
  ["users of its own", ["--private-users"]],
] as const;

const flavors = [
  { flavor: "nspawn", options: [] },
  { flavor: "fly", options: [`--stage1-image=${join(dist, "stage1-fly.aci")}`] },
];

for (const [name, options] of users)
  test(`streams are the app's user's: ${name}`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const { stdout, stderr } = rkt.ok(["run", ...options, busybox, ...sh(`${OPENS}; stat -Lc %u:%a /dev/stdout`)]);
    assert.deepEqual([stdout, stderr], ["one\nthree\n33:600\n", "two\n"]);
    const logs = rkt.ok(["logs", rkt.containers()[0]?.slice("run/".length) ?? ""]);
    assert.deepEqual([logs.stdout, logs.stderr], ["one\nthree\n33:600\n", "two\n"]);
  });

test("an image's logs that are links to the streams", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const program = readFileSync("/bin/busybox");
  const image = makeAci(
    [
      { name: "rootfs/bin/busybox", mode: 0o755, data: program },
      { name: "rootfs/bin/sh", type: "2", link: "busybox" },
      { name: "rootfs/var/log/x/access.log", type: "2", link: "/dev/stdout" },
      { name: "rootfs/var/log/x/error.log", type: "2", link: "/dev/stderr" },
    ],
    manifest({
      app: {
        exec: ["/bin/sh", "-c", "echo request >>/var/log/x/access.log; echo failure >>/var/log/x/error.log"],
        user: "33",
        group: "33",
        eventHandlers: [
          { name: "pre-start", exec: ["/bin/sh", "-c", "echo before >/dev/stdout"] },
          { name: "post-stop", exec: ["/bin/sh", "-c", "echo after >/dev/stdout"] },
        ],
      },
    }),
  );
  const file = scratchFile(rkt, "logs.aci", image);
  const { stdout, stderr } = rkt.ok(["--insecure-options=image", "run", file]);
  assert.deepEqual([stdout, stderr], ["before\nrequest\nafter\n", "failure\n"]);
});

test("standard input that is passed on", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const child = rkt.start(["run", "--interactive", busybox, ...sh("head -c 4 /dev/stdin")]);
  // Open until the end: to open a FIFO whose writer has gone would wait for another.
  child.stdin?.write("text");
  const { status, stdout } = await finished(child);
  assert.deepEqual([status, stdout], [0, "text"]);
});

for (const { flavor, options } of flavors)
  for (const interactive of ["", "--interactive"])
    test(`${flavor}: at a terminal ${interactive}`, async (t) => {
      if (!requires(t, "root", "build", "tmux")) return;
      const rkt = makeRkt(t);
      const shows = "echo is $(readlink /proc/$$/fd/1); (: </dev/tty) 2>/dev/null && echo has a terminal";
      const line = `'${rktBinary}' --dir='${rkt.dir}' run ${interactive} ${options.join(" ")} '${busybox}' --exec=/bin/sh ${www.join(" ")} -- -c '${OPENS}; ${shows}'`;
      const tty = terminal(
        t,
        `tty >'${rkt.scratch}/name'; ls -ln $(tty) >'${rkt.scratch}/tty'; ${line}; ls -ln $(tty) >>'${rkt.scratch}/tty'; echo the end`,
      );
      const screen = await tty.shows(/^the end$/m);
      for (const word of ["one", "two", "three"]) assert.match(screen, new RegExp(`^${word}$`, "m"));
      const [before, after] = readFileSync(join(rkt.scratch, "tty"), "utf8").split("\n");
      const owner = (text = "") => text.split(/\s+/).slice(0, 4);
      assert.deepEqual(owner(after), owner(before), "the host's terminal is nobody else's");
      // Whoever has it could read what is typed there later.
      if (interactive === "") assert.match(screen, /^is (pipe:|\/rkt\/stdio\/)/m);
      else if (flavor === "fly") {
        assert.match(screen, /^is \/dev\/pts\/\d+$/m);
        assert.doesNotMatch(screen, new RegExp(`^is ${readFileSync(join(rkt.scratch, "name"), "utf8").trim()}$`, "m"));
      }
      assert.equal(/^has a terminal$/m.test(screen), interactive !== "", screen);
    });

/** A container that says that it is up; `shell` runs a script of the host's, in which `$ENTER` is `rkt enter` to its shell. */
async function entered(t: TestContext, options: readonly string[], user: readonly string[]) {
  const rkt = makeRkt(t);
  const uuidFile = join(rkt.scratch, "uuid");
  const app = ["--exec=/bin/sh", ...user, "--", "-c", "echo up; exec sleep 1000"];
  const child = rkt.start(["run", `--uuid-file-save=${uuidFile}`, ...options, busybox, ...app]);
  const ended = finished(child);
  await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
  const enter = ["enter", `--uuid-file=${uuidFile}`, "/bin/sh", "-c"];
  const ENTER = [rktBinary, `--dir=${rkt.dir}`, ...enter].map((word) => `'${word}'`).join(" ");
  return {
    rkt,
    enter,
    ENTER,
    shell(script: string): string {
      const done = spawnSync("bash", ["-c", script.replaceAll("$ENTER", ENTER)], {
        encoding: "utf8",
        cwd: rkt.scratch,
        timeout: 60_000,
      });
      return `${done.stdout}${done.stderr}`;
    },
    async stop() {
      rkt.ok(["stop", "--force", `--uuid-file=${uuidFile}`]);
      await ended;
    },
  };
}

const whom = [
  ...flavors.map((one) => ({ ...one, user: www })),
  { flavor: "nspawn, root", options: [], user: [] },
  { flavor: "nspawn, users of its own", options: ["--private-users"], user: www },
];
for (const { flavor, options, user } of whom)
  test(`${flavor}: nothing that the caller of rkt enter has open reaches the command`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const { rkt, shell, stop } = await entered(t, options, user);
    // By /proc/self/fd a pipe is opened in the other direction.
    assert.equal(shell("echo rest | { $ENTER 'echo INJECTED >/proc/self/fd/0'; cat; }"), "rest\n");
    const steals = "timeout 1 cat </proc/self/fd/1 >/tmp/stolen; echo mine";
    assert.equal(shell(`{ echo earlier; $ENTER '${steals}' 2>/dev/null; } | { sleep 2; cat; }`), "earlier\nmine\n");
    assert.equal(shell("$ENTER 'cat /tmp/stolen'"), "");
    // Pipes, FIFOs, files, sockets: none is the caller's, whose mode and flags stay what they are.
    const inodes = "stat -Lc %i /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2";
    const changes = "chmod 4777 /proc/self/fd/[012]; chown 1:1 /proc/self/fd/[012]";
    const own = `${inodes}; { ${changes}; } 2>/dev/null; true`;
    const places = [
      "mkfifo -m 600 f; exec 3<>f",
      "echo text >in; chmod 600 in; : >out; chmod 600 out; exec 3<in 4>>out 5>>out",
    ];
    shell(`${places[0]}; { $ENTER '${own}' <&3 >&3 2>&3; ${inodes} <&3 2>&3; }; timeout 1 cat <&3 >seen; stat -c %a:%u f >mode`);
    const [first, second, third, ...rest] = readFileSync(join(rkt.scratch, "seen"), "utf8").split("\n");
    assert.match(first ?? "", /^\d+$/);
    assert.equal(second, third, "one place, one pipe");
    assert.ok(![first, second].includes(String(statSync(join(rkt.scratch, "f")).ino)), rest.join());
    assert.equal(readFileSync(join(rkt.scratch, "mode"), "utf8"), "600:0\n");
    shell(`${places[1]}; $ENTER '${own}; cat; echo oops >&2' <&3 >&4 2>&5`);
    assert.match(readFileSync(join(rkt.scratch, "out"), "utf8"), /^\d+\n\d+\n\d+\ntext\noops\n$/);
    for (const file of ["in", "out"]) assert.equal(statSync(join(rkt.scratch, file)).mode & 0o7777, 0o600);
    await stop();
  });

for (const { flavor, options } of flavors)
  test(`${flavor}: what a command of rkt enter does not read stays where it is, and what it leaves behind writes on`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const { rkt, shell, stop } = await entered(t, options, []);
    writeFileSync(join(rkt.scratch, "list"), "1\n2\n3\n");
    const loop = "while read line; do $ENTER 'true'; echo had $line; done";
    assert.equal(shell(`cat list | ${loop}`), "had 1\nhad 2\nhad 3\n");
    assert.equal(shell(`${loop} <list`), "had 1\nhad 2\nhad 3\n");
    assert.equal(shell("{ $ENTER 'read x; echo got $x'; cat; } <list"), "got 1\n2\n3\n");
    // More than a pipe holds, and bytes of any value.
    const bytes = randomBytes(1024 * 1024);
    writeFileSync(join(rkt.scratch, "bytes"), bytes);
    assert.equal(shell("cat bytes | $ENTER 'exec cat' >copy; cmp bytes copy"), "");
    assert.equal(shell("{ $ENTER 'dd bs=4096 count=2 of=/dev/null 2>/dev/null'; cat; } <bytes | wc -c").trim(), String(bytes.length - 8192));
    const late = "{ sleep 2; echo late; } & echo now";
    assert.equal(shell(`{ $ENTER '${late}'; echo back >&2; } 2>&1 | cat`), "now\nback\nlate\n");
    assert.equal(shell("set -o pipefail; $ENTER 'yes' | head -n 1; echo $?"), "y\n141\n");
    await stop();
  });

test("fly: rkt enter at a terminal: one of its own, with the window's size and the command's status", async (t) => {
  if (!requires(t, "root", "build", "tmux")) return;
  const { ENTER, stop } = await entered(t, flavors[1]?.options ?? [], www);
  const tty = terminal(t, `tty; TERM=vt100 ${ENTER} 'tty; exec sh'; echo status $?; stty -a | grep -o -- "-*icanon"`);
  await tty.shows(/\$ $/m);
  const names = tty.screen().match(/^\/dev\/pts\/\d+$/gm) ?? [];
  assert.equal(new Set(names).size, 2, tty.screen());
  tty.type("stty size; echo $TERM; echo it''s in", "Enter");
  await tty.shows(/^30 100\nvt100\nits in$/m);
  tty.resize(80, 24);
  tty.type("stty size", "Enter");
  await tty.shows(/^24 80$/m);
  await tty.foreground("waits for C");
  tty.type("C-c");
  tty.type("echo ali''ve", "Enter");
  await tty.shows(/^alive$/m);
  tty.type("exit 5", "Enter");
  await tty.shows(/^status 5\nicanon$/m);
  await stop();
});

for (const [name, options] of users)
  test(`rkt enter: the command opens its streams by name, and nobody waits for the caller: ${name}`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const { shell, stop } = await entered(t, options, www);
    const opens = `$ENTER 'cat </dev/stdin; ${OPENS}'`;
    assert.equal(shell(`echo in | ${opens} 2>err | cat; cat err`), "in\none\nthree\ntwo\n");
    assert.equal(shell(`echo in | ${opens} 2>&1 | cat`), "in\none\ntwo\nthree\n");
    assert.equal(shell(`echo in >file; ${opens} <file >out 2>&1; cat out`), "in\none\ntwo\nthree\n");
    const owners = "stat -Lc %u:%a /proc/self/fd/0";
    assert.equal(shell(`echo in | { $ENTER 'cat'; ${owners}; } | { ${owners}; cat; }`), "0:600\nin\n0:600\n");
    // Not for an end of input that the command does not wait for, nor for a reader that has gone.
    assert.equal(shell("mkfifo p; exec 4<>p; $ENTER 'echo done' <&4 | cat"), "done\n");
    assert.equal(shell("set -o pipefail; echo in | $ENTER 'exit 7' | cat; echo $?"), "7\n");
    await stop();
  });

for (const [name, options] of users)
  test(`rkt enter: streams are the command's user's: ${name}`, async (t) => {
    if (!requires(t, "root", "build", "tmux")) return;
    const { rkt, enter, ENTER, shell, stop } = await entered(t, options, www);
    const files = ["out", "err"].map((name) => join(rkt.scratch, name)) as [string, string];
    const fds = files.map((file) => openSync(file, "w", 0o600));
    spawnSync(rktBinary, [`--dir=${rkt.dir}`, ...enter, OPENS], { stdio: ["ignore", ...fds] });
    fds.forEach(closeSync);
    assert.deepEqual(
      files.map((file) => [readFileSync(file, "utf8"), statSync(file).uid]),
      [
        ["one\nthree\n", 0],
        ["two\n", 0],
      ],
    );
    // The command's pipe is its user's, the caller's stays the caller's.
    const script = "$ENTER 'stat -Lc %u /dev/stdout' | { stat -Lc %u /proc/self/fd/0; cat; }";
    assert.equal(shell(script), "0\n33\n");
    assert.equal(shell(`$ENTER '${OPENS}' 2>&1 | cat`), "one\ntwo\nthree\n");
    const tty = terminal(t, `${ENTER} '${OPENS}'; echo the end`);
    const screen = await tty.shows(/^the end$/m);
    for (const word of ["one", "two", "three"]) assert.match(screen, new RegExp(`^${word}$`, "m"));
    await stop();
  });
