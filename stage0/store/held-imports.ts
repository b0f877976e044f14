/**
 * Images that this process has imported and keeps to itself until it releases
 * them: their blobs are locked temporary files, and the index does not know of
 * them. What the index is to learn together with an image, the file or the URL
 * it came from, waits with it. For a caller that looks at the manifests before
 * it decides, or that needs all of several images.
 */

import type { BlobImport, ImportedBlob } from "./blob-import.ts";
import { type FileIdentity, type FileRecord, sameFile } from "./index-files.ts";
import type { StoredImage } from "./index-images.ts";
import type { RemoteRecord } from "./index-remotes.ts";

/** What the index is to learn of an image whose blob is in its place. */
export interface ReleasedImport {
  blob: ImportedBlob;
  image: StoredImage;
  files: FileRecord[];
  remotes: RemoteRecord[];
}

/** What is held of an import, of either kind. */
export type HeldBlob = Pick<BlobImport, "sha256" | "commit" | "abort">;

interface HeldImport {
  image: StoredImage;
  blobImport: HeldBlob;
  /** Its blob, which moves to its place once the image is released. */
  moved: Promise<ImportedBlob> | undefined;
}

export class HeldImports {
  readonly #imports = new Map<string, HeldImport>();
  #files: FileRecord[] = [];
  /** By URL. */
  readonly #remotes = new Map<string, RemoteRecord>();

  hold(image: StoredImage, blobImport: HeldBlob): void {
    this.#imports.set(image.key, { image, blobImport, moved: undefined });
  }

  has(key: string): boolean {
    return this.#imports.has(key);
  }

  get(key: string): StoredImage | undefined {
    return this.#imports.get(key)?.image;
  }

  all(): StoredImage[] {
    return [...this.#imports.values()].map(({ image }) => image);
  }

  /** The SHA-256 of the image's archive in hex digits; undefined if its blob is in its place, or on the way there. */
  sha256(key: string): string | undefined {
    const held = this.#imports.get(key);
    return held === undefined || held.moved !== undefined ? undefined : held.blobImport.sha256();
  }

  rememberFile(record: FileRecord): void {
    this.#files.push(record);
  }

  /** The image that was imported from the file. */
  byFile(file: FileIdentity): StoredImage | undefined {
    const record = this.#files.findLast((one) => sameFile(one.file, file));
    return record === undefined ? undefined : this.get(record.key);
  }

  /** Replaces the record of the same URL. */
  rememberRemote(record: RemoteRecord): void {
    this.#remotes.set(record.url, record);
  }

  remote(url: string): RemoteRecord | undefined {
    return this.#remotes.get(url);
  }

  /**
   * Moves the blobs of the images with these keys, or of all, to their places. Then `record` writes all of them into
   * the index, and they are no longer held. `record` is not called for images that another call has released meanwhile.
   */
  async release(
    keys: ReadonlySet<string> | undefined,
    record: (imports: readonly ReleasedImport[]) => void,
  ): Promise<void> {
    const blobs: ImportedBlob[] = [];
    for (const [key, held] of this.#imports) {
      if (keys?.has(key) === false) continue;
      held.moved ??= held.blobImport.commit();
      blobs.push(await held.moved);
    }
    const released = blobs.flatMap((blob) => {
      const image = this.get(blob.key);
      if (image === undefined) return [];
      const files = this.#files.filter(({ key }) => key === blob.key);
      const remotes = [...this.#remotes.values()].filter(({ key }) => key === blob.key);
      return [{ blob, image, files, remotes }];
    });
    if (released.length === 0) return;
    record(released);
    for (const { blob, remotes } of released) {
      this.#imports.delete(blob.key);
      this.#files = this.#files.filter(({ key }) => key !== blob.key);
      for (const { url } of remotes) this.#remotes.delete(url);
    }
  }

  /** Deletes what was not released. */
  abandon(): void {
    for (const { blobImport } of this.#imports.values()) blobImport.abort();
    this.#imports.clear();
    this.#files = [];
    this.#remotes.clear();
  }
}
