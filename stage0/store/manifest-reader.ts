/** What the store knows of an image by its key: its manifest, and its ID of the early kind. */

import { closeSync, openSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { parseImageManifest } from "../../shared/schema/image-manifest.ts";
import type { ImageManifest } from "../../shared/schema/types.ts";
import { sha256Of } from "./blob-import.ts";
import { manifestTextByKey } from "./index-images.ts";
import { findSha256, saveSha256 } from "./index-sha256.ts";
import type { StoreState } from "./store-state.ts";

export interface ManifestReader {
  manifest(key: string): ImageManifest;
  /** As the image has it, to the byte. */
  manifestText(key: string): string;
  /** `sha256-` and 64 hex digits: the ID that the image had before version 0.2.0 of the spec. It is computed once. */
  sha256(key: string): string;
}

export function manifestReader({ layout, lock, index, held, manifests }: StoreState): ManifestReader {
  const manifestText = (key: string): string => {
    const text = manifestTextByKey(index, key);
    if (text === undefined) throw new RktError("no-such-image", `no image ${shortId(key)} in the store`);
    return text;
  };
  return {
    manifestText,

    manifest(key) {
      const known = manifests.get(key);
      if (known !== undefined) return known;
      const manifest = parseImageManifest(manifestText(key));
      manifests.set(key, manifest);
      return manifest;
    },

    sha256(key) {
      const waiting = held.sha256(key);
      if (waiting !== undefined) return `sha256-${waiting}`;
      lock.share();
      const known = findSha256(index, key);
      if (known !== undefined) return known;
      const hash = `sha256-${hashFile(layout.blob(key))}`;
      saveSha256(index, key, hash);
      return hash;
    },
  };
}

function hashFile(path: string): string {
  const fd = openSync(path, "r");
  try {
    return sha256Of(fd);
  } finally {
    closeSync(fd);
  }
}
