/**
 * Rendered images: `cas/tree/<id>/` with `rootfs/`, and `manifest`, a JSON file
 * that names the images that the tree was made of, lowest first. Trees are the
 * lower layers of overlay mounts: a tree is complete or not there, and it is
 * never written again. Images are extracted in the order of `layers.ts`; a
 * file replaces the one of an earlier image.
 */

import { createHash } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { type DataLayout, TREE_FORMAT } from "../../shared/contract/data-directory.ts";
import { KEY_DIGITS, shortId } from "../../shared/contract/image-ids.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { flock, LOCK_EX } from "../../shared/syscall/descriptor.ts";
import { syncfs } from "../../shared/syscall/file.ts";
import { Extractor } from "../archive/extract.ts";
import type { TarEntry } from "../archive/tar-entry.ts";
import { TarReader } from "../archive/tar-reader.ts";
import { removeTree } from "../host/remove-tree.ts";
import { DAMAGED, openBlob } from "./blob.ts";
import { type Layer, type LayerOrder, layersOf, type TreeSource } from "./layers.ts";
import type { LayerRef } from "./oci-content.ts";
import { setAside, type Temporary, temporaryDirectory } from "./temporary.ts";
import { readTreeManifest, type TreeManifest } from "./tree-directories.ts";

export interface Tree {
  id: string;
  rootfs: HostPath;
}

export async function renderTree(layout: DataLayout, key: string, source: TreeSource): Promise<Tree> {
  const order = layersOf(key, source);
  const id = treeId(order, source.checksBlobs);
  const tree: Tree = { id, rootfs: layout.treeRootfs(id) };
  // The marker is renamed into place together with the tree.
  if (existsSync(layout.treeManifest(id))) return tree;
  const images = order.layers.map((layer) => layer.key);
  await once(
    layout,
    id,
    async (temporary) => {
      await extractOrder(layout, order, source, `${temporary}/rootfs`);
      return undefined;
    },
    images,
  );
  return tree;
}

/** Makes a tree that is not there: `fill` writes its `rootfs`, or answers the layers that it is a stack of. */
async function once(
  layout: DataLayout,
  id: string,
  fill: (temporary: string) => Promise<readonly string[] | undefined>,
  images: readonly string[],
): Promise<void> {
  const lock = openSync(`${layout.locks}/${id}`, "w", 0o600);
  try {
    // A second process waits here, and then finds the tree.
    flock(lock, LOCK_EX);
    if (!existsSync(layout.treeManifest(id))) await make(layout, id, fill, images);
  } finally {
    closeSync(lock);
  }
}

async function make(
  layout: DataLayout,
  id: string,
  fill: (temporary: string) => Promise<readonly string[] | undefined>,
  images: readonly string[],
): Promise<void> {
  const fresh = await renderAside(layout, fill, images);
  try {
    // Otherwise a power cut could leave a tree that is half empty and looks complete for ever.
    syncfs(fresh.fd);
    // A tree without its marker is the rest of a removal that was cut short.
    removeTree(layout.tree(id));
    renameSync(fresh.path, layout.tree(id));
    fresh.keep();
  } catch (error) {
    fresh.remove();
    throw error;
  }
}

/** Renders into a temporary directory, which then has all that a tree has. */
async function renderAside(
  layout: DataLayout,
  fill: (temporary: string) => Promise<readonly string[] | undefined>,
  images: readonly string[],
): Promise<Temporary> {
  const temporary = temporaryDirectory(layout, "tree");
  try {
    const layers = await fill(temporary.path);
    const manifest: TreeManifest = { format: TREE_FORMAT, images: [...images], layers: layers && [...layers] };
    writeFileSync(`${temporary.path}/manifest`, `${JSON.stringify(manifest)}\n`);
    return temporary;
  } catch (error) {
    temporary.remove();
    throw error;
  }
}

/** A tree as it is rendered now, beside the one that is there. */
export interface FreshTree {
  rootfs: string;
  /** Whether the one that is there has this order of images. Else that one is of an older rkt. */
  same: boolean;
  /**
   * Puts it in the place of the one that is there; the given function deletes that. Call it under the exclusive lock of
   * the store, when no container stands on the tree. If rkt is killed in between, no tree is left, and the next start
   * renders it.
   */
  replace(): () => void;
  /** Deletes it, unless it has been put there. */
  remove(): void;
}

