/**
 * The content-addressed store, put together from its parts. Blob files are the
 * truth; the index and the rendered trees can be made again from them.
 *
 * An open store is of one process. It takes no lock and opens no index before
 * it is asked for something.
 */

import { dataLayout } from "../../shared/contract/data-directory.ts";
import { makeStoreDirectories } from "../host/data-directory.ts";
import { HeldImports } from "./held-imports.ts";
import { type ImageImports, imageImports, type Remotes, remotesOf } from "./image-imports.ts";
import { type ImageLookup, imageLookup } from "./image-lookup.ts";
import { type ImageTableOptions, imageTable } from "./image-table.ts";
import { openIndex } from "./index-db.ts";
import { type ManifestReader, manifestReader } from "./manifest-reader.ts";
import type { Provenance } from "./provenance.ts";
import { adoptBlobs, type Removal, removal } from "./removal.ts";
import { type Rendering, rendering } from "./rendering.ts";
import { openStoreLock } from "./store-lock.ts";
import type { StoreState } from "./store-state.ts";

export type { PendingImport } from "./image-imports.ts";
export type { StoredImage } from "./index-images.ts";
export type { RemoteRecord } from "./index-remotes.ts";
export type { Tree } from "./trees.ts";

export interface StoreOptions {
  /**
   * What is imported is for this process alone until `release` puts it into the store (held-imports.ts); `close` deletes
   * what was not released.
   */
  hold?: boolean;
  /** Bytes that an image may unpack to, whatever the size of its file; undefined: the limits of `blob-import.ts`. */
  maxImageSize?: number | undefined;
  /** Of local files ("none"). */
  provenance?: Provenance;
  /** false: blobs are rendered and written out as they are, damaged ones too. */
  checkBlobs?: boolean;
}

/** All that a store can do; a caller asks for the part that it uses. */
export interface Store extends ImageLookup, ManifestReader, ImageImports, Remotes, Rendering, Removal {
  /** All images, but for those that are held, as a table for a person to read. */
  table(options: ImageTableOptions): string;
  close(): void;
}

export function openStore(
  dataDir: string,
  { hold = false, maxImageSize, provenance = "none", checkBlobs = true }: StoreOptions = {},
): Store {
  makeStoreDirectories(dataDir);
  const layout = dataLayout(dataDir);
  const state: StoreState = {
    layout,
    lock: openStoreLock(layout),
    index: openIndex(layout, (index) => void adoptBlobs(layout, index)),
    held: new HeldImports(),
    manifests: new Map(),
    written: new Set(),
    checkedLayers: new Set(),
    damaged: new Set(),
  };
  const manifests = manifestReader(state);
  const lookup = imageLookup(state, manifests.sha256);
  const remotes = remotesOf(state);
  return {
    ...manifests,
    ...lookup,
    ...remotes,
    ...imageImports(state, remotes, { hold, maxImageSize, provenance }),
    ...rendering(state, { ...manifests, ...lookup }, { checkBlobs, maxImageSize }),
    ...removal(state),
    table: (options) => imageTable(state.index, options),
    close() {
      state.held.abandon();
      state.lock.close();
      state.index.close();
    },
  };
}
