/** `rkt run` on a terminal: a real one, tmux's. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { dist, eventually, exampleAci, makeRkt, type Rkt, requires, rktBinary } from "../helpers/rkt.ts";
import { terminal } from "../helpers/terminal.ts";

const busybox = exampleAci("busybox");

const rktLine = (rkt: Rkt, args: string): string => `'${rktBinary}' --dir='${rkt.dir}' run ${args}`;

test("--interactive: a shell with job control, the window's size, and raw mode", async (t) => {
  if (!requires(t, "root", "build", "tmux")) return;
  const rkt = makeRkt(t);
  const tty = terminal(t, `${rktLine(rkt, `--interactive '${busybox}'`)}; echo status $?`);
  await tty.shows(/[#$] $/m);
  tty.type("tty; stty size", "Enter");
  await tty.shows(/^30 100$/m);
  tty.resize(80, 24);
  tty.type("stty size", "Enter");
  await tty.shows(/^24 80$/m);
  // Job control: ^Z stops the foreground job, not the container.
  await tty.foreground("waits for Z");
  tty.type("C-z");
  await tty.shows(/Stopped/);
  tty.type("kill -KILL %1; wait", "Enter");
  // ^C reaches the foreground job alone.
  await tty.foreground("waits for C");
  tty.type("C-c");
  tty.type("echo alive", "Enter");
  await tty.shows(/^alive$/m);
  // Raw mode: a program reads keys as they come.
  tty.type("stty raw -echo; dd bs=1 count=1 2>/dev/null | od -An -tx1; stty sane", "Enter");
  await eventually("dd waits", () => (/stty raw/.test(tty.screen()) ? true : undefined));
  tty.type("C-a");
  await tty.shows(/^ ?01$/m);
  tty.type("exit 5", "Enter");
  await tty.shows(/^status 5$/m);
});

for (const options of ["", "--private-users"])
  test(`--interactive: keys that are typed before the app reads are not lost ${options}`, async (t) => {
    if (!requires(t, "root", "build", "tmux")) return;
    const rkt = makeRkt(t);
    rkt.ok(["run", busybox, "--exec=/bin/true"]);
    const script = "tty; for i in 1 2 3 4 5; do read -r line; echo got $line; done";
    const tty = terminal(t, `${rktLine(rkt, `--interactive ${options} '${busybox}' --exec=/bin/sh -- -c '${script}'`)}; echo status $?`);
    // The first ones before rkt itself runs, perhaps; the others while the container starts.
    for (const line of ["one", "two", "three", "four", "five"]) {
      tty.type(line, "Enter");
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
    const screen = await tty.shows(/^status 0$/m);
    const got = [...screen.matchAll(/^got (.*)$/gm)].map(([, line]) => line);
    assert.deepEqual(got, ["one", "two", "three", "four", "five"]);
    assert.match(screen, /^\/dev\/console$/m);
  });

test("--interactive: ^] three times kills the container", async (t) => {
  if (!requires(t, "root", "build", "tmux")) return;
  const rkt = makeRkt(t);
  const tty = terminal(
    t,
    `${rktLine(rkt, `--interactive '${busybox}' --exec=/bin/sh -- -c 'echo is up; sleep 1000'`)}; echo ended`,
  );
  await tty.shows(/^is up$/m);
  tty.type("C-]", "C-]", "C-]");
  await tty.shows(/^ended$/m);
});

test("lines of an app that is not interactive begin at the left edge", async (t) => {
  if (!requires(t, "root", "build", "tmux")) return;
  const rkt = makeRkt(t);
  const tty = terminal(
    t,
    `${rktLine(rkt, `'${busybox}' --exec=/bin/sh -- -c 'echo one; echo two; echo three >&2'`)}; echo ended`,
  );
  const screen = await tty.shows(/^ended$/m);
  for (const line of ["one", "two", "three"]) assert.match(screen, new RegExp(`^${line}$`, "m"));
});

// --- keys, and jobs of a shell ---------------------------------------------------------

const flavors = [
  { flavor: "nspawn", options: "" },
  { flavor: "fly", options: `--stage1-image='${join(dist, "stage1-fly.aci")}'` },
];

/** Begins with a word that the line typed does not have, so that the screen shows when it runs. */
const app = (options: string, script: string): string =>
  `${options} '${busybox}' --exec=/bin/sh -- -c 'echo is up; ${script}'`;

/** Ends in its own way when it is asked to. */
const POLITE = `trap "echo was asked; exit 3" TERM; while :; do sleep 0.1; done`;
const DEAF = `trap "echo was asked" TERM; while :; do sleep 0.1; done`;

const phaseOf = (rkt: Rkt): string | undefined => JSON.parse(rkt.ok(["list", "--format=json"]).stdout)[0]?.state;

