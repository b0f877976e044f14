/** Images out of the store, and blobs that the index does not know of back into it. */

import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { type ImportedBlob, inspectBlob } from "./blob-import.ts";
import type { IndexDb } from "./index-db.ts";
import { deleteFilesOf } from "./index-files.ts";
import { allLayers, deleteImage, imageKeys, insertImage } from "./index-images.ts";
import { deleteRemotesOf } from "./index-remotes.ts";
import { listLayerBlobs, listLayers } from "./layer-names.ts";
import { layerIds } from "./oci-content.ts";
import type { StoreState } from "./store-state.ts";
import { setAside } from "./temporary.ts";
import { readTreeManifest } from "./tree-directories.ts";

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
  /**
   * Moves the layers of OCI images out of the store that nothing uses; the given functions delete them. Those stay that a
   * rendered tree of these is made of, blobs of an image of the index, and the extracted layers of an image of `extracted`.
   * Call it inside `exclusively`, after `remove`.
   */
  detachLayers(trees: Iterable<string>, extracted: (key: string) => boolean): (() => void)[];
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

  detachLayers(trees, extracted) {
    const images = allLayers(index);
    const blobs = new Set(images.map(({ layer }) => layer.digest));
    const used = new Set([...trees].flatMap((id) => readTreeManifest(layout, id)?.layers ?? []));
    for (const [key, layers] of Map.groupBy(images, (one) => one.key))
      if (extracted(key)) for (const ids of layerIds(layers.map(({ layer }) => layer))) for (const id of [ids.alone, ids.chained]) used.add(id);
    for (const digest of listLayerBlobs(layout)) if (!blobs.has(digest)) rmSync(layout.layerBlob(digest), { force: true });
    return listLayers(layout)
      .filter((id) => !used.has(id))
      .map((id) => setAside(layout, "layer", layout.layerTree(id)));
  },

  adopt() {
    lock.share();
    return adoptBlobs(layout, index);
  },
});

/** An image whose layers are not all there is not one that can be run. */
const hasLayers = (layout: DataLayout, { oci }: ImportedBlob): boolean =>
  (oci?.layers ?? []).every(
    ({ digest, size }) => statSync(layout.layerBlob(digest), { throwIfNoEntry: false })?.size === size,
  );

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
        if (blob.key === key && hasLayers(layout, blob)) index.transaction(() => insertImage(index, blob, "none"));
        else refused.push(key);
      } catch (error) {
        if (!(error instanceof RktError)) throw error;
        refused.push(key);
      }
    }
  return refused;
}
