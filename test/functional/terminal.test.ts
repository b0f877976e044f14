/** `rkt run` on a terminal: a real one, tmux's. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually, exampleAci, makeRkt, type Rkt, requires, rktBinary } from "../helpers/rkt.ts";
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

test("^] three times kills the container", async (t) => {
  if (!requires(t, "root", "build", "tmux")) return;
  const rkt = makeRkt(t);
  const tty = terminal(t, `${rktLine(rkt, `'${busybox}' --exec=/bin/sh -- -c 'echo is up; sleep 1000'`)}; echo ended`);
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
