/**
 * Images into the store: a local file in one step, any other bytes as they
 * come. An image is there at once, or, if the store was opened with `hold`,
 * when the caller releases it.
 */

import { fileChunks } from "../archive/file-chunks.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import type { ImageID, ImageManifest } from "../../shared/schema/types.ts";
import { type BlobImport, beginBlobImport, importLimits, type ImportedBlob, type ImportLimits } from "./blob-import.ts";
import { fileIdentity, findFile, sameFile, saveFile } from "./index-files.ts";
import { imageByKey, insertImage, type StoredImage, setProvenance } from "./index-images.ts";
import { findRemote, type RemoteRecord, saveRemote } from "./index-remotes.ts";
import { type Provenance, rank } from "./provenance.ts";
import type { HeldBlob } from "./held-imports.ts";
import type { OciImport } from "./oci-import.ts";
import type { OciImports } from "./oci-imports.ts";
import type { StoreState } from "./store-state.ts";
import { collectTemporaries } from "./temporary.ts";

export interface ImageImports extends OciImports {
  /** Imports a local file in one pass. A file that is known, and has not changed since, costs a stat. */
  importFile(path: string): Promise<StoredImage>;
  /** Begins the import of bytes that come from elsewhere; errors call the image by `name`. */
  beginImport(name: string): PendingImport;
  /** Puts the held images with these keys, or all, into the store: all of them appear at once. */
  release(keys?: ReadonlySet<string>): Promise<void>;
}

/** An image whose bytes are still coming; nothing of it is in the store before `commit`. */
export interface PendingImport {
  /** Resolves when the chunk may be reused. */
  write(chunk: Uint8Array): Promise<void>;
  /** All bytes were written: checks the image, and says what it is. */
  finish(): Promise<{ id: ImageID; key: string; manifest: ImageManifest; size: number }>;
  /** After `finish`: `sha256-` and 64 hex digits. */
  sha256(): string;
  /** Puts the image into the store, or holds it, and records where it came from. */
  commit(remote?: RemoteRecord): Promise<StoredImage>;
  /** Leaves nothing behind. */
  abort(): Promise<void>;
}

/** What was downloaded before. A record about a held image is held with it. */
export interface Remotes {
  remote(url: string): RemoteRecord | undefined;
  updateRemote(record: RemoteRecord): void;
}

export const remotesOf = ({ index, held }: StoreState): Remotes => ({
  remote: (url) => held.remote(url) ?? findRemote(index, url),
  updateRemote(record) {
    if (held.has(record.key)) held.rememberRemote(record);
    else saveRemote(index, record);
  },
});

export interface ImportOptions {
  hold: boolean;
  /** Bytes that an image may unpack to, whatever the size of its file; undefined: the limits of `blob-import.ts`. */
  maxImageSize: number | undefined;
  /** Of local files. */
  provenance: Provenance;
}

