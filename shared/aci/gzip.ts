/**
 * gzip on all cores, as pigz does it. Blocks of a fixed size are compressed in parallel, each with the end of the block
 * before as its dictionary, and joined to one ordinary gzip member (RFC 1952). The output depends on the input and the
 * level, not on the number of cores.
 */

import { promisify } from "node:util";
import { constants, crc32, deflateRaw } from "node:zlib";

const BLOCK_SIZE = 1 << 20;
/** How far back deflate's references reach (RFC 1951). */
const WINDOW = 32768;

/** ID, method deflate, no flags, mtime 0, no extra flags, OS "unknown". */
const HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
/** A last, empty block with fixed codes. */
const END_OF_STREAM = Buffer.from([3, 0]);

const deflate = promisify<Uint8Array, object, Buffer>(deflateRaw);

/** Compresses `input`; at most `parallel` blocks are in memory at a time. */
export async function* gzip(
  input: AsyncIterable<Buffer> | Iterable<Buffer>,
  { level = 6, parallel = 4 } = {},
): AsyncGenerator<Buffer> {
  yield HEADER;
  const pending: Promise<Buffer>[] = [];
  let [checksum, size] = [0, 0];
  let dictionary: Buffer | undefined;
  for await (const block of blocks(input)) {
    checksum = crc32(block, checksum);
    size += block.length;
    // A sync flush ends the block on a byte boundary and leaves the stream open.
    const options = { level, finishFlush: constants.Z_SYNC_FLUSH, ...(dictionary === undefined ? {} : { dictionary }) };
    const compressed = deflate(block, options);
    // Its failure is handled where it is awaited, below.
    compressed.catch(() => undefined);
    pending.push(compressed);
    dictionary = block.subarray(-WINDOW);
    if (pending.length >= parallel) yield (await pending.shift()) as Buffer;
  }
  for (const compressed of pending) yield await compressed;
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(checksum, 0);
  trailer.writeUInt32LE(size % 2 ** 32, 4);
  yield END_OF_STREAM;
  yield trailer;
}

/** Cuts the stream into blocks of exactly BLOCK_SIZE bytes, but for the last. */
async function* blocks(input: AsyncIterable<Buffer> | Iterable<Buffer>): AsyncGenerator<Buffer> {
  let block = Buffer.allocUnsafe(BLOCK_SIZE);
  let filled = 0;
  for await (const chunk of input) {
    for (let at = 0; at < chunk.length; ) {
      const copied = chunk.copy(block, filled, at);
      at += copied;
      filled += copied;
      if (filled === BLOCK_SIZE) {
        yield block;
        block = Buffer.allocUnsafe(BLOCK_SIZE);
        filled = 0;
      }
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}
