/**
 * Checks the images of the store. A damaged tree that no container stands on is
 * made again, of blobs that are sound; what was never damaged is not written.
 */

import { existsSync } from "node:fs";
import { errorText, RktError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import type { ImageLookup } from "../store/image-lookup.ts";
import type { Removal } from "../store/removal.ts";
import type { Rendering } from "../store/rendering.ts";
import type { StoredImage } from "../store/store.ts";
import { damagedTrees, type TreeDamage, type VerifiedLayers, verifyBlob } from "../store/verify-images.ts";
import { type TreeUse, treeUses } from "./tree-uses.ts";

export interface Damage {
  what: string;
  /** Undefined: the image's blob is damaged. */
  tree?: string;
  /** It has been put right. */
  remade: boolean;
  /** Containers that stand on the tree, so that it was left. */
  containers: Pick<TreeUse, "uuid" | "phase">[];
}

export interface VerifyOptions {
  data: string;
  store: Rendering & Removal & ImageLookup;
  /** What was found so far of layers that several images have. */
  layers: VerifiedLayers;
  /** Called if another process has to finish first. */
  wait(): void;
}

/** Undefined for an image that has been removed meanwhile. */
export async function verifyImage(image: StoredImage, options: VerifyOptions): Promise<Damage[] | undefined> {
  const { data, store, layers } = options;
  // To put a tree right ends what keeps others from removing images.
  store.share();
  if (!store.list().some(({ key }) => key === image.key)) return undefined;
  const blob = await verifyBlob(data, image, layers);
  if (blob !== undefined) return [{ what: blob, remade: false, containers: [] }];
  const damages: Damage[] = [];
  for await (const damage of damagedTrees(data, image, store, layers)) {
    const found = remake(damage, options);
    if (found !== undefined) damages.push(found);
    store.share();
  }
  return damages;
}

/** Undefined for a tree that has been removed meanwhile. */
function remake({ tree, what, fresh }: TreeDamage, { data, store, wait }: VerifyOptions): Damage | undefined {
  const left: Damage = { what, tree, remade: false, containers: [] };
  if (fresh === undefined) return left;
  let remove: (() => void) | undefined;
  const damage = store.exclusively(wait, () => {
    if (!existsSync(dataLayout(data).treeManifest(tree))) return undefined;
    try {
      const containers = users(data, tree);
      if (containers.length > 0) return { ...left, containers };
    } catch (error) {
      // Of one container it can't be told.
      if (!(error instanceof RktError)) throw error;
      return { ...left, what: `${what}; it was left, for rkt ${errorText(error)}` };
    }
    remove = fresh.replace();
    return { ...left, remade: true };
  });
  remove?.();
  return damage;
}

/** Each container once, whatever number of its apps stand on the tree. */
function users(data: string, tree: string): Damage["containers"] {
  const uses = treeUses(data).filter((use) => use.tree === tree);
  return [...new Map(uses.map(({ uuid, phase }) => [uuid, { uuid, phase }])).values()];
}
