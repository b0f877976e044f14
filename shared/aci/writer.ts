/**
 * Writes App Container Images (appc spec, aci.md): a tar archive of `manifest`
 * and `rootfs/`, compressed or not.
 *
 * The archive, and so the image ID, depends on nothing but the manifest's text, the tree and the time stamp. Memory
 * does not grow with the files' sizes.
 */

import { spawn } from "node:child_process";
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { constants, createZstdCompress } from "node:zlib";
import { callersEnvironment, type Environment } from "../callers-environment.ts";
import { RktError } from "../errors.ts";
import { OutputFile } from "../output-file.ts";
import { HOST_ENVIRONMENT } from "../program.ts";
import type { ImageID } from "../schema/types.ts";
import { gzip } from "./gzip.ts";
import { changed } from "./host-file.ts";
import { BLOCK, header, padding } from "./tar-header.ts";
import { archiveOrder, type Content, type Entry, type Tree } from "./tree.ts";

export const COMPRESSIONS = ["gzip", "xz", "zstd", "none"] as const;
export type Compression = (typeof COMPRESSIONS)[number];

export interface AciSource {
  /** Text of the image manifest, written as it is. The caller has checked it. */
  manifest: string;
  /** The contents of `rootfs/`. */
  rootfs: Tree;
  /** Time stamp of every entry, in seconds since the epoch; 0 by default. */
  mtime?: number;
}

export interface WrittenAci {
  /** SHA-512 of the uncompressed archive. */
  id: ImageID;
  /** Bytes of the uncompressed archive. */
  archiveSize: number;
  /** Bytes of the file. */
  size: number;
}

/** The time stamp that SOURCE_DATE_EPOCH (reproducible-builds.org) asks for, or 0. */
export function sourceDateEpoch(env: Environment = callersEnvironment()): number {
  const text = env["SOURCE_DATE_EPOCH"];
  if (text === undefined || text === "") return 0;
  if (!/^\d{1,11}$/.test(text))
    throw new RktError("bad-environment", `SOURCE_DATE_EPOCH is no number of seconds: ${JSON.stringify(text)}`);
  return Number(text);
}

export interface WriteOptions {
  compression?: Compression;
  level?: number;
  /** Mode of the file, under the umask; 0666 by default. */
  mode?: number;
  /** Called with the whole file before that takes its place. If it throws, no file is left. */
  finish?(file: OutputFile): Promise<void>;
}

/** Writes the image to `output`. The file appears there only when it is complete. */
export async function writeAci(output: string, source: AciSource, options: WriteOptions = {}): Promise<WrittenAci> {
  const file = new OutputFile(output, { mode: options.mode ?? 0o666, makeDirectories: true });
  try {
    const written = await writeAciTo(file.stream(), source, options);
    await options.finish?.(file);
    file.place({ overwrite: true, flush: true });
    return written;
  } finally {
    file.close();
  }
}

/** Writes the image to a stream, and ends it. */
export async function writeAciTo(
  output: NodeJS.WritableStream,
  source: AciSource,
  { compression = "gzip", level }: Pick<WriteOptions, "compression" | "level"> = {},
): Promise<WrittenAci> {
  const hash = createHash("sha512");
  const counts = { archive: 0, file: 0 };
  await pipeline(
    archive(source),
    (input: AsyncIterable<Buffer>) => counted(input, (chunk) => (counts.archive += tap(hash, chunk))),
    compressor(compression, level),
    (input: AsyncIterable<Buffer>) => counted(input, (chunk) => (counts.file += chunk.length)),
    output,
  );
  return { id: `sha512-${hash.digest("hex")}`, archiveSize: counts.archive, size: counts.file };
}

function tap(hash: Hash, chunk: Buffer): number {
  hash.update(chunk);
  return chunk.length;
}

async function* counted(input: AsyncIterable<Buffer>, see: (chunk: Buffer) => void): AsyncGenerator<Buffer> {
  for await (const chunk of input) {
    see(chunk);
    yield chunk;
  }
}

