/**
 * Decompresses an image file to the bytes of its tar archive. The first bytes
 * say how it is compressed: gzip, zstd, xz, bzip2 or not at all (aci.md "Image
 * Archives").
 *
 * The consumer is called between the decompressor's steps, so that one works
 * on a chunk while the other makes the next. Memory is constant: the dictionary
 * or window that a file asks for is bounded.
 */

import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Duplex, Readable, Writable } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { errorText, RktError } from "../../shared/errors.ts";
import { HOST_ENVIRONMENT } from "../../shared/program.ts";
import { GET_AGAIN } from "./tar-error.ts";

export type Compression = "gzip" | "zstd" | "xz" | "bzip2" | "none";

/** How many bytes of a file `detectCompression` needs. */
export const MAGIC_BYTES = 6;

const MAGICS: readonly [Compression, Buffer][] = [
  ["gzip", Buffer.from([0x1f, 0x8b])],
  ["zstd", Buffer.from([0x28, 0xb5, 0x2f, 0xfd])],
  ["xz", Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])],
  ["bzip2", Buffer.from("BZh")],
];

export function detectCompression(start: Uint8Array): Compression {
  return MAGICS.find(([, magic]) => magic.equals(start.subarray(0, magic.length)))?.[0] ?? "none";
}

export interface Decompressor {
  /** Resolves when the chunk may be reused. */
  write(chunk: Uint8Array): Promise<void>;
  /** Resolves when the consumer was given everything. */
  end(): Promise<void>;
  /** Abandons the decompression. */
  destroy(): void;
}

const CHUNK = 256 * 1024;
/** Chunks that may wait for the consumer. */
const QUEUE = 8;

/** `consume` is called with each chunk in order. An error that it throws ends the decompression. */
export function decompressor(compression: Compression, consume: (chunk: Buffer) => void): Decompressor {
  switch (compression) {
    case "none":
      return plain(consume);
    case "gzip":
      return throughStream(createGunzip({ chunkSize: CHUNK }), compression, consume);
    case "zstd":
      return throughStream(createZstdDecompress({ chunkSize: CHUNK }), compression, consume);
    case "xz":
    case "bzip2":
      return throughProgram(compression, consume);
  }
}

function plain(consume: (chunk: Buffer) => void): Decompressor {
  return {
    async write(chunk) {
      consume(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    },
    async end() {},
    destroy() {},
  };
}

/**
 * Frees a buffer as soon as the last chunk in it was consumed. V8 would let 64 MiB of dead buffers gather before it
 * collects them.
 */
function release(chunk: Buffer): void {
  const { buffer, byteOffset, byteLength } = chunk;
  if (buffer.byteLength > Buffer.poolSize && byteOffset + byteLength === buffer.byteLength)
    (buffer as ArrayBuffer).transfer(0);
}

/** Feeds `input`, and gives each chunk of `output` to the consumer in a turn of the event loop of its own. */
function pump(
  input: Writable,
  output: Readable,
  consume: (chunk: Buffer) => void,
  describe: (error: unknown) => Error,
): Decompressor & { done: Promise<void> } {
  const waiting: Buffer[] = [];
  let scheduled = false;
  let finished = false;
  let failure: Error | undefined;
  let taken: (() => void) | undefined;
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  done.catch(() => {});
  const fail = (error: Error) => {
    failure ??= error;
    reject(failure);
    input.destroy();
    output.destroy();
    taken?.();
  };
  const step = () => {
    scheduled = false;
    try {
      for (let chunk = waiting.shift(); chunk !== undefined && failure === undefined; chunk = waiting.shift()) {
        consume(chunk);
        release(chunk);
      }
    } catch (error) {
      fail(error as Error);
      return;
    }
    if (output.isPaused()) output.resume();
    if (finished) resolve();
  };
  const schedule = () => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(step);
  };
  output.on("data", (chunk: Buffer) => {
    waiting.push(chunk);
    if (waiting.length >= QUEUE) output.pause();
    schedule();
  });
  output.on("end", () => {
    finished = true;
    schedule();
  });
  output.on("error", (error) => fail(describe(error)));
  input.on("error", (error) => fail(describe(error)));
  return {
    done,
    async write(chunk) {
      if (failure === undefined)
        await new Promise<void>((resolve) => {
          taken = resolve;
          input.write(chunk, () => resolve());
        });
      if (failure !== undefined) throw failure;
    },
    async end() {
      if (failure !== undefined) throw failure;
      input.end();
      await done;
    },
    destroy() {
      fail(new Error("ended"));
    },
  };
}

