/** Rendered trees of the store's images, and which of their blobs can be relied on. */

import type { RktError } from "../../shared/errors.ts";
import type { ImageLookup } from "./image-lookup.ts";
import { ociContent, recordUse } from "./index-images.ts";
import { layersOf, type TreeSource } from "./layers.ts";
import type { ManifestReader } from "./manifest-reader.ts";
import type { Provenance } from "./provenance.ts";
import type { OciContent } from "./oci-content.ts";
import type { StoreState } from "./store-state.ts";
import type { Tree } from "./trees.ts";

export interface Rendering {
  /**
   * Renders an image once, with dependencies of at least this provenance ("given"). The tree stays. The image is used
   * now. `merged`: the tree is one directory, also of an OCI image.
   */
  render(key: string, least?: Provenance, options?: { merged?: boolean }): Promise<Tree>;
  /** What rendering needs to know of images. */
  treeSource(least: Provenance): TreeSource;
  /** Keys of an image and of all that it depends on. */
  closure(key: string): string[];
  /** Hashes blobs, and gives what is wrong with them. From now on this process takes damaged images for absent. */
  ignoreDamaged(keys: Iterable<string>): Promise<RktError[]>;
}

export interface RenderingOptions {
  /** false: blobs are rendered as they are, damaged ones too. */
  checkBlobs: boolean;
  /** Of an OCI image, which may take more than its layers unpack to. */
  maxImageSize: number | undefined;
}

export function rendering(
  { layout, lock, index, held, written, damaged, checkedLayers }: StoreState,
  { manifest, dependency }: ManifestReader & ImageLookup,
  { checkBlobs, maxImageSize }: RenderingOptions,
): Rendering {
  const treeSource = (least: Provenance): TreeSource => ({
    manifest,
    dependency: (of, wanted) => dependency(of, wanted, least).key,
    mustCheck: (key) => checkBlobs && !written.has(key),
    oci: (key) => ociContent(index, key),
    checksBlobs: checkBlobs,
  });
  const layersDamage = async (content: OciContent | undefined): Promise<RktError | undefined> => {
    const layers = (content?.layers ?? []).filter(({ digest }) => !checkedLayers.has(digest));
    if (layers.length === 0) return undefined;
    const { layerDamage } = await import("./layer-trees.ts");
    for (const layer of layers) {
      const damage = await layerDamage(layout, layer);
      if (damage !== undefined) return damage;
      checkedLayers.add(layer.digest);
    }
    return undefined;
  };

  return {
    treeSource,

    async render(key, least = "given", { merged = false } = {}) {
      lock.share();
      recordUse(index, key);
      const { renderLayers, renderTree } = await import("./trees.ts");
      const oci = ociContent(index, key);
      if (oci !== undefined) return await renderLayers(layout, key, oci.layers, { merged, maxImageSize });
      return await renderTree(layout, key, treeSource(least));
    },

    closure: (key) => layersOf(key, treeSource("none")).layers.map((layer) => layer.key),

    async ignoreDamaged(keys) {
      const { blobDamage } = await import("./blob.ts");
      const damages: RktError[] = [];
      for (const key of keys) {
        if (!checkBlobs || written.has(key) || held.has(key)) continue;
        const damage = (await blobDamage(layout, key)) ?? (await layersDamage(ociContent(index, key)));
        if (damage === undefined) continue;
        damaged.add(key);
        damages.push(damage);
      }
      return damages;
    },
  };
}
