/** A file's data, as an archive has them, to an open file. */

import { writeSync } from "node:fs";
import type { Segment } from "./tar-entry.ts";

/** Takes the data's next bytes. */
export type DataWriter = (chunk: Buffer) => void;

/** Writes each chunk at the file's position. */
export function sequentialWriter(fd: number): DataWriter {
  return (chunk) => {
    let at = 0;
    while (at < chunk.length) at += writeSync(fd, chunk, at);
  };
}

/** Writes the data segment by segment. What is between them is never written, and so stays a hole. */
export function sparseWriter(fd: number, segments: readonly Segment[]): DataWriter {
  let index = 0;
  let within = 0;
  return (chunk) => {
    let at = 0;
    while (at < chunk.length) {
      const segment = segments[index];
      if (segment === undefined) throw new Error("more data than the sparse map has room for");
      const n = Math.min(segment.size - within, chunk.length - at);
      if (n > 0) {
        const written = writeSync(fd, chunk, at, n, segment.offset + within);
        at += written;
        within += written;
      }
      if (within === segment.size) {
        index++;
        within = 0;
      }
    }
  };
}
