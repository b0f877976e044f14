/**
 * The bytes of a layer in one pass: counts and hashes them as they come,
 * decompresses them, hashes the archive, and gives its entries to whoever
 * extracts it. Nothing of it may be relied on before `end` has resolved.
 */

import { createHash } from "node:crypto";
import { RktError } from "../../shared/errors.ts";
import { type Decompressor, decompressor, detectCompression, MAGIC_BYTES } from "../archive/decompress.ts";
import { LAYER_LIMITS, type TakeMore } from "../archive/layer.ts";
import type { TarEntry } from "../archive/tar-entry.ts";
import { GET_AGAIN, tarError } from "../archive/tar-error.ts";
import { type EntrySink, TarReader } from "../archive/tar-reader.ts";
import { ImpliedDirectories } from "../archive/implied-directories.ts";
import { IMPORT_LIMITS, type ImportLimits, requireSize } from "./blob-import.ts";
import type { LayerRef } from "./oci-content.ts";

export interface LayerReader {
  /** Resolves when the chunk may be reused. */
  write(chunk: Uint8Array): Promise<void>;
  /** All bytes were written. Throws "wrong-digest" if they are not the layer's. */
  end(): Promise<void>;
  /** The extractor makes more than the entries: directories without one, copies of files of the layers below. */
  takes: TakeMore;
  /** Abandons the layer. */
  destroy(): void;
}

/**
 * What the layers of one image may take, all together, as an App Container image may: what they unpack to, each time that
 * they are extracted, and what they copy of the layers below. Once a layer was let into the store, its first time is free.
 */
export interface LayerBudget {
  limits: ImportLimits;
  unpacked: number;
  /** Bytes of the layers' blobs. */
  written: number;
  /** Entries, and what else was made. */
  inodes: number;
  /** Digests of layers that were extracted. */
  met: Set<string>;
}

/** Of an image whose layers are in the store. */
export const storedBudget = (layers: readonly LayerRef[], limits: ImportLimits = IMPORT_LIMITS): LayerBudget => ({
  ...{ limits, unpacked: 0, inodes: 0, met: new Set() },
  written: sizeOf(layers),
});

/** Bytes of the blobs; one that is there several times counts once. */
export const sizeOf = (layers: readonly LayerRef[]): number =>
  [...new Map(layers.map(({ digest, size }) => [digest, size])).values()].reduce((sum, size) => sum + size, 0);

/** Throws "too-large". */
export function spend(budget: LayerBudget, inodes: number, bytes: number): void {
  budget.inodes += inodes;
  budget.unpacked += bytes;
  try {
    requireSize(budget.unpacked, budget.written, budget.limits);
  } catch (error) {
    if (!(error instanceof RktError)) throw error;
    throw new RktError(error.code, `with the image's other layers ${error.message}`, {
      hint: error.hint,
      cause: error,
    });
  }
  if (budget.inodes > budget.limits.entries)
    throw new RktError(
      "too-large",
      `with the image's other layers it makes more than ${budget.limits.entries} files and directories`,
      {
        hint: "fewer layers that need the layers below, or fewer files: whoever made the image has to mend it",
      },
    );
}

export type TakeEntry = (entry: TarEntry) => EntrySink | undefined;

/** "arriving": it comes for the first time. Else it is of the store, and counts only "again". */
export type Times = "arriving" | "first" | "again";

export function layerReader(
  { digest, diffId, size }: LayerRef,
  budget: LayerBudget,
  times: Times,
  take: TakeEntry,
): LayerReader {
  const hash = createHash("sha256");
  const counts = times !== "first";
  let archiveHash: ReturnType<typeof createHash> | undefined;
  const implied = new ImpliedDirectories(LAYER_LIMITS.entries);
  const tar = new TarReader((entry) => {
    implied.add(entry);
    if (counts) takes(1, 0);
    return take(entry);
  }, LAYER_LIMITS);
  let written = 0;
  let unpacked = 0;
  const spent = { inodes: 0, bytes: 0 };
  let start = Buffer.alloc(0);
  let pipe: Decompressor | undefined;

  function takes(inodes: number, bytes: number): void {
    spent.inodes += inodes;
    spent.bytes += bytes;
    spend(budget, inodes, bytes);
  }

  function consume(chunk: Buffer): void {
    unpacked += chunk.length;
    if (times === "arriving") requireSize(unpacked, written, budget.limits, implied.count);
    if (counts) takes(0, chunk.length);
    tar.write(chunk);
    if (times === "arriving") requireSize(unpacked, written, budget.limits, implied.count);
    archiveHash?.update(chunk);
  }

  function begin(): Decompressor {
    const compression = detectCompression(start);
    if (compression !== "none" && compression !== "gzip" && compression !== "zstd")
      throw new RktError("bad-compression", `it is compressed with ${compression}`, {
        hint: "layers of OCI images are compressed with gzip or zstd, or not at all",
      });
    // As it is, it is the archive, and needs no second hash.
    if (compression !== "none") archiveHash = createHash("sha256");
    return decompressor(compression, consume);
  }

  return {
    takes,
    async write(chunk) {
      written += chunk.length;
      if (times === "arriving") budget.written += chunk.length;
      if (written > size) throw wrong(`it is more than ${size} bytes long`);
      hash.update(chunk);
      if (pipe !== undefined) return await pipe.write(chunk);
      start = Buffer.concat([start, chunk]);
      if (start.length < MAGIC_BYTES) return;
      pipe = begin();
      await pipe.write(start);
      start = Buffer.alloc(0);
    },
    async end() {
      if (written !== size) throw wrong(`it is ${written} bytes long, not ${size}`);
      const found = `sha256:${hash.digest("hex")}`;
      if (found !== digest) throw wrong(`its digest is ${found}`);
      if (pipe === undefined) {
        if (start.length === 0) throw tarError("it is empty", GET_AGAIN);
        pipe = begin();
        await pipe.write(start);
      }
      await pipe.end();
      tar.end();
      const archive = archiveHash === undefined ? digest : `sha256:${archiveHash.digest("hex")}`;
      if (archive !== diffId)
        throw new RktError("wrong-digest", `its archive has the digest ${archive}, not ${diffId}`, {
          hint: "the image's configuration is not for this layer: whoever made the image has to mend it",
        });
    },
    destroy() {
      pipe?.destroy();
      if (times !== "arriving") return;
      // It may come again, and counts once.
      budget.unpacked -= spent.bytes;
      budget.inodes -= spent.inodes;
      budget.written -= written;
      [spent.bytes, spent.inodes, written] = [0, 0, 0];
    },
  };
}

const wrong = (what: string): RktError => new RktError("wrong-digest", what, { hint: GET_AGAIN });