/** Renders a tree anew that is one directory, of its last image. */
export async function renderAgain(layout: DataLayout, id: string, key: string, source: TreeSource): Promise<FreshTree> {
  const order = layersOf(key, source);
  const images = order.layers.map((layer) => layer.key);
  const fresh = await renderAside(
    layout,
    async (temporary) => {
      await extractOrder(layout, order, source, `${temporary}/rootfs`);
      return undefined;
    },
    images,
  );
  return {
    rootfs: `${fresh.path}/rootfs`,
    same: [treeId(order, true), treeId(order, false), layersTreeId(key, true)].includes(id),
    replace() {
      syncfs(fresh.fd);
      const remove = detachTree(layout, id);
      renameSync(fresh.path, layout.tree(id));
      fresh.keep();
      return remove;
    },
    remove: () => fresh.remove(),
  };
}

/** A repeated layer is extracted each time only if some image hard-links to a file of another image (layers.ts). */
export async function extractOrder(
  layout: DataLayout,
  order: LayerOrder,
  source: BlobSource,
  rootfs: string,
): Promise<void> {
  const from = { layout, source };
  if (!order.shortened) {
    await extractLayers(from, order.layers, rootfs);
    return;
  }
  const links = { below: false };
  try {
    await extractLayers(from, order.layers, rootfs, links);
  } catch (error) {
    if (!links.below) throw error;
  }
  if (!links.below) return;
  removeTree(rootfs);
  await extractLayers(from, order.all(), rootfs);
}

/** Where blobs are, and which of them are hashed while they are read. */
interface Blobs {
  layout: DataLayout;
  source: BlobSource;
}

/** Which blobs are hashed while they are read, and which are of OCI images. */
type BlobSource = Pick<TreeSource, "mustCheck" | "oci">;

/** `links.below` becomes true when an image has a hard link to a file of another image. */
async function extractLayers(
  blobs: Blobs,
  layers: readonly Layer[],
  rootfs: string,
  links?: { below: boolean },
): Promise<void> {
  mkdirSync(rootfs, { mode: 0o755 });
  let extractor: Extractor | undefined;
  /** An OCI image's layers are extracted by others: what was held back for the end is done before them. */
  const finish = () => {
    try {
      extractor?.finish();
    } finally {
      extractor?.close();
      extractor = undefined;
    }
  };
  try {
    for (const layer of layers) {
      const oci = blobs.source.oci(layer.key);
      if (oci !== undefined) {
        finish();
        await extractOci(blobs, layer, oci.layers, rootfs);
        continue;
      }
      extractor ??= new Extractor(rootfs, { links });
      extractor.nextImage();
      await extractAci(blobs, layer, extractor);
    }
    finish();
  } catch (error) {
    throw renderError(layers, error);
  } finally {
    extractor?.close();
  }
}

/** Renders an image at `rootfs`, which must not exist. */
export async function renderAt(layout: DataLayout, key: string, source: TreeSource, rootfs: string): Promise<void> {
  await extractOrder(layout, layersOf(key, source), source, rootfs);
}

/** Extracts what the image itself has to `rootfs`: without its dependencies, and without regard to its whitelist. */
export async function extractAt(layout: DataLayout, key: string, source: BlobSource, rootfs: string): Promise<void> {
  await extractLayers({ layout, source }, [{ key, whitelists: [] }], rootfs);
}

function renderError(layers: readonly Layer[], error: unknown): RktError {
  // Its message names the image.
  if (error instanceof RktError && error.code === DAMAGED) return error;
  const image = shortId(layers.at(-1)?.key ?? "");
  return new RktError("extract-failed", `cannot extract image ${image}: ${errorText(error)}`, {
    hint: error instanceof RktError ? error.hint : undefined,
    cause: error,
  });
}

/** Whether the whitelists of an image and of those that depend on it leave an entry. */
const admittedBy =
  ({ whitelists }: Layer) =>
  ({ type }: TarEntry, path: string): boolean =>
    path === "" || whitelists.every((list) => list.has(path) || (type === "directory" && hasBelow(list, path)));

