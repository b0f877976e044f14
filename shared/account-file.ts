/** Reads an image's /etc/passwd and /etc/group, which may be anything: a device, a FIFO, a huge file. */

import { constants, fstatSync, openSync, readSync } from "node:fs";
import { errorCode, RktError } from "./errors.ts";

/** More than any real file has, and little enough to hold in memory. */
const MAX_ACCOUNT_FILE = 1 << 20;

/**
 * Opens for reading a file that was found before (O_PATH). It does not wait for a lease (fcntl(2), F_SETLEASE): a
 * process of the app may hold one, and the kernel would wait for 45 seconds.
 */
export function openAccountFile(found: number, path: string, exitCode: number): number {
  // Opening a device or a FIFO has effects.
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
