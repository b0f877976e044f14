/** /etc/passwd and /etc/group of an image, which may be anything but such files. */

import { constants, fstatSync, openSync, readSync } from "node:fs";
import { errorCode, RktError } from "./errors.ts";

/** Far more than any, little enough to hold in memory. */
const MAX_ACCOUNT_FILE = 1 << 20;

/**
 * Opens a file that was found already (O_PATH), for nothing but reading. Nobody waits for who has a lease on it (fcntl(2),
 * F_SETLEASE), which may be a process of the app: the kernel would wait for 45 seconds.
 */
export function openAccountFile(found: number, path: string, exitCode: number): number {
  // Opening a device or a FIFO does something.
  if (!fstatSync(found).isFile()) throw badAccountFile(path, "is not a regular file", exitCode);
  try {
    return openSync(`/proc/self/fd/${found}`, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (errorCode(error) !== "EAGAIN") throw error;
    throw badAccountFile(path, LEASED, exitCode);
  }
}

export const LEASED = "is busy: a process has a lease on it (fcntl(2), F_SETLEASE), which ends within a minute";

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
