/** Files of a directory or of an archive, by position. */

import { RktError } from "../../shared/errors.ts";

/** A file of whose bytes a part can be read. */
export interface PartFile {
  size: number;
  read(buffer: Buffer, position: number): Promise<number>;
  close(): Promise<void>;
}

const CHUNK = 256 * 1024;

export async function wholeOf(file: PartFile, limit: number, shown: string): Promise<Buffer> {
  if (file.size > limit) throw new RktError("too-large", `${shown} has ${file.size} bytes, more than ${limit}`);
  const parts: Buffer[] = [];
  for await (const chunk of partChunks(file)) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

/** A file's bytes; a chunk is valid until the next is asked for. */
export async function* partChunks(file: PartFile): AsyncGenerator<Buffer, void, undefined> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK, Math.max(file.size, 1)));
  for (let at = 0; at < file.size; ) {
    const n = await file.read(buffer.subarray(0, Math.min(buffer.length, file.size - at)), at);
    if (n === 0) return;
    yield buffer.subarray(0, n);
    at += n;
  }
}
