/** Reading what somebody else may have made large, endless, or something else than a file. */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { RktError } from "./errors.ts";

/** The whole text of a regular file, which is no link; throws "too-large" and "not-a-file", and what open(2) says. */
export const readBounded = (path: string, limit: number): string => readBoundedBytes(path, limit).toString("utf8");

/** The same of a file that is no text. */
export function readBoundedBytes(path: string, limit: number): Buffer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new RktError("not-a-file", `${path} is not a regular file`);
    if (stat.size > limit) throw new RktError("too-large", `${path} has ${stat.size} bytes, more than ${limit}`);
    // It may have grown meanwhile.
    return beginning(fd, Math.min(stat.size + 1, limit));
  } finally {
    closeSync(fd);
  }
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

/** The lines of a file that may have any number of them, each of bounded length; longer ones come in pieces. */
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
