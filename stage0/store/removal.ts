/** Images out of the store, and blobs that the index does not know of back into it. */

import { existsSync, readdirSync, rmSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { inspectBlob } from "./blob-import.ts";
import type { IndexDb } from "./index-db.ts";
import { deleteFilesOf } from "./index-files.ts";
import { deleteImage, imageKeys, insertImage } from "./index-images.ts";
import { deleteRemotesOf } from "./index-remotes.ts";
import type { StoreState } from "./store-state.ts";

export interface Removal {
  /**
   * Runs `work`, which may `remove`, while no other process relies on what is in the store. Calls `wait` first if
   * another process has to finish before.
   */
  exclusively<T>(wait: () => void, work: () => T): T;
  /** From now on nothing is removed, as after any use of the store; `exclusively` ends that. */
  share(): void;
  /** Removes an image; its trees are for the caller to remove. Call it inside `exclusively`. */
  remove(key: string): void;
  /** Adds the blobs that the index does not know of, and gives the keys of those that are no images. */
  adopt(): string[];
}

export const removal = ({ layout, lock, index, manifests }: StoreState): Removal => ({
  exclusively: (wait, work) => lock.exclusively(wait, work),

  share: () => lock.share(),

  remove(key) {
    // First the index: if rkt is killed after it, a blob is left that is adopted again, never half an image.
    index.transaction(() => {
      deleteImage(index, key);
      deleteFilesOf(index, key);
      deleteRemotesOf(index, key);
    });
    manifests.delete(key);
    rmSync(layout.blob(key), { force: true });
  },

  adopt() {
    lock.share();
    return adoptBlobs(layout, index);
  },
});

/**
 * Reads the blobs that the index does not know of, and adds their images. A
 * blob that is no image any more, or not the one that its name says, stays as
 * it is, as evidence; gives the keys of those.
 */
export function adoptBlobs(layout: DataLayout, index: IndexDb): string[] {
  const refused: string[] = [];
  if (!existsSync(layout.blobs)) return refused;
  const known = new Set(imageKeys(index));
  for (const group of readdirSync(layout.blobs))
    for (const key of readdirSync(`${layout.blobs}/${group}`)) {
      if (known.has(key)) continue;
      try {
        const blob = inspectBlob(layout.blob(key));
        if (blob.key === key) index.transaction(() => insertImage(index, blob, "none"));
        else refused.push(key);
      } catch (error) {
        if (!(error instanceof RktError)) throw error;
        refused.push(key);
      }
    }
  return refused;
}