async function extractOci({ layout }: Blobs, layer: Layer, layers: readonly LayerRef[], rootfs: string): Promise<void> {
  const { storedBudget } = await import("./layer-reader.ts");
  const { extractMerged } = await import("./layer-trees.ts");
  await extractMerged(layout, layers, rootfs, storedBudget(layers), admittedBy(layer));
}

async function extractAci({ layout, source }: Blobs, layer: Layer, extractor: Extractor): Promise<void> {
  const admits = admittedBy(layer);
  const reader = new TarReader((entry) => {
    if (entry.path !== "rootfs" && !entry.path.startsWith("rootfs/")) return undefined;
    const path = entry.path.slice("rootfs/".length);
    return admits(entry, path) ? extractor.entry(entry, path) : undefined;
  });
  const blob = await openBlob(layout, layer.key, source.mustCheck(layer.key));
  try {
    for await (const chunk of blob.chunks()) reader.write(chunk);
    reader.end();
    await blob.verify();
  } catch (error) {
    // What looks like a fault of the archive may be a damage of the blob.
    if (error instanceof RktError) await blob.verify();
    throw error;
  } finally {
    await blob.close();
  }
}

const hasBelow = (list: ReadonlySet<string>, path: string): boolean => list.has(`${path}/`);

/**
 * The ID follows from the images in their order. Their keys imply their
 * whitelists, but not in an order that was shortened: then these are hashed
 * too. The tree of an image without dependencies has that image's own hash. A
 * tree of blobs that were not checked has another ID, so that only those who do
 * without the check use it.
 */
function treeId({ layers, shortened, text }: LayerOrder, checked: boolean): string {
  const keys = layers.map((layer) => layer.key.replace(/^sha512-/, ""));
  const said = shortened ? `last times\n${text}` : keys.join("\n");
  const name = keys.length === 1 ? (keys[0] ?? "") : createHash("sha512").update(said).digest("hex");
  return `tree-${TREE_FORMAT}-${name.slice(0, KEY_DIGITS)}${checked ? "" : "-unchecked"}`;
}

/**
 * The tree of an OCI image: a stack of its extracted layers; or, if that is asked for or they are too many, one directory
 * with all of them.
 */
export async function renderLayers(
  layout: DataLayout,
  key: string,
  layers: readonly LayerRef[],
  { merged, maxImageSize }: { merged: boolean; maxImageSize: number | undefined },
): Promise<Tree> {
  const { importLimits } = await import("./blob-import.ts");
  const { storedBudget } = await import("./layer-reader.ts");
  const { ensureLayerTrees, extractMerged, MAX_STACK, visibleLayers } = await import("./layer-trees.ts");
  const whole = merged || layers.length > MAX_STACK || layers.length === 0;
  const id = layersTreeId(key, whole);
  const tree: Tree = { id, rootfs: layout.treeRootfs(id) };
  if (existsSync(layout.treeManifest(id))) return tree;
  await once(
    layout,
    id,
    async (temporary) => {
      const budget = storedBudget(layers, importLimits(maxImageSize));
      if (!whole) return visibleLayers(layout, await ensureLayerTrees(layout, layers, budget));
      mkdirSync(`${temporary}/rootfs`, { mode: 0o755 });
      await extractMerged(layout, layers, `${temporary}/rootfs`, budget);
      return undefined;
    },
    [key],
  );
  return tree;
}

const layersTreeId = (key: string, merged: boolean): string =>
  `tree-${TREE_FORMAT}-${key.replace(/^sha512-/, "")}${merged ? "-merged" : ""}`;

/** The IDs of all rendered trees. */
export function listTrees(layout: DataLayout): string[] {
  try {
    return readdirSync(layout.trees);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** Keys of the images that a tree was made of, lowest first; undefined if `id` is no tree. */
export function treeImages(layout: DataLayout, id: string): string[] | undefined {
  return readTreeManifest(layout, id)?.images;
}

/**
 * Moves a tree out of the store by one rename; the given function deletes its files. Call it under the exclusive lock of
 * the store, so that nobody is rendering.
 */
export function detachTree(layout: DataLayout, id: string): () => void {
  rmSync(`${layout.locks}/${id}`, { force: true });
  return setAside(layout, "tree", layout.tree(id));
}
