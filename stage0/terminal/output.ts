/**
 * Data goes to stdout, talk to stderr. Written at once and in order, so that
 * nothing is lost when this process exits or becomes another; and without
 * `process.stdout`, whose set-up costs more than a short command.
 */

import { writeSync } from "node:fs";
import { errorCode, printable, RktError } from "../../shared/errors.ts";
import { sleep } from "../../shared/sleep.ts";

/** Whoever read stdout has gone: what a shell reports for a process that SIGPIPE ended. */
export const STDOUT_CLOSED = "stdout-closed";
const EXIT_SIGPIPE = 128 + 13;

let printed = false;

/** Whether this process has written to stdout. */
export const hasPrinted = (): boolean => printed;

/** Data for stdout, as it is. */
export function print(data: string | Uint8Array): void {
  printed = true;
  try {
    writeAll(1, data);
  } catch (error) {
    if (errorCode(error) !== "EPIPE") throw error;
    throw new RktError(STDOUT_CLOSED, "stdout is closed", { exitCode: EXIT_SIGPIPE, cause: error });
  }
}

/** What JSON.stringify leaves as it is and a terminal or an editor obeys: DEL, C1, bidirectional and line controls. */
const OBEYED = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** JSON for stdout, equal to `value` when it is parsed, with nothing in it that a terminal obeys; indented, or one line. */
export function printJson(value: unknown, pretty = true): void {
  print(jsonText(value, pretty));
}

export function jsonText(value: unknown, pretty = true): string {
  const text = JSON.stringify(value, undefined, pretty ? 2 : undefined);
  return `${text.replace(OBEYED, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)}\n`;
}

/** A line for the person, on stderr, and what to do about it. */
export function say(text: string, hint?: string): void {
  writeError(`rkt: ${printable(text)}\n${hint === undefined ? "" : `hint: ${printable(hint)}\n`}`);
}

/** What a person should know beside the data; nothing with `--quiet`. */
export interface NoteReporter {
  note(text: string, hint?: string): void;
}

export const noteReporter = ({ quiet }: { quiet: boolean }): NoteReporter => ({ note: quiet ? () => {} : say });

/** Text for stderr, as it is; there is nowhere to say that it can't be written. */
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
      // Somebody else made the pipe or terminal non-blocking, and it is full.
      if (errorCode(error) !== "EAGAIN") throw error;
      sleep(5);
    }
  }
}