export function imageImports(
  state: StoreState,
  { updateRemote }: Remotes,
  { hold, maxImageSize, provenance: ofFiles }: ImportOptions,
): ImageImports {
  const { layout, lock, index, held } = state;
  const limits = importLimits(maxImageSize);

  /** Puts an image into the store, or holds it. */
  const accept = async (blob: ImportedBlob, blobImport: HeldBlob, provenance: Provenance): Promise<StoredImage> => {
    if (!hold || indexed(state, blob.key) !== undefined) return await moveIntoStore(state, blobImport, provenance);
    const same = held.get(blob.key);
    if (same !== undefined) {
      blobImport.abort();
      return raiseProvenance(state, same, provenance);
    }
    const { id, key, manifest, size } = blob;
    const now = Date.now();
    const { name, labels } = manifest;
    const digest = blob.oci === undefined ? {} : { digest: blob.oci.digest };
    const image = { id, key, name, labels, size, importedAt: now, lastUsedAt: now, provenance, ...digest };
    state.manifests.set(key, manifest);
    held.hold(image, blobImport);
    return image;
  };

  return {
    async importFile(path) {
      lock.share();
      const file = fileIdentity(path);
      const known = findFile(index, file);
      const found = (known === undefined ? undefined : indexed(state, known)) ?? held.byFile(file);
      if (found !== undefined) return raiseProvenance(state, found, ofFiles);
      collectTemporaries(layout);
      const { blob, blobImport } = await readImage(layout, path, limits);
      // If the file has changed while it was read, nothing is known of it.
      const unchanged = sameFile(fileIdentity(path), file);
      const image = await accept(blob, blobImport, ofFiles);
      if (!unchanged) return image;
      const record = { file, key: blob.key };
      if (held.has(blob.key)) held.rememberFile(record);
      else saveFile(index, record);
      return image;
    },

    beginImport(name) {
      collectTemporaries(layout);
      const blobImport = beginBlobImport(layout, name, limits);
      let blob: ImportedBlob | undefined;
      return {
        write: (chunk) => blobImport.write(chunk),
        async finish() {
          blob = await blobImport.finish();
          return blob;
        },
        sha256: () => `sha256-${blobImport.sha256()}`,
        async commit(remote) {
          if (blob === undefined) throw new Error("commit before finish");
          const image = await accept(blob, blobImport, remote?.signatureUrl === undefined ? "none" : "verified");
          if (remote !== undefined) updateRemote({ ...remote, key: image.key });
          return image;
        },
        abort: async () => blobImport.abort(),
      };
    },

    beginOci(shown) {
      let begun: OciImport | undefined;
      let blob: ImportedBlob | undefined;
      const started = (): OciImport => {
        if (begun === undefined) throw new Error("describe comes first");
        return begun;
      };
      return {
        async describe(documents) {
          const { beginOciImport } = await import("./oci-import.ts");
          collectTemporaries(layout);
          const context = { layout, limits, share: () => lock.share(), checked: state.checkedLayers };
          begun = beginOciImport(context, shown);
          return await begun.describe(documents);
        },
        async finish() {
          blob = await started().finish();
          return blob;
        },
        async commit(remote, by) {
          if (blob === undefined) throw new Error("commit before finish");
          const signed = remote?.signatureUrl === undefined ? "none" : "verified";
          const provenance = by === "file" ? ofFiles : by === "digest" ? "given" : signed;
          const image = await accept(blob, started(), provenance);
          if (remote !== undefined) updateRemote({ ...remote, key: image.key });
          return image;
        },
        abort: async () => begun?.abort(),
      };
    },

    vouchAsFile: (image) => raiseProvenance(state, image, ofFiles),

    async release(keys) {
      lock.share();
      await held.release(keys, (imports) => {
        index.transaction(() => {
          for (const { blob, image, files, remotes } of imports) {
            insertImage(index, blob, image.provenance);
            for (const record of files) saveFile(index, record);
            for (const record of remotes) saveRemote(index, record);
          }
        });
        for (const { blob } of imports) blobWritten(state, blob.key);
      });
    },
  };
}

/** The image of the index, unless it is damaged. */
function indexed({ index, damaged }: StoreState, key: string): StoredImage | undefined {
  return damaged.has(key) ? undefined : imageByKey(index, key);
}

/** Moves the blob to its place, and adds the image to the index. */
async function moveIntoStore(state: StoreState, blobImport: HeldBlob, provenance: Provenance): Promise<StoredImage> {
  const { lock, index } = state;
  // Taken first, so that nobody removes the blob before the index has its row.
  lock.share();
  const blob = await blobImport.commit();
  index.transaction(() => insertImage(index, blob, provenance));
  blobWritten(state, blob.key);
  const image = imageByKey(index, blob.key);
  if (image === undefined) throw new Error("a row of the index has vanished");
  return image;
}

function blobWritten({ written, damaged }: StoreState, key: string): void {
  written.add(key);
  damaged.delete(key);
}

/** An image's provenance is never lowered. */
function raiseProvenance({ index, held }: StoreState, image: StoredImage, provenance: Provenance): StoredImage {
  if (rank(provenance) <= rank(image.provenance)) return image;
  image.provenance = provenance;
  if (!held.has(image.key)) setProvenance(index, image.key, provenance);
  return image;
}

async function readImage(
  layout: DataLayout,
  path: string,
  limits: ImportLimits,
): Promise<{ blob: ImportedBlob; blobImport: BlobImport }> {
  const blobImport = beginBlobImport(layout, path, limits);
  try {
    for await (const chunk of fileChunks(path)) await blobImport.write(chunk);
    return { blob: await blobImport.finish(), blobImport };
  } catch (error) {
    blobImport.abort();
    throw error;
  }
}