for (const { flavor, options } of flavors) {
  test(`${flavor}: ^C asks the app to end, and rkt has its status`, async (t) => {
    if (!requires(t, "root", "build", "tmux")) return;
    const rkt = makeRkt(t);
    const tty = terminal(t, `${rktLine(rkt, app(options, POLITE))}; echo status $?`);
    await tty.shows(/^is up$/m);
    tty.type("C-c");
    await tty.shows(/was asked\n(.*\n)*status 3$/m);
    assert.equal(phaseOf(rkt), "exited");
  });

  test(`${flavor}: ^C again kills an app that does not end`, async (t) => {
    if (!requires(t, "root", "build", "tmux")) return;
    const rkt = makeRkt(t);
    const tty = terminal(t, `${rktLine(rkt, app(options, DEAF))} && echo good || echo b''ad`);
    await tty.shows(/^is up$/m);
    tty.type("C-c");
    await tty.shows(/was asked$/m);
    tty.type("C-c");
    await tty.shows(/bad$/m);
    assert.equal(phaseOf(rkt), "exited");
  });

  test(`${flavor}: ^\\ ends it at once`, async (t) => {
    if (!requires(t, "root", "build", "tmux")) return;
    const rkt = makeRkt(t);
    const tty = terminal(t, `${rktLine(rkt, app(options, DEAF))} && echo good || echo b''ad`);
    await tty.shows(/^is up$/m);
    tty.type("C-\\");
    await tty.shows(/bad$/m);
    assert.equal(phaseOf(rkt), "exited");
  });

  test(`${flavor}: ^Z stops the job, bg and fg take it up again`, async (t) => {
    if (!requires(t, "root", "build", "tmux")) return;
    const rkt = makeRkt(t);
    const tty = terminal(t, rktLine(rkt, app(options, POLITE)));
    await tty.shows(/^is up$/m);
    tty.type("C-z");
    await tty.shows(/Stopped/);
    tty.type("bg; echo in the back", "Enter");
    await tty.shows(/^in the back$/m);
    tty.type("jobs -l", "Enter");
    await tty.shows(/Running/);
    tty.type("fg; echo status $?", "Enter");
    await eventually("rkt is in the foreground", () => foregroundIs(rkt) || undefined);
    tty.type("C-c");
    await tty.shows(/was asked\n(.*\n)*status 3$/m);
  });

  test(`${flavor}: rkt stop wakes a job that ^Z has stopped`, async (t) => {
    if (!requires(t, "root", "build", "tmux")) return;
    const rkt = makeRkt(t);
    const tty = terminal(t, rktLine(rkt, app(`--uuid-file-save='${rkt.scratch}/uuid' ${options}`, POLITE)));
    await tty.shows(/^is up$/m);
    tty.type("C-z");
    await tty.shows(/Stopped/);
    rkt.ok(["stop", `--uuid-file=${rkt.scratch}/uuid`]);
    assert.equal(phaseOf(rkt), "exited");
    await tty.shows(/was asked/);
  });

  for (const interactive of ["", "--interactive"])
    test(`${flavor}: a job in the background runs, and can be stopped ${interactive}`, async (t) => {
      if (!requires(t, "root", "build", "tmux")) return;
      const rkt = makeRkt(t);
      const asked = `--uuid-file-save='${rkt.scratch}/uuid' ${interactive} ${options}`;
      const tty = terminal(t, `${rktLine(rkt, app(asked, POLITE))} &`);
      await tty.shows(/^(host> )?is up$/m);
      tty.type("echo the shell; jobs -l", "Enter");
      await tty.shows(/^the shell$/m);
      await tty.shows(/Running/);
      rkt.ok(["stop", `--uuid-file=${rkt.scratch}/uuid`]);
      assert.equal(phaseOf(rkt), "exited");
    });
}

test("a first ^C is never lost, whenever it is typed", async (t) => {
  if (!requires(t, "root", "build", "tmux")) return;
  const rkt = makeRkt(t);
  rkt.ok(["run", busybox, "--exec=/bin/true"]);
  for (let i = 0; i < 16; i++) {
    // The shell's next prompt is the end: one key is all that is typed.
    const tty = terminal(t, `echo be''gins; ${rktLine(rkt, app("", POLITE))}`);
    await tty.shows(/^begins$/m);
    await new Promise((resolve) => setTimeout(resolve, i * 40));
    tty.type("C-c");
    await tty.shows(/host> *$/m);
    const states = rkt.ok(["list", "--no-legend"]).stdout;
    assert.doesNotMatch(states, / running /, `after ${i * 40} ms`);
  }
});

/** Of the terminal that the container's supervisor was started on (proc_pid_stat(5)). */
function foregroundIs(rkt: Rkt): boolean {
  const pid = JSON.parse(rkt.ok(["list", "--format=json"]).stdout)[0]?.pid;
  const [, , group, , , foreground] = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return group === foreground;
}