/** The uncompressed archive, piece by piece. */
export async function* archive(source: AciSource): AsyncGenerator<Buffer> {
  const mtime = source.mtime ?? 0;
  const manifest = Buffer.from(source.manifest);
  yield* member("manifest", { type: "file", content: manifest, mode: 0o644, uid: 0, gid: 0 }, mtime);
  for (const [path, entry] of archiveOrder(source.rootfs))
    yield* member(path === "" ? "rootfs" : `rootfs/${path}`, entry, mtime);
  // Two blocks of zeros end an archive.
  yield Buffer.alloc(2 * BLOCK);
}

async function* member(path: string, entry: Entry, mtime: number): AsyncGenerator<Buffer> {
  const { mode, uid, gid, xattrs } = entry;
  const size = entry.type === "file" ? sizeOf(entry.content) : 0;
  const fields = { path, type: entry.type, mode, uid, gid, size, mtime: entry.mtime ?? mtime, xattrs };
  switch (entry.type) {
    case "file":
      yield header(fields);
      yield* contentOf(entry.content);
      if (padding(size) > 0) yield Buffer.alloc(padding(size));
      return;
    case "directory":
      yield header({ ...fields, path: `${path}/` });
      return;
    case "symlink":
      yield header({ ...fields, linkpath: entry.target });
      return;
    case "hardlink":
      // The attributes are those of the file that it names.
      yield header({ ...fields, xattrs: undefined, linkpath: `rootfs/${entry.target}` });
      return;
    case "character":
    case "block":
      yield header({ ...fields, major: entry.major, minor: entry.minor });
      return;
    case "fifo":
      yield header(fields);
  }
}

const sizeOf = (content: Content): number => (content instanceof Uint8Array ? content.length : content.size);

async function* contentOf(content: Content): AsyncGenerator<Buffer> {
  if (!("path" in content)) {
    if (content.length > 0) yield Buffer.from(content.buffer, content.byteOffset, content.length);
    return;
  }
  if (content.chunks !== undefined) {
    yield* content.chunks();
    return;
  }
  let read = 0;
  for await (const chunk of createReadStream(content.path, { highWaterMark: 1 << 20 })) {
    read += (chunk as Buffer).length;
    if (read <= content.size) yield chunk as Buffer;
  }
  if (read !== content.size) throw changed(content.path);
}

type Compressor = (input: AsyncIterable<Buffer>) => AsyncGenerator<Buffer>;

const ZSTD_LEVEL = 19;
const XZ_LEVEL = 6;

function compressor(compression: Compression, level: number | undefined): Compressor {
  switch (compression) {
    case "gzip":
      return (input) => gzip(input, level === undefined ? {} : { level });
    case "zstd":
      return (input) =>
        through(createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: level ?? ZSTD_LEVEL } }), input);
    case "xz":
      return (input) => xz(input, level ?? XZ_LEVEL);
    case "none":
      return async function* (input) {
        yield* input;
      };
  }
}

async function* through(transform: NodeJS.ReadWriteStream, input: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const fed = pipeline(input, transform);
  // A failure of `fed` also destroys `transform`, and that ends the loop.
  fed.catch(() => undefined);
  for await (const chunk of transform) yield chunk as Buffer;
  await fed;
}

/**
 * Compresses with xz(1), since the runtime has no encoder. The number of threads is fixed, because the output depends on
 * it.
 */
async function* xz(input: AsyncIterable<Buffer>, level: number): AsyncGenerator<Buffer> {
  const child = spawn("xz", ["--compress", "--stdout", "--threads=4", "--block-size=16MiB", `-${level}`], {
    // The caller's XZ_OPT would add arguments, and the caller's PATH could name another program.
    env: HOST_ENVIRONMENT,
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.once("error", (cause) =>
      reject(
        new RktError("no-xz", "cannot run xz", { hint: "install xz-utils, or choose another compression", cause }),
      ),
    );
    child.once("close", (status, signal) =>
      status === 0 ? resolve() : reject(new RktError("xz-failed", `xz failed with ${signal ?? `status ${status}`}`)),
    );
  });
  const fed = pipeline(input, child.stdin);
  ended.catch(() => undefined);
  fed.catch(() => undefined);
  for await (const chunk of child.stdout) yield chunk as Buffer;
  await ended;
  await fed;
}
