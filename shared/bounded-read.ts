/** Reads files that others may have made large, endless, or something else than a file. */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { RktError } from "./errors.ts";

/** Bytes of what the stages keep beside the manifests: a line or an object for each app, network or cgroup. */
export const MAX_LIST_BYTES = 1024 * 1024;

/**
 * The whole text of a regular file. A link is not followed. Throws "too-large", "not-a-file" and the errors of open(2).
 */
export const readBounded = (path: string, limit: number): string => readBoundedBytes(path, limit).toString("utf8");

/** The same of a file that is no text. */
export function readBoundedBytes(path: string, limit: number): Buffer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new RktError("not-a-file", `${path} is not a regular file`);
    if (stat.size > limit) throw new RktError("too-large", `${path} has ${stat.size} bytes, more than ${limit}`);
    // One byte more, because the file may have grown meanwhile.
    return beginning(fd, Math.min(stat.size + 1, limit));
  } finally {
    closeSync(fd);
  }
}

/** The beginning, up to `limit`, of a file whose size stat(2) does not know, such as one of proc(5) or cgroups(7). */
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
  // With enough room, one read(2) returns most files of the kernel whole.
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
