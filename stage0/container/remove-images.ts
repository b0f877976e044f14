/**
 * Removes images and trees from the store: named ones, or those that were not used for a while. Under the store's
 * exclusive lock, blobs are unlinked and trees only renamed; the trees' files are deleted after that.
 */

import { errorText, RktError } from "../../shared/errors.ts";
import { type DataLayout, dataLayout } from "../../shared/contract/data-directory.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import { type TreeUse, treeUses } from "./tree-uses.ts";
import type { ImageLookup } from "../store/image-lookup.ts";
import type { ManifestReader } from "../store/manifest-reader.ts";
import type { Removal } from "../store/removal.ts";
import type { StoredImage } from "../store/store.ts";
import { collectTemporaries } from "../store/temporary.ts";
import { detachTree, listTrees, treeImages } from "../store/trees.ts";

/** The part of the store that a removal uses. */
type RemovalStore = Removal & ImageLookup & Pick<ManifestReader, "manifest">;

export interface RemovalOptions {
  data: string;
  store: RemovalStore;
  /** Called if another process has to finish first. */
  wait(): void;
}

/** Removes all of these images or none, and their trees that no container uses. */
export function removeImages(images: readonly StoredImage[], { data, store, wait }: RemovalOptions): void {
  const layout = dataLayout(data);
  const layered = images.some(({ digest }) => digest !== undefined);
  // Layers of an image that the index does not know of yet are not taken for nobody's.
  if (layered) store.adopt();
  const leftovers = store.exclusively(wait, () => {
    const uses = treeUses(data);
    for (const image of images) refuseUsed(image, uses);
    const used = new Set(uses.map(({ tree }) => tree));
    const unused = new Set(images.map(({ key }) => key));
    const trees = listTrees(layout).filter((id) => !used.has(id) && unused.has(treeImages(layout, id)?.at(-1) ?? ""));
    for (const { key } of images) store.remove(key);
    const removals = trees.map((id) => detachTree(layout, id));
    return layered ? [...removals, ...store.detachLayers(listTrees(layout), () => true)] : removals;
  });
  for (const remove of leftovers) remove();
}

/** The phases of a container that runs, or is going to run. */
const LIVING: readonly string[] = ["preparing", "prepared", "running"];

function refuseUsed(image: StoredImage, uses: readonly TreeUse[]): void {
  const users = uses.filter((use) => use.image === image.id && LIVING.includes(use.phase));
  const [first] = users;
  if (first === undefined) return;
  const others = new Set(users.map(({ uuid }) => uuid)).size - 1;
  const as = first.app === undefined ? "its stage1" : `app ${first.app}`;
  throw new RktError(
    "image-in-use",
    `image ${shortId(image.id)} (${image.name}) is in use by container ${first.uuid}, ${first.phase}, as ${as}${others > 0 ? `, and by ${others} more` : ""}`,
    { hint: first.phase === "running" ? `stop it first: rkt stop ${first.uuid}` : `rkt rm ${first.uuid}` },
  );
}

export interface Collection {
  images: StoredImage[];
  trees: string[];
  /** How many temporary files and directories of killed processes were removed. */
  temporaries: number;
}

/**
 * Removes images that were not used since `before` (milliseconds since the epoch), except those that containers use,
 * and those that a remaining image depends on. Removes trees that no container uses and whose image was not used since
 * `before`.
 */
export function collectImages(before: number, { data, store, wait }: RemovalOptions): Collection {
  const layout = dataLayout(data);
  const temporaries = collectTemporaries(layout);
  store.adopt();
  const { images, trees, leftovers } = store.exclusively(wait, () => {
    const uses = treeUses(data);
    const all = store.list();
    const recent = new Set(all.filter((image) => image.lastUsedAt >= before).map(({ key }) => key));
    const kept = withDependencies(all, new Set([...recent, ...containerImages(uses, all, layout)]), store);
    const gone = all.filter(({ key }) => !kept.has(key));
    const usedTrees = new Set(uses.map(({ tree }) => tree));
    const stale = listTrees(layout).filter(
      (id) => !usedTrees.has(id) && !recent.has(treeImages(layout, id)?.at(-1) ?? ""),
    );
    for (const { key } of gone) store.remove(key);
    const removals = stale.map((id) => detachTree(layout, id));
    const layers = store.detachLayers(listTrees(layout), (key) => recent.has(key));
    return { images: gone, trees: stale, leftovers: [...removals, ...layers] };
  });
  for (const remove of leftovers) remove();
  return { images, trees, temporaries };
}

/** Keys of all images that containers' trees were made of. */
function containerImages(uses: readonly TreeUse[], all: readonly StoredImage[], layout: DataLayout): string[] {
  const ids = new Set(uses.map(({ image }) => image));
  const own = all.filter(({ id }) => ids.has(id)).map(({ key }) => key);
  return [...own, ...uses.flatMap(({ tree }) => (tree === undefined ? [] : (treeImages(layout, tree) ?? [])))];
}

function withDependencies(all: readonly StoredImage[], keys: ReadonlySet<string>, store: RemovalStore): Set<string> {
  const there = new Set(all.map(({ key }) => key));
  const kept = new Set<string>();
  const visit = (key: string): void => {
    if (kept.has(key) || !there.has(key)) return;
    kept.add(key);
    const manifest = store.manifest(key);
    for (const dependency of manifest.dependencies) {
      try {
        // "none", because a container may have been started with --insecure-options=image.
        visit(store.dependency(manifest, dependency, "none").key);
      } catch (error) {
        // A dependency that is not in the store need not be kept.
        if (!(error instanceof RktError) || error.code !== "no-such-image")
          throw new Error(`dependencies of ${key}: ${errorText(error)}`, { cause: error });
      }
    }
  };
  for (const key of keys) visit(key);
  return kept;
}
