/**
 * A tar archive of images on the host, of whose files any can be read. Its
 * headers are read once, and data are passed over without reading them. A
 * compressed archive is decompressed to a file that has no name, so that
 * nothing of it is left whatever happens.
 *
 * Trusts nothing of the archive: its names are keys of a table, and never paths
 * of the host.
 */

import { constants, writeSync } from "node:fs";
import { type FileHandle, open, statfs } from "node:fs/promises";
import { errorText, RktError } from "../../shared/errors.ts";
import { decompressor, detectCompression, MAGIC_BYTES } from "../archive/decompress.ts";
import { fileChunks } from "../archive/file-chunks.ts";
import type { TarEntry } from "../archive/tar-entry.ts";
import { TarReader } from "../archive/tar-reader.ts";
import type { PartFile } from "./part-file.ts";

export interface ImageArchive {
  path: string;
  /** Undefined if there is no such file. Links of the archive are followed in the archive. */
  open(name: string): Promise<PartFile | undefined>;
  /** Tells whether the archive was changed. */
  identity: string;
  close(): Promise<void>;
}

type Member = { offset: number; size: number } | { link: string };

const BLOCK = 512;
/** Documents, layers, and their directories. */
const MAX_MEMBERS = 20_000;
const MAX_LINKS = 4;
/** O_TMPFILE (open(2)): the runtime has no name for it. */
const O_TMPFILE = 0o20200000;
const SPOOL = "/var/tmp";
/** As of images: more than this is a bomb. */
const SPOOL_LIMIT = 64 * 1024 ** 3;
const SPOOL_RATIO = 200;
const SPOOL_FREE = 64 << 20;

export async function openArchive(path: string): Promise<ImageArchive> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new RktError("no-such-file", `cannot open the archive: ${errorText(cause)}`, { cause });
  }
  try {
    const stat = await file.stat({ bigint: true });
    if (stat.isDirectory())
      throw new RktError("not-an-image", `${path} is a directory`, { hint: `an OCI layout is oci:${path}` });
    if (!stat.isFile()) throw new RktError("not-an-image", `${path} is no regular file`);
    const identity = [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(":");
    const plain = await decompressed(file, path);
    if (plain !== file) await file.close();
    file = plain;
    const members = await readMembers(file, path);
    return {
      path,
      identity,
      async open(name) {
        const member = resolveMember(members, name, path);
        if (member === undefined) return undefined;
        return {
          size: member.size,
          read: async (buffer, position) => (await file.read(buffer, 0, buffer.length, member.offset + position)).bytesRead,
          close: async () => {},
        };
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The same file if it is not compressed. */
async function decompressed(file: FileHandle, path: string): Promise<FileHandle> {
  const start = Buffer.alloc(MAGIC_BYTES);
  await file.read(start, 0, MAGIC_BYTES, 0);
  const compression = detectCompression(start);
  if (compression === "none") return file;
  const { size } = await file.stat();
  const limit = Math.min(SPOOL_LIMIT, Math.max(size, 1 << 20) * SPOOL_RATIO);
  let spool: FileHandle | undefined;
  let written = 0;
  const unpack = decompressor(compression, (chunk) => {
    written += chunk.length;
    if (written > limit) throw new RktError("too-large", `it unpacks to more than ${limit} bytes`, { hint: "unpack it yourself" });
    for (let at = 0; at < chunk.length; ) at += writeSync(spool?.fd ?? -1, chunk, at);
  });
  try {
    spool = await open(SPOOL, constants.O_RDWR | O_TMPFILE, 0o600);
    for await (const chunk of fileChunks(file)) {
      await unpack.write(chunk);
      await checkRoom();
    }
    await unpack.end();
    return spool;
  } catch (error) {
    unpack.destroy();
    await spool?.close();
    if (!(error instanceof RktError) && !(error instanceof Error && "code" in error)) throw error;
    throw new RktError(error instanceof RktError ? error.code : "import-failed", `cannot unpack ${path}: ${errorText(error)}`, {
      hint: error instanceof RktError ? error.hint : `it takes room in ${SPOOL}`,
      cause: error,
    });
  }
}

async function checkRoom(): Promise<void> {
  const { bavail, bsize } = await statfs(SPOOL);
  if (bavail * bsize < SPOOL_FREE) throw new RktError("import-failed", `${SPOOL} is full`, { hint: "unpack it yourself" });
}

/** Where each file's data are. */
async function readMembers(file: FileHandle, path: string): Promise<Map<string, Member>> {
  const members = new Map<string, Member>();
  const { size } = await file.stat();
  let at = 0;
  /** Bytes of data that come after the header that was read last. */
  let data = 0;
  const reader = new TarReader(
    (entry) => {
      if (entry.segments !== undefined) throw new RktError("bad-archive", `${entry.path} is a sparse file`);
      const member = memberOf(entry, at);
      // Of two documents of one name the first counts for some readers, the last for others. Blobs are checked.
      const twice = member !== undefined && members.has(entry.path);
      if (twice && !/^blobs\/|\.tar$/.test(entry.path)) throw new RktError("bad-archive", `${entry.path} is there twice`);
      if (member !== undefined && !twice) members.set(entry.path, member);
      data = entry.type === "file" ? entry.size : 0;
      return undefined;
    },
    { entries: MAX_MEMBERS, fileSize: SPOOL_LIMIT, depth: 64 },
  );
  const block = Buffer.alloc(BLOCK);
  const nothing = Buffer.alloc(256 * 1024);
  try {
    while (at < size) {
      const { bytesRead } = await file.read(block, 0, BLOCK, at);
      if (bytesRead === 0) break;
      at += bytesRead;
      reader.write(block.subarray(0, bytesRead));
      const skipped = data;
      const padded = Math.ceil(skipped / BLOCK) * BLOCK;
      if (at + skipped > size) throw new RktError("bad-archive", "the archive is cut short");
      for (let left = Math.min(padded, size - at); left > 0; ) {
        const n = Math.min(left, nothing.length);
        reader.write(nothing.subarray(0, n));
        left -= n;
      }
      at += padded;
      data = 0;
    }
    reader.end();
    return members;
  } catch (error) {
    if (!(error instanceof RktError)) throw error;
    throw new RktError(error.code, `${path} is no archive of images: ${error.message}`, { hint: error.hint, cause: error });
  }
}

function memberOf({ type, size, path, linkPath }: TarEntry, offset: number): Member | undefined {
  if (type === "file") return { offset, size };
  if (type === "link") return { link: normal("", linkPath) };
  if (type === "symlink") return { link: normal(path, linkPath) };
  return undefined;
}

/** The member that a link in the archive leads to; one that leads out of it leads nowhere. */
function normal(from: string, target: string): string {
  const parts = target.startsWith("/") ? [] : from.split("/").slice(0, -1);
  for (const part of target.split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) return "";
    } else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function resolveMember(members: ReadonlyMap<string, Member>, name: string, path: string) {
  let at = normal("", name);
  for (let links = 0; links <= MAX_LINKS; links++) {
    const member = members.get(at);
    if (member === undefined || "offset" in member) return member;
    at = member.link;
  }
  throw new RktError("bad-archive", `${path}: ${name} is a link to a link to a link`);
}