function throughStream(stream: Duplex, compression: Compression, consume: (chunk: Buffer) => void): Decompressor {
  return pump(stream, stream, consume, (error) => damaged(compression, errorText(error), error));
}

const damaged = (compression: Compression, reason: string, cause?: unknown): RktError =>
  new RktError("bad-compression", `its ${compression} data are damaged: ${reason}`, {
    hint: GET_AGAIN,
    cause,
  });

/** A file of `xz -9` takes 65 MiB to decompress (xz(1)); a file can ask for 4 GiB. */
const XZ_MEMORY = "256MiB";
const ARGUMENTS = { xz: ["-dc", "--threads=1", `--memlimit-decompress=${XZ_MEMORY}`], bzip2: ["-dc"] };

/**
 * A shell script that runs its arguments as a program. It fails, too, when the program succeeds without having read all
 * of its input: the output is then not all that the file has.
 */
const WHOLE_INPUT = `"$@" || exit; [ "$(head -c 1 | wc -c)" -eq 0 ] || { echo "it did not read all of them" >&2; exit 1; }`;

/** A shell's exit status for a program that is not there. */
const NOT_FOUND = 127;

/**
 * xz and bzip2 are rare, and their own programs are better than a library that we would carry. Both also take arguments,
 * even names of files, from the environment (XZ_OPT, BZIP2), so they get none of the caller's.
 */
function throughProgram(compression: "xz" | "bzip2", consume: (chunk: Buffer) => void): Decompressor {
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn("sh", ["-c", WHOLE_INPUT, "sh", compression, ...ARGUMENTS[compression]], {
    env: HOST_ENVIRONMENT,
    stdio: ["pipe", "pipe", "pipe"],
  });
  let message = "";
  child.stderr.on("data", (chunk: Buffer) => {
    if (message.length < 500) message += chunk.toString();
  });
  const exit = new Promise<number | null>((resolve) => {
    child.on("close", resolve);
    child.on("error", () => resolve(-1));
  });
  const noShell = new Promise<never>((_, reject) => {
    child.on("error", reject);
  });
  noShell.catch(() => {});
  const failed = (status: number | null): RktError => {
    if (status === NOT_FOUND)
      return new RktError(
        "no-decompressor",
        `it is compressed with ${compression}, and there is no program ${compression}`,
        { hint: `install ${compression === "xz" ? "xz-utils" : "bzip2"}` },
      );
    return /memory usage limit/i.test(message)
      ? new RktError("bad-compression", `to unpack its ${compression} data takes more than ${XZ_MEMORY} of memory`, {
          hint: "`xz -9` makes what takes 65 MiB",
        })
      : damaged(compression, message.trim());
  };
  // EPIPE says only that the program has ended. Its status says why.
  const inner = pump(child.stdin, child.stdout, consume, (error) => damaged(compression, errorText(error), error));
  const check = async (work: Promise<void>): Promise<void> => {
    try {
      await Promise.race([work, noShell]);
    } catch (error) {
      const status = error instanceof RktError && error.code === "bad-compression" ? await exit : 0;
      throw status === 0 ? error : failed(status);
    }
  };
  return {
    write: (chunk) => check(inner.write(chunk)),
    end: () =>
      check(
        inner.end().then(async () => {
          const status = await exit;
          if (status !== 0) throw failed(status);
        }),
      ),
    destroy() {
      inner.destroy();
      child.kill("SIGKILL");
    },
  };
}
