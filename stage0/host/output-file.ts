import { lstatSync, renameSync, writeFileSync } from "node:fs";
import { beside } from "../../shared/beside.ts";
import { RktError } from "../../shared/errors.ts";
import { callersMode } from "./caller-mask.ts";
import { removeAttempt } from "./remove-attempt.ts";

/**
 * Writes a small file that the caller has named, such as a pid file; it appears complete, and replaces an older one. A
 * link is not followed, because in a directory of others it may lead to any file. A link or a device is not replaced
 * either: /dev/stdout, for one, is a link that others need.
 */
export function writeOutputFile(path: string, text: string): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there !== undefined && !there.isFile())
    throw new RktError("not-a-file", `${path} is ${there.isSymbolicLink() ? "a link" : "no regular file"}`, {
      hint: "name a file of your own; it need not be there",
    });
  const temporary = beside(path);
  try {
    writeFileSync(temporary, text, { mode: callersMode(0o666), flag: "wx" });
    renameSync(temporary, path);
  } catch (error) {
    removeAttempt(temporary);
    throw error;
  }
}
