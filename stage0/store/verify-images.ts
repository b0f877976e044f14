/**
 * Checks that the store still has what was imported: compares blobs with their
 * names, and rendered trees with what their blobs give now. Reads everything,
 * changes nothing but what its caller has put in the place of a damaged tree.
 */

import { closeSync, fstatSync, lstatSync, openSync, readSync } from "node:fs";
import { readTree, type Entry as TreeEntry, type Tree } from "../../shared/aci/tree.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { type DataLayout, dataLayout } from "../../shared/contract/data-directory.ts";
import { nextData } from "../../shared/syscall/file.ts";
import { shownPath } from "../archive/entry-path.ts";
import { inspectBlob } from "./blob-import.ts";
import type { ImageLookup } from "./image-lookup.ts";
import type { StoredImage } from "./index-images.ts";
import { freshLayer, layerDamage } from "./layer-trees.ts";
import { layerIds, type LayerRef } from "./oci-content.ts";
import type { TreeSource } from "./layers.ts";
import type { Rendering } from "./rendering.ts";
import { readTreeManifest } from "./tree-directories.ts";
import { type FreshTree, listTrees, renderAgain, treeImages } from "./trees.ts";

/** What was found of layers that several images have. */
export interface VerifiedLayers {
  /** What is wrong with a blob, by its digest. */
  blobs: Map<string, string | undefined>;
  /** The same of an extracted layer, by its name. */
  trees: Map<string, string | undefined>;
}

/** What is wrong with an image's blob, and with those of its layers; undefined when nothing is. */
export async function verifyBlob(
  data: string,
  image: StoredImage,
  { blobs }: VerifiedLayers,
): Promise<string | undefined> {
  const layout = dataLayout(data);
  try {
    const blob = inspectBlob(layout.blob(image.key));
    if (blob.id !== image.id) return `its blob has the hash ${blob.id}`;
    for (const layer of blob.oci?.layers ?? []) {
      if (!blobs.has(layer.digest)) blobs.set(layer.digest, (await layerDamage(layout, layer))?.message);
      const damage = blobs.get(layer.digest);
      if (damage !== undefined) return damage;
    }
    return undefined;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "its blob is not there";
    if (error instanceof RktError) return `its blob is damaged: ${error.message}`;
    throw error;
  }
}

/** A tree that is not what it should be. */
export interface TreeDamage {
  tree: string;
  what: string;
  /** What it should be, which may take its place; until the next damage is asked for. */
  fresh: FreshTree | undefined;
}

/** What is wrong with the trees that were rendered of an image. */
export async function* damagedTrees(
  data: string,
  image: StoredImage,
  store: VerifiedStore,
  { trees }: VerifiedLayers,
): AsyncGenerator<TreeDamage> {
  const layout = dataLayout(data);
  for (const tree of listTrees(layout)) {
    const images = treeImages(layout, tree);
    if (images?.at(-1) !== image.key) continue;
    const content = store.treeSource("none").oci(image.key);
    const stack = readTreeManifest(layout, tree)?.layers;
    if (content !== undefined && stack !== undefined) {
      for (const what of await verifyStack(layout, content.layers, stack, trees))
        yield { tree, what: `its tree ${tree}: ${what}`, fresh: undefined };
      continue;
    }
    let fresh: FreshTree | undefined;
    try {
      fresh = await renderAgain(layout, tree, image.key, sourceOf(images, store));
      const difference = await firstDifference(fresh.rootfs, layout.treeRootfs(tree));
      if (difference !== undefined)
        yield { tree, what: `its tree ${tree} was changed: ${difference}`, fresh: fresh.same ? fresh : undefined };
    } catch (error) {
      if (!(error instanceof RktError)) throw error;
      yield { tree, what: `its tree ${tree} cannot be checked: ${error.message}`, fresh: undefined };
    } finally {
      fresh?.remove();
    }
  }
}

type VerifiedStore = Rendering & Pick<ImageLookup, "candidates">;

/** Dependencies are those that the tree was made of, whatever has been fetched since. */
function sourceOf(images: readonly string[], store: VerifiedStore): TreeSource {
  const source = store.treeSource("none");
  return {
    ...source,
    dependency(of, dependency) {
      const { imageName: name, labels, imageID: id } = dependency;
      const then = store.candidates({ asked: { name, labels }, id }).find(({ key }) => images.includes(key));
      return then?.key ?? source.dependency(of, dependency);
    },
  };
}

