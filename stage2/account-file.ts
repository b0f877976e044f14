/** /etc/passwd and /etc/group of an image, which may be anything but such files. */

import { fstatSync, readSync } from "node:fs";
import { RktError } from "../shared/errors.ts";

/** Far more than any, little enough to hold in memory. */
const MAX_ACCOUNT_FILE = 1 << 20;

/** The text of the open file, "" for an empty one. Throws "bad-account-file". */
export function accountText(fd: number, path: string, exitCode: number): string {
  const stat = fstatSync(fd);
  if (!stat.isFile()) throw badAccountFile(path, "is not a regular file", exitCode);
  if (stat.size > MAX_ACCOUNT_FILE) throw badAccountFile(path, `is larger than ${MAX_ACCOUNT_FILE} bytes`, exitCode);
  const buffer = Buffer.alloc(stat.size);
  return buffer.toString("utf8", 0, readSync(fd, buffer, 0, buffer.length, 0));
}

export const badAccountFile = (path: string, reason: string, exitCode: number): RktError =>
  new RktError("bad-account-file", `the image's ${path} ${reason}`, { exitCode });
