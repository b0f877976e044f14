/** Where the standard streams of a container's apps come from and go to. */

import { closeSync, openSync, writeSync } from "node:fs";
import { dup2, isTerminal } from "../../shared/syscall/descriptor.ts";
import type { Container } from "./container.ts";
import { ownsTerminal } from "./terminal.ts";

/**
 * "pipe": each stream is passed on byte by byte, and nothing is read. "stdin": as "pipe", and the one app reads what rkt
 * was given. "interactive": the one app has a terminal.
 */
export type StdioMode = "pipe" | "interactive" | "stdin";

/**
 * Only an app that was asked to be interactive gets the terminal, by a pty that nspawn puts between, and only in the
 * terminal's foreground. What any other app writes is passed on byte by byte, to a terminal too, and the terminal's keys
 * stay signals: ^C reaches nspawn.
 */
export function stdioMode({ uuid, interactive }: Container): StdioMode {
  if (!interactive) return "pipe";
  if (!isTerminal(0)) return "stdin";
  if (ownsTerminal(0)) return isTerminal(1) ? "interactive" : "stdin";
  writeSync(2, `rkt: stage1: container ${uuid} is in the background of its terminal: its app reads nothing\n`);
  return "pipe";
}

/** Nothing in the container reads the terminal, or whatever else rkt was given, if it was not asked to. */
export function closeInput(): void {
  const nothing = openSync("/dev/null", "r");
  dup2(nothing, 0);
  closeSync(nothing);
}
