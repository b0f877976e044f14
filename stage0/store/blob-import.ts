/**
 * Makes a blob of an image's bytes in one pass, wherever they come from:
 * decompresses and hashes them, finds and checks the manifest and the layout,
 * and writes the blob. Until `commit` the blob is a locked temporary file,
 * which the next import collects if this process dies.
 */

import { createHash } from "node:crypto";
import { closeSync, fsync, mkdirSync, openSync, readSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { errorText, RktError } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { blobKey } from "../../shared/contract/image-ids.ts";
import { parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { MAX_MANIFEST_BYTES } from "../../shared/schema/json.ts";
import type { ImageID, ImageManifest } from "../../shared/schema/types.ts";
import { OCI_ENTRIES, type OciContent, readStoredDocuments } from "./oci-content.ts";
import { temporaryFile } from "./temporary.ts";
import { type Decompressor, decompressor, detectCompression, MAGIC_BYTES } from "../archive/decompress.ts";
import { DIRECTORY_SIZE, ImpliedDirectories } from "../archive/implied-directories.ts";
import { PathSet } from "../archive/path-set.ts";
import { shownPath } from "../archive/entry-path.ts";
import type { TarEntry } from "../archive/tar-entry.ts";
import { GET_AGAIN, tarError } from "../archive/tar-error.ts";
import { type EntrySink, TAR_LIMITS, type TarLimits, TarReader } from "../archive/tar-reader.ts";

export interface ImportLimits extends TarLimits {
  /** Bytes of the uncompressed archive, and of the directories that it implies. */
  archiveSize: number;
  /** How many times its compressed size an archive may be, once it is over 64 MiB. */
  ratio: number;
}

export const IMPORT_LIMITS: ImportLimits = { ...TAR_LIMITS, archiveSize: 64 * 1024 ** 3, ratio: 200 };

/** `maxImageSize`: bytes that an image may unpack to, whatever the size of its file. */
export const importLimits = (maxImageSize: number | undefined): ImportLimits =>
  maxImageSize === undefined
    ? IMPORT_LIMITS
    : { ...IMPORT_LIMITS, archiveSize: maxImageSize, ratio: Number.POSITIVE_INFINITY };

const RATIO_FREE = 64 * 1024 ** 2;

export interface ImportedBlob {
  id: ImageID;
  key: string;
  manifest: ImageManifest;
  manifestText: string;
  /** Bytes of the blob; of an OCI image, with its layers. */
  size: number;
  /** Of an OCI image. */
  oci?: OciContent | undefined;
}

export interface BlobImport {
  /** Resolves when the chunk may be reused. */
  write(chunk: Uint8Array): Promise<void>;
  /** All bytes were written: checks the image, and says what it is. */
  finish(): Promise<ImportedBlob>;
  /** The SHA-256 of what `finish` has seen, in hex digits: only before `commit`. */
  sha256(): string;
  /** Puts the blob in its place. */
  commit(): Promise<ImportedBlob>;
  abort(): void;
}

const fsyncAsync = promisify(fsync);

/** Hints for faults of the image itself, by the code of the error. */
const HINTS: Readonly<Record<string, string>> = {
  "manifest-invalid": "whoever made the image has to mend its manifest (appc spec, aci.md)",
  "bad-archive": "the image was not made as the appc spec (aci.md) has it, or has been changed since",
};

/** Errors call the image by `name`. */
export function beginBlobImport(layout: DataLayout, name: string, limits: ImportLimits): BlobImport {
  const temporary = temporaryFile(layout, "blob");
  const hash = createHash("sha512");
  const contents = new ImageContents(limits);
  let size = 0;
  let compressedSize = 0;
  let start = Buffer.alloc(0);
  let pipe: Decompressor | undefined;
  let result: ImportedBlob | undefined;

  function consume(chunk: Buffer): void {
    size += chunk.length;
    requireSize(size, compressedSize, limits, contents.implied.count);
    contents.reader.write(chunk);
    requireSize(size, compressedSize, limits, contents.implied.count);
    hash.update(chunk);
    let at = 0;
    while (at < chunk.length) at += writeSync(temporary.fd, chunk, at);
  }

  const describe = (error: unknown): Error => {
    const hint = error instanceof RktError ? (error.hint ?? HINTS[error.code]) : undefined;
    return new RktError(
      error instanceof RktError ? error.code : "import-failed",
      `cannot import ${name}: ${errorText(error)}`,
      {
        hint,
        cause: error,
      },
    );
  };

  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      pipe?.destroy();
      temporary.remove();
      throw describe(error);
    }
  };

  function begin(): Decompressor {
    const compression = detectCompression(start);
    if (compression === "none") refuseForeign(start);
    return decompressor(compression, consume);
  }

  return {
    write: (chunk) =>
      attempt(async () => {
        compressedSize += chunk.length;
        if (pipe !== undefined) return await pipe.write(chunk);
        start = Buffer.concat([start, chunk]);
        if (start.length < MAGIC_BYTES) return;
        pipe = begin();
        await pipe.write(start);
      }),
    finish: () =>
      attempt(async () => {
        if (pipe === undefined) {
          if (start.length === 0) throw tarError("it is empty", GET_AGAIN);
          pipe = begin();
          await pipe.write(start);
        }
        await pipe.end();
        const manifestText = contents.finish();
        const manifest = parseImageManifest(manifestText);
        const id = `sha512-${hash.digest("hex")}`;
        result = { id, key: blobKey(id), manifest, manifestText, size };
        return result;
      }),
    sha256: () => sha256Of(temporary.fd),
    commit: () =>
      attempt(async () => {
        if (result === undefined) throw new Error("commit before finish");
        await place(layout, temporary, result);
        return result;
      }),
    abort() {
      pipe?.destroy();
      temporary.remove();
    },
  };
}

