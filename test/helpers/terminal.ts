/** A real terminal, made by tmux, for tests of programs that need one. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";
import { eventually } from "./rkt.ts";

export interface Terminal {
  type(...keys: string[]): void;
  screen(): string;
  resize(columns: number, rows: number): void;
  shows(pattern: RegExp): Promise<string>;
  /** Makes the shell start a foreground job that never ends, and waits until the job prints `word`. */
  foreground(word: string): Promise<void>;
}

/** Starts a tmux server that runs one shell command. */
export function terminal(t: TestContext, command: string): Terminal {
  const socket = `rkt-test-${randomUUID()}`;
  const tmux = (...args: string[]): string => {
    const done = spawnSync("tmux", ["-L", socket, "-f", "/dev/null", ...args], { encoding: "utf8" });
    assert.equal(done.status, 0, `tmux ${args.join(" ")}: ${done.stderr}`);
    return done.stdout;
  };
  t.after(() => spawnSync("tmux", ["-L", socket, "kill-server"]));
  tmux("new-session", "-d", "-x", "100", "-y", "30", "sh");
  tmux("send-keys", "PS1='host> '; clear", "Enter");
  const screen = () => tmux("capture-pane", "-p", "-J");
  // Waits for the prompt: a command that is typed before would be echoed above it, and garble the first line of output.
  const end = Date.now() + 20_000;
  while (!/^host> *$/m.test(screen())) {
    assert.ok(Date.now() < end, `no prompt: ${screen()}`);
    spawnSync("sleep", ["0.02"]);
  }
  tmux("send-keys", command, "Enter");
  const type = (...keys: string[]) => tmux("send-keys", ...keys);
  const shows = (pattern: RegExp) =>
    eventually(`the terminal shows ${pattern}`, () => {
      const text = screen();
      return pattern.test(text) ? text : undefined;
    }).catch((error: Error) => assert.fail(`${error.message}; it shows:\n${screen()}`));
  return {
    type,
    screen,
    resize: (columns, rows) => tmux("resize-window", "-x", String(columns), "-y", String(rows)),
    shows,
    async foreground(word) {
      type(`sh -c 'echo ${word}; exec sleep 1000'`, "Enter");
      await shows(new RegExp(`^${word}$`, "m"));
    },
  };
}
