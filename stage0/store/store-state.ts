/** What the parts of an open store share. */

import type { DataLayout } from "../../shared/contract/data-directory.ts";
import type { ImageManifest } from "../../shared/schema/types.ts";
import type { HeldImports } from "./held-imports.ts";
import type { IndexDb } from "./index-db.ts";
import type { StoreLock } from "./store-lock.ts";

export interface StoreState {
  readonly layout: DataLayout;
  readonly lock: StoreLock;
  readonly index: IndexDb;
  readonly held: HeldImports;
  /** The manifests that this process has parsed, by the keys of their images. */
  readonly manifests: Map<string, ImageManifest>;
  /** Keys of blobs that this process has written, and hashed while it did: they need not be hashed again. */
  readonly written: Set<string>;
  /** Digests of layers that this process has hashed and found whole. */
  readonly checkedLayers: Set<string>;
  /** Keys of images whose blobs this process has found damaged: it takes them for absent until they are imported again. */
  readonly damaged: Set<string>;
}