/** Throws "too-large" for what looks like a decompression bomb: `size` bytes of an archive by now, out of `compressedSize`. */
export function requireSize(size: number, compressedSize: number, limits: ImportLimits, implied = 0): void {
  const taken = size + implied * DIRECTORY_SIZE;
  if (taken <= limits.archiveSize && (taken <= RATIO_FREE || taken <= compressedSize * limits.ratio)) return;
  const most = taken > limits.archiveSize ? `${limits.archiveSize} bytes` : `${limits.ratio} times its size`;
  const more = implied > 0 ? `, with ${implied} directories that it has no entries for` : "";
  throw new RktError("too-large", `it decompresses to more than ${most}${more}`, {
    hint: "it looks like a decompression bomb; if it is none, --max-image-size=SIZE lets it in",
  });
}

/** The SHA-256 of a file from its beginning, in hex digits. */
export function sha256Of(fd: number): string {
  const hash = createHash("sha256");
  const chunk = Buffer.allocUnsafe(1024 * 1024);
  let at = 0;
  for (let n = readSync(fd, chunk, 0, chunk.length, at); n > 0; n = readSync(fd, chunk, 0, chunk.length, at)) {
    hash.update(chunk.subarray(0, n));
    at += n;
  }
  return hash.digest("hex");
}

/** Reads a blob that is in the store already, and says what it is. */
export function inspectBlob(path: string): ImportedBlob {
  const hash = createHash("sha512");
  const contents = new ImageContents(IMPORT_LIMITS, true);
  const chunk = Buffer.allocUnsafe(1024 * 1024);
  const fd = openSync(path, "r");
  let size = 0;
  try {
    for (let n = readSync(fd, chunk); n > 0; n = readSync(fd, chunk)) {
      hash.update(chunk.subarray(0, n));
      contents.reader.write(chunk.subarray(0, n));
      size += n;
    }
  } finally {
    closeSync(fd);
  }
  const manifestText = contents.finish();
  const id = `sha512-${hash.digest("hex")}`;
  const oci = contents.documents();
  for (const layer of oci?.layers ?? []) size += layer.size;
  return { id, key: blobKey(id), manifest: parseImageManifest(manifestText), manifestText, size, oci };
}

/** Says what some files are that people take for images: "not a tar archive" would not help. */
function refuseForeign(start: Buffer): void {
  const text = start.toString("latin1");
  if (/^\s*</.test(text))
    throw new RktError("not-an-image", "it is an HTML or XML page, not an image", {
      hint: "is the address that of the image itself?",
    });
  if (text.startsWith("\x7fELF")) throw new RktError("not-an-image", "it is an executable, not an image");
}