/** What is wrong with the extracted layers of a tree. */
async function verifyStack(
  layout: DataLayout,
  layers: readonly LayerRef[],
  stack: readonly string[],
  known: Map<string, string | undefined>,
): Promise<string[]> {
  const ids = layerIds(layers);
  for (const name of stack) {
    if (known.has(name)) continue;
    const at = ids.findIndex(({ alone, chained }) => name === alone || name === chained);
    known.set(name, at < 0 ? "it is of another image" : await verifyLayer(layout, layers.slice(0, at + 1), name));
  }
  return stack.flatMap((name) => {
    const damage = known.get(name);
    return damage === undefined ? [] : [`layer ${name.slice(0, 20)} ${damage}`];
  });
}

async function verifyLayer(layout: DataLayout, upTo: readonly LayerRef[], name: string): Promise<string | undefined> {
  try {
    const fresh = await freshLayer(layout, upTo);
    try {
      const difference = await firstDifference(`${fresh.path}/rootfs`, layout.layerRootfs(name));
      return difference === undefined ? undefined : `was changed: ${difference}`;
    } finally {
      fresh.remove();
    }
  } catch (error) {
    if (!(error instanceof RktError)) throw error;
    return `cannot be checked: ${error.message}`;
  }
}

async function firstDifference(wanted: string, actual: string): Promise<string | undefined> {
  const want = readTree(wanted, { opaque: true, bytes: true });
  let have: Tree;
  try {
    have = readTree(actual, { opaque: true, bytes: true });
  } catch (error) {
    return errorText(error);
  }
  for (const [path, entry] of want) {
    const other = have.get(path);
    if (other === undefined) return `/${shownPath(path)} is missing`;
    const what =
      attributeDifference(entry, other) ??
      (entry.type === "file" && other.type === "file"
        ? await contentDifference(bytesOf(wanted, path), bytesOf(actual, path))
        : undefined);
    if (what !== undefined) return `/${shownPath(path)} has ${what}`;
  }
  for (const path of have.keys()) if (!want.has(path)) return `/${shownPath(path)} is not of the image`;
  // Times come last, because any other change has changed the time of a directory too.
  for (const [path, entry] of want)
    if (!isWhiteout(entry) && mtime(wanted, path) !== mtime(actual, path)) return `/${shownPath(path)} has another time`;
  return undefined;
}

/** Those that the kernel made are as old as they are. */
const isWhiteout = (entry: TreeEntry): boolean => entry.type === "character" && entry.major === 0 && entry.minor === 0;

/** A tree's paths have a byte for each character. */
const bytesOf = (root: string, path: string): Buffer =>
  Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, "latin1")]);

const mtime = (root: string, path: string): bigint => lstatSync(bytesOf(root, path), { bigint: true }).mtimeNs;

function attributeDifference(want: TreeEntry, have: TreeEntry): string | undefined {
  const { type, mode, uid, gid, xattrs } = want;
  if (have.type !== type) return "another type";
  if (have.mode !== mode) return "another mode";
  if (have.uid !== uid || have.gid !== gid) return "another owner";
  const names = new Set([...(xattrs?.keys() ?? []), ...(have.xattrs?.keys() ?? [])]);
  for (const name of names) {
    const [a, b] = [xattrs?.get(name), have.xattrs?.get(name)];
    if (a === undefined || b === undefined || !a.equals(b)) return `another attribute ${name}`;
  }
  if ("target" in want && "target" in have && have.target !== want.target) return "another target";
  if ("major" in want && "major" in have && (have.major !== want.major || have.minor !== want.minor))
    return "another device number";
  return undefined;
}

async function contentDifference(...paths: [Buffer, Buffer]): Promise<string | undefined> {
  const files: number[] = [];
  try {
    for (const path of paths) files.push(openSync(path, "r"));
    const [one, other] = files as [number, number];
    if (fstatSync(one).size !== fstatSync(other).size) return "another size";
    return (await sameBytes(one, other)) ? undefined : "another content";
  } finally {
    for (const file of files) closeSync(file);
  }
}

/** Holes of both files are passed over: an image of some hundred bytes may have terabytes of them. */
async function sameBytes(one: number, other: number): Promise<boolean> {
  const [a, b] = [Buffer.allocUnsafe(CHUNK), Buffer.allocUnsafe(CHUNK)];
  for (let at = 0; ; ) {
    const begins = [nextData(one, at), nextData(other, at)].filter((offset) => offset !== undefined);
    if (begins.length === 0) return true;
    at = Math.min(...begins);
    const [m, n] = [readSync(one, a, 0, CHUNK, at), readSync(other, b, 0, CHUNK, at)];
    if (m !== n || !a.subarray(0, m).equals(b.subarray(0, n))) return false;
    if (m === 0) return true;
    at += m;
    // A signal is seen between two chunks.
    await new Promise(setImmediate);
  }
}

const CHUNK = 1 << 20;
