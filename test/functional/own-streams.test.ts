/** An app that is not root opens its own streams by name: many an image has its logs linked to /dev/stdout. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { exampleAci, finished, makeRkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";
import { terminal } from "../helpers/terminal.ts";

const busybox = exampleAci("busybox");
const www = ["--user=33", "--group=33", "--working-dir=/"];
const sh = (script: string): string[] => ["--exec=/bin/sh", ...www, "--", "-c", script];
const OPENS = "echo one >/dev/stdout; echo two >/dev/stderr; echo three >/proc/self/fd/1";

for (const [name, options] of [
  ["users of the host", []],
  ["users of its own", ["--private-users"]],
] as const)
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

for (const interactive of ["", "--interactive"])
  test(`at a terminal ${interactive}`, async (t) => {
    if (!requires(t, "root", "build", "tmux")) return;
    const rkt = makeRkt(t);
    const line = `'${rktBinary}' --dir='${rkt.dir}' run ${interactive} '${busybox}' --exec=/bin/sh ${www.join(" ")} -- -c '${OPENS}'`;
    const tty = terminal(
      t,
      `ls -ln $(tty) >'${rkt.scratch}/tty'; ${line}; ls -ln $(tty) >>'${rkt.scratch}/tty'; echo the end`,
    );
    const screen = await tty.shows(/^the end$/m);
    for (const word of ["one", "two", "three"]) assert.match(screen, new RegExp(`^${word}$`, "m"));
    const [before, after] = readFileSync(join(rkt.scratch, "tty"), "utf8").split("\n");
    const owner = (text = "") => text.split(/\s+/).slice(0, 4);
    assert.deepEqual(owner(after), owner(before), "the host's terminal is nobody else's");
  });

for (const [name, options] of [
  ["users of the host", []],
  ["users of its own", ["--private-users"]],
] as const)
  test(`rkt enter in the caller's pipes and files: ${name}`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const child = rkt.start(["run", ...options, `--uuid-file-save=${rkt.scratch}/uuid`, busybox, ...sh("echo up; sleep 1000")]);
    const ended = finished(child);
    await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
    const enter = (script: string) =>
      [rktBinary, `--dir=${rkt.dir}`, "enter", `--uuid-file=${rkt.scratch}/uuid`, "/bin/sh", "-c", script]
        .map((word) => `'${word}'`)
        .join(" ");
    const shell = (script: string) => {
      const done = spawnSync("bash", ["-c", script], { encoding: "utf8", cwd: rkt.scratch, timeout: 20_000 });
      return [done.status, done.stdout, done.stderr];
    };
    const opens = `cat </dev/stdin; ${OPENS}`;
    assert.deepEqual(shell(`echo in | ${enter(opens)} 2>err | cat; cat err >&2`), [0, "in\none\nthree\n", "two\n"]);
    assert.deepEqual(shell(`echo in | ${enter(opens)} 2>&1 | cat`), [0, "in\none\ntwo\nthree\n", ""]);
    assert.deepEqual(shell(`echo in >file; ${enter(opens)} <file >out 2>&1; cat out`), [0, "in\none\ntwo\nthree\n", ""]);
    // The caller's pipes stay the caller's.
    const owners = "stat -Lc %u:%a /proc/self/fd/0";
    assert.deepEqual(shell(`echo in | { ${enter("cat")}; ${owners} >&2; } | { cat; ${owners} >&2; }`), [
      0,
      "in\n",
      "0:600\n".repeat(2),
    ]);
    // Nobody waits for an end of input that the command does not wait for, nor for a reader that has gone.
    assert.deepEqual(shell(`mkfifo p; exec 4<>p; ${enter("echo done")} <&4 | cat`), [0, "done\n", ""]);
    assert.deepEqual(shell(`${enter("yes")} | head -n1`), [0, "y\n", ""]);
    assert.deepEqual(shell(`set -o pipefail; echo in | ${enter("exit 7")} | cat`), [7, "", ""]);
    // Bytes as they are, and many.
    const many = `head -c 3000000 /dev/urandom >many; cat many | ${enter("cat")} | cmp - many && echo same`;
    assert.deepEqual(shell(many), [0, "same\n", ""]);
    rkt.ok(["stop", "--force", `--uuid-file=${rkt.scratch}/uuid`]);
    await ended;
  });

test("rkt enter: what it makes is the command's, what it was given is not", async (t) => {
  if (!requires(t, "root", "build", "tmux")) return;
  const rkt = makeRkt(t);
  const child = rkt.start(["run", `--uuid-file-save=${rkt.scratch}/uuid`, busybox, ...sh("echo up; sleep 1000")]);
  const ended = finished(child);
  await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
  const enter = ["enter", `--uuid-file=${rkt.scratch}/uuid`, "/bin/sh", "-c"];
  // What is relayed becomes the command's user's, and what the caller has stays the caller's.
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
  const quoted = [rktBinary, `--dir=${rkt.dir}`, ...enter, "echo one"].map((word) => `'${word}'`).join(" ");
  const script = `${quoted} | { readlink /proc/self/fd/0; stat -Lc %u /proc/self/fd/0; cat; }`;
  const piped = spawnSync("sh", ["-c", script], { encoding: "utf8" });
  assert.match(piped.stdout, /^pipe:\[\d+\]\n0\none\n$/);

  const tty = terminal(
    t,
    `'${rktBinary}' --dir='${rkt.dir}' enter --uuid-file='${rkt.scratch}/uuid' /bin/sh -c '${OPENS}'; echo the end`,
  );
  const screen = await tty.shows(/^the end$/m);
  for (const word of ["one", "two", "three"]) assert.match(screen, new RegExp(`^${word}$`, "m"));
  rkt.ok(["stop", `--uuid-file=${rkt.scratch}/uuid`]);
  await ended;
});
