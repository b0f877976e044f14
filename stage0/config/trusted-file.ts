/**
 * Files of other tools that decide what rkt, as root, asks and whom it
 * believes. They are read only if nobody but root, or the user of rkt, can
 * write them. Links are followed, as those tools do: what counts is the file.
 */

import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";

const LIMIT = 1 << 20;

/** The text of a file; undefined if there is none. */
export function readTrustedFile(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw unreadable(error);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw unsafe(path, "it is no regular file", undefined);
    if (stat.uid !== 0 && stat.uid !== process.geteuid?.())
      throw unsafe(path, `it belongs to user ${stat.uid}`, `chown root ${path}`);
    if ((stat.mode & 0o022) !== 0) throw unsafe(path, "others than its owner can write it", `chmod go-w ${path}`);
    if (stat.size > LIMIT) throw unsafe(path, `it has ${stat.size} bytes, more than ${LIMIT}`, undefined);
    const bytes = Buffer.alloc(stat.size);
    let length = 0;
    for (let n = 1; n > 0 && length < bytes.length; length += n)
      n = readSync(fd, bytes, length, bytes.length - length, length);
    return bytes.toString("utf8", 0, length);
  } catch (error) {
    if (error instanceof RktError) throw error;
    throw unreadable(error);
  } finally {
    closeSync(fd);
  }
}

/** Paths of a directory's files that end so, in the order of their names; none if there is no directory. */
export function trustedFilesIn(dir: string, ending: string): string[] {
  try {
    return readdirSync(dir)
      .filter((name) => name.endsWith(ending) && !name.startsWith("."))
      .sort()
      .map((name) => join(dir, name));
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return [];
    throw unreadable(error);
  }
}

const unsafe = (path: string, why: string, hint: string | undefined): RktError =>
  new RktError("config-unsafe", `${path} decides what rkt asks and believes, and ${why}`, { hint });

const unreadable = (cause: unknown): RktError =>
  new RktError("config-unreadable", `cannot read the configuration: ${errorText(cause)}`, { cause });

/** A file's content breaks a rule. */
export const invalid = (path: string, why: string, cause?: unknown): RktError =>
  new RktError("config-invalid", `${path}: ${why}`, { cause });
