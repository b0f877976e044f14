import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { RktError } from "../../shared/errors.ts";

const CHUNK = 256 * 1024;

/** Opens an image's file. What somebody has put in its place meanwhile is not waited for (a FIFO), and not read (a device). */
export async function openImageFile(path: string): Promise<FileHandle> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new RktError("not-an-image", `${path} is not a regular file`);
}

/**
 * The rest of a file, in chunks. A chunk is valid until the next is asked for, because all are in one buffer: a stream
 * makes a new buffer each time, and V8 lets 64 MiB of dead ones gather before it collects them.
 */
export async function* fileChunks(file: string | FileHandle): AsyncGenerator<Buffer, void, undefined> {
  const handle = typeof file === "string" ? await openImageFile(file) : file;
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
