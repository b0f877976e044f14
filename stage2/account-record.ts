/**
 * Who an app runs as is found out once, when it begins, from its image's files.
 * After that those are the app's: what it makes of its /etc/passwd, or mounts
 * over it, decides nothing for a command of `rkt enter` or a handler of its
 * end. The record lies in stage 1's root, which no app sees.
 */

import { closeSync, constants, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { errorCode, RktError } from "../shared/errors.ts";
import type { Account } from "./accounts.ts";
import type { SourcePath } from "./mount-plan.ts";

/** The record, opened while stage 1's root can be reached, for `writeAccount`. */
export function openAccount(path: SourcePath): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  return openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
}

export function writeAccount(fd: number, account: Account): void {
  try {
    writeSync(fd, `${JSON.stringify(account)}\n`);
  } finally {
    closeSync(fd);
  }
}

/** Undefined if the app has not begun, or another stage1 began it. */
export function readAccount(path: SourcePath): Account | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RktError("bad-layout", `${path} does not say who the app runs as`, { cause: error });
  }
}
