/**
 * The bytes of a layer in one pass: counts and hashes them as they come,
 * decompresses them, hashes the archive, and gives its entries to whoever
 * extracts it. Nothing of it may be relied on before `end` has resolved.
 */

import { createHash } from "node:crypto";
import { RktError } from "../../shared/errors.ts";
import { type Decompressor, decompressor, detectCompression, MAGIC_BYTES } from "../archive/decompress.ts";
import { LAYER_LIMITS } from "../archive/layer.ts";
import type { TarEntry } from "../archive/tar-entry.ts";
import { GET_AGAIN, tarError } from "../archive/tar-error.ts";
import { type EntrySink, TarReader } from "../archive/tar-reader.ts";
import { ImpliedDirectories } from "../archive/implied-directories.ts";
import { type ImportLimits, requireSize } from "./blob-import.ts";
import type { LayerRef } from "./oci-content.ts";

export interface LayerReader {
  /** Resolves when the chunk may be reused. */
  write(chunk: Uint8Array): Promise<void>;
  /** All bytes were written. Throws "wrong-digest" if they are not the layer's. */
  end(): Promise<void>;
  /** Abandons the layer. */
  destroy(): void;
}

/** What the layers of one image may unpack to, all together. */
export interface LayerBudget {
  limits: ImportLimits;
  unpacked: number;
  /** Bytes of their blobs that have come. */
  written: number;
}

export type TakeEntry = (entry: TarEntry) => EntrySink | undefined;

export function layerReader({ digest, diffId, size }: LayerRef, budget: LayerBudget, take: TakeEntry): LayerReader {
  const hash = createHash("sha256");
  let archiveHash: ReturnType<typeof createHash> | undefined;
  const implied = new ImpliedDirectories(LAYER_LIMITS.entries);
  const tar = new TarReader((entry) => {
    implied.add(entry);
    return take(entry);
  }, LAYER_LIMITS);
  let written = 0;
  let unpacked = 0;
  let start = Buffer.alloc(0);
  let pipe: Decompressor | undefined;

  function consume(chunk: Buffer): void {
    unpacked += chunk.length;
    budget.unpacked += chunk.length;
    requireSize(unpacked, written, budget.limits, implied.count);
    // What a layer may unpack to whatever its size, all layers of an image may together.
    requireSize(budget.unpacked, budget.written, budget.limits);
    tar.write(chunk);
    requireSize(unpacked, written, budget.limits, implied.count);
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
    async write(chunk) {
      written += chunk.length;
      budget.written += chunk.length;
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
      // It may come again, and counts once.
      budget.unpacked -= unpacked;
      budget.written -= written;
      [unpacked, written] = [0, 0];
    },
  };
}

const wrong = (what: string): RktError => new RktError("wrong-digest", what, { hint: GET_AGAIN });
