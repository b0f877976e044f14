/** Reads files that others may have made large, endless, or something else than a file. */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { RktError } from "./errors.ts";
import { O_PATH } from "./syscall/file.ts";

/** Bytes of what the stages keep beside the manifests: a line or an object for each app, network or cgroup. */
export const MAX_LIST_BYTES = 1024 * 1024;

/**
 * The whole text of a regular file. A link is not followed. Throws "too-large", "not-a-file" and the errors of open(2).
 */
export const readBounded = (path: string, limit: number): string => readBoundedBytes(path, limit).toString("utf8");

/** The same of a file that is no text. */
export function readBoundedBytes(path: string, limit: number): Buffer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  return wholeRegular(fd, path, limit);
}

/** As `readBounded`, of a file that a link may lead to: what nobody has named, and must not wait for anything. */
export function readRegular(path: string, limit: number): Buffer {
  return wholeRegular(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), path, limit);
}

/** The bytes of what a person has named: a file, or the end of a pipe (/dev/stdin, `<(…)`), which is waited for. Throws "too-large". */
export function readNamed(path: string, limit: number): Buffer {
  // It is looked at before it is opened: what others put in a file's place is not waited for.
  const found = openSync(path, O_PATH);
  let fd: number;
  try {
    const wait = fstatSync(found).isFile() ? constants.O_NONBLOCK : 0;
    fd = openSync(`/proc/self/fd/${found}`, constants.O_RDONLY | wait);
  } catch (error) {
    throw error instanceof Error ? Object.assign(error, { path }) : error;
  } finally {
    closeSync(found);
  }
  try {
    return within(fd, path, limit);
  } finally {
    closeSync(fd);
  }
}

const tooLarge = (message: string): RktError =>
  new RktError("too-large", message, { hint: "is it the file that was meant?" });

/** Closes the file. */
function wholeRegular(fd: number, path: string, limit: number): Buffer {
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new RktError("not-a-file", `${path} is not a regular file`);
    if (stat.size > limit) throw tooLarge(`${path} has ${stat.size} bytes, more than ${limit}`);
    return within(fd, path, limit);
  } finally {
    closeSync(fd);
  }
}

/** It may have grown meanwhile, or have no end. */
function within(fd: number, path: string, limit: number): Buffer {
  const bytes = beginning(fd, limit + 1);
  if (bytes.length > limit) throw tooLarge(`${path} has more than ${limit} bytes`);
  return bytes;
}

/** The first bytes of a file that the kernel makes as it is read (proc(5), cgroups(7)): its text up to `limit`. */
export function readBeginning(path: string, limit: number): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return beginning(fd, limit).toString("utf8");
  } finally {
    closeSync(fd);
  }
}

/** The lines of a file of any length. A line that is longer than `limit` comes in pieces. */
export function* readLines(path: string, limit = 65536): Generator<string, void, undefined> {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const buffer = Buffer.allocUnsafe(limit);
    let rest = "";
    for (let n = readSync(fd, buffer); n > 0; n = readSync(fd, buffer)) {
      const lines = (rest + buffer.toString("latin1", 0, n)).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
      if (rest.length < limit) continue;
      yield rest;
      rest = "";
    }
    if (rest !== "") yield rest;
  } finally {
    closeSync(fd);
  }
}

function beginning(fd: number, limit: number): Buffer {
  // The kernel gives most files whole by one read(2), if there is room.
  let buffer = Buffer.allocUnsafe(Math.min(limit, 65536));
  let length = 0;
  for (;;) {
    const n = readSync(fd, buffer, length, buffer.length - length, null);
    length += n;
    if (n === 0 || length === limit) return buffer.subarray(0, length);
    if (length < buffer.length) continue;
    const larger = Buffer.allocUnsafe(Math.min(limit, buffer.length * 2));
    buffer.copy(larger);
    buffer = larger;
  }
}
