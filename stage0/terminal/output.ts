/**
 * Data goes to stdout, messages to stderr. Both are written synchronously and in order, so that nothing is lost when
 * this process exits or becomes another one. `process.stdout` is not used: its set-up takes longer than a short
 * command.
 */

import { writeSync } from "node:fs";
import { errorCode, printable, RktError } from "../../shared/errors.ts";
import { sleep } from "../../shared/sleep.ts";

/** The reader of stdout has closed it. The exit status is a shell's for a process that SIGPIPE ended. */
export const STDOUT_CLOSED = "stdout-closed";
const EXIT_SIGPIPE = 128 + 13;

let printed = false;

/** Whether this process has written to stdout. */
export const hasPrinted = (): boolean => printed;

/** Prints data on stdout, unchanged. */
export function print(data: string | Uint8Array): void {
  printed = true;
  try {
    writeAll(1, data);
  } catch (error) {
    if (errorCode(error) !== "EPIPE") throw error;
    throw new RktError(STDOUT_CLOSED, "stdout is closed", { exitCode: EXIT_SIGPIPE, cause: error });
  }
}

/**
 * Characters that JSON.stringify does not escape, but that control a terminal: DEL, C1, bidirectional and line
 * controls.
 */
const CONTROLS = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Prints JSON on stdout, without characters that control a terminal; indented, or in one line. */
export function printJson(value: unknown, pretty = true): void {
  print(jsonText(value, pretty));
}

export function jsonText(value: unknown, pretty = true): string {
  const text = JSON.stringify(value, undefined, pretty ? 2 : undefined);
  return `${text.replace(CONTROLS, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)}\n`;
}

/** Prints a message for the user on stderr, perhaps with a hint. */
export function say(text: string, hint?: string): void {
  writeError(`rkt: ${printable(text)}\n${hint === undefined ? "" : `hint: ${printable(hint)}\n`}`);
}

/** Prints remarks beside the data; nothing with `--quiet`. */
export interface NoteReporter {
  note(text: string, hint?: string): void;
}

export const noteReporter = ({ quiet }: { quiet: boolean }): NoteReporter => ({ note: quiet ? () => {} : say });

/** Writes text to stderr, unchanged. A failure is ignored, because there is no place to report it. */
export function writeError(data: string | Uint8Array): void {
  try {
    writeAll(2, data);
  } catch {}
}

function writeAll(fd: number, data: string | Uint8Array): void {
  let rest: Uint8Array = typeof data === "string" ? Buffer.from(data) : data;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      // Another process has made the pipe or terminal non-blocking, and it is full.
      if (errorCode(error) !== "EAGAIN") throw error;
      sleep(5);
    }
  }
}
