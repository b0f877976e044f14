/** Which layers of OCI images the store has on disk. */

import { readdirSync } from "node:fs";
import { errorCode } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";

/** The names of all extracted layers. */
export const listLayers = (layout: DataLayout): string[] => namesIn(layout.layerTrees);

/** The digests of all layers' blobs. */
export const listLayerBlobs = (layout: DataLayout): string[] =>
  namesIn(layout.layerBlobs).flatMap((group) =>
    namesIn(`${layout.layerBlobs}/${group}`).map((name) => name.replace("-", ":")),
  );

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}