/** temp file → fsync → rename → fsync of the directory. A blob that is there is replaced: it may be damaged. */
export async function place(
  layout: DataLayout,
  temporary: { fd: number; path: string; keep(): void },
  blob: Pick<ImportedBlob, "key">,
): Promise<void> {
  const target = layout.blob(blob.key);
  await fsyncAsync(temporary.fd);
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
  renameSync(temporary.path, target);
  temporary.keep();
  const directory = openSync(dirname(target), "r");
  try {
    await fsyncAsync(directory);
  } finally {
    closeSync(directory);
  }
}

/**
 * The layout of an image archive: "manifest", a file, and "rootfs", a directory; nothing else, nothing twice (aci.md). The
 * archives that the store writes itself have the documents of an OCI image in place of "rootfs" (ADR 11).
 */
class ImageContents {
  readonly reader: TarReader;
  readonly #stored: boolean;
  #manifest: Buffer[] | undefined;
  readonly #documents = new Map<string, Buffer[]>();
  #rootfs = false;
  readonly #seen = new PathSet();
  readonly implied: ImpliedDirectories;

  /** `stored`: it is a blob of the store, which may be an OCI image. */
  constructor(limits: TarLimits, stored = false) {
    this.implied = new ImpliedDirectories(limits.entries);
    this.reader = new TarReader((entry) => this.#entry(entry), limits);
    this.#stored = stored;
  }

  #entry(entry: TarEntry): EntrySink | undefined {
    const { path } = entry;
    if (path === "" && entry.type === "directory") return undefined;
    if (path === "manifest") return this.#readManifest(entry);
    if (this.#stored && !this.#rootfs && OCI_ENTRIES.some((name) => name === path)) return this.#readDocument(entry);
    if (path !== "rootfs" && !path.startsWith("rootfs/"))
      throw tarError(
        `it has ${JSON.stringify(shownPath(path))} beside "manifest" and "rootfs"`,
        "an image archive has nothing else (appc spec, aci.md)",
      );
    if (path === "rootfs" && entry.type !== "directory")
      throw tarError(`its rootfs is a ${entry.type}, not a directory`);
    if (!this.#seen.add(path) && entry.type !== "directory")
      throw tarError(`${JSON.stringify(shownPath(path))} is in it twice`);
    this.#rootfs = true;
    this.implied.add(entry);
    return undefined;
  }

  #readManifest(entry: TarEntry): EntrySink {
    if (entry.type !== "file") throw tarError(`its manifest is a ${entry.type}, not a file`);
    if (this.#manifest !== undefined) throw tarError("it has two manifests");
    this.#manifest = [];
    return collect(entry, this.#manifest);
  }

  #readDocument(entry: TarEntry): EntrySink {
    if (entry.type !== "file" || this.#documents.has(entry.path)) throw tarError("it is no blob of an OCI image");
    const parts: Buffer[] = [];
    this.#documents.set(entry.path, parts);
    return collect(entry, parts);
  }

  /** After `finish`: what an OCI image is made of; undefined for another image. */
  documents(): OciContent | undefined {
    const [manifest, config] = OCI_ENTRIES.map((name) => this.#documents.get(name));
    if (manifest === undefined || config === undefined) return undefined;
    return readStoredDocuments({ manifest: Buffer.concat(manifest), config: Buffer.concat(config) });
  }

  /** The manifest's text; throws if the archive is not whole. */
  finish(): string {
    this.reader.end();
    if (this.#manifest === undefined)
      throw tarError("it has no manifest", "it is a tar archive, but no App Container image");
    if (!this.#rootfs && this.#documents.size < OCI_ENTRIES.length)
      throw tarError("it has no rootfs", "an image archive has a directory rootfs (appc spec, aci.md)");
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(this.#manifest));
  }
}

function collect({ path, size }: TarEntry, parts: Buffer[]): EntrySink {
  if (size > MAX_MANIFEST_BYTES) throw tarError(`its ${path} has more than ${MAX_MANIFEST_BYTES} bytes`);
  return { data: (chunk) => parts.push(Buffer.from(chunk)), end: () => {} };
}
