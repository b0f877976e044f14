import { type FileHandle, open } from "node:fs/promises";

const CHUNK = 256 * 1024;

/**
 * The rest of a file, in chunks. A chunk is valid until the next is asked for, because all are in one buffer: a stream
 * makes a new buffer each time, and V8 lets 64 MiB of dead ones gather before it collects them.
 */
export async function* fileChunks(file: string | FileHandle): AsyncGenerator<Buffer, void, undefined> {
  const handle = typeof file === "string" ? await open(file) : file;
  try {
    const buffer = Buffer.allocUnsafeSlow(CHUNK);
    for (;;) {
      const { bytesRead } = await handle.read(buffer);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    if (handle !== file) await handle.close();
  }
}
