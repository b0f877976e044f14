/**
 * Extracted layers: `cas/layer/tree/<id>/` with `rootfs/`, a lower directory of
 * overlay mounts, and `manifest`, which is renamed into place together with it.
 * A layer is complete or not there, and never written again. Its name says
 * whether it depends on the layers below (`layerIds`).
 */

import { closeSync, existsSync, mkdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { type DataLayout, LAYER_FORMAT } from "../../shared/contract/data-directory.ts";
import { syncfs } from "../../shared/syscall/file.ts";
import { fileChunks } from "../archive/file-chunks.ts";
import { completeLayer } from "../archive/complete-layer.ts";
import { isIndependent, LayerAlone, type LayerNotes, LayersMerged, type TakeMore } from "../archive/layer.ts";
import type { TarEntry } from "../archive/tar-entry.ts";
import { whiteoutOf } from "../archive/whiteout.ts";
import { removeTree } from "../host/remove-tree.ts";
import { DAMAGED } from "./blob.ts";
import { type LayerBudget, layerReader, spend, storedBudget, type TakeEntry, type Times } from "./layer-reader.ts";
import { type LayerIds, layerIds, type LayerRef } from "./oci-content.ts";
import { overlay } from "./overlay.ts";
import { type Temporary, temporaryDirectory } from "./temporary.ts";

/** More than overlayfs takes (OVL_MAX_STACK is 500); the upper directory is one more. */
export const MAX_STACK = 400;

/** A layer that was extracted alone, in a directory of its own that nobody relies on yet. */
export interface ExtractedLayer {
  temporary: Temporary;
  notes: LayerNotes;
}

interface LayerManifest {
  format: string;
  /** Nothing of the layers below is seen through it. */
  opaque?: true;
}

// --- extraction -------------------------------------------------------------------------

/** Makes the empty directory that a layer is extracted to. Its metadata is that of a root without an entry. */
export function newLayerDirectory(layout: DataLayout): { temporary: Temporary; rootfs: string } {
  const temporary = temporaryDirectory(layout, "layer");
  const rootfs = `${temporary.path}/rootfs`;
  mkdirSync(rootfs, { mode: 0o755 });
  utimesSync(rootfs, 0, 0);
  return { temporary, rootfs };
}

/** Where layers come from, and what they may take. */
interface Extraction {
  layout: DataLayout;
  budget: LayerBudget;
  /** Where a layer's blob is. */
  blob(layer: LayerRef): string;
}

/** Gives the entries of a layer of the store to `take`. Throws "damaged-image" when the blob is not what its digest says. */
async function readStoredLayer(
  { layout, budget, blob }: Extraction,
  layer: LayerRef,
  times: Exclude<Times, "arriving">,
  take: TakeEntry,
): Promise<void> {
  // The blobs were checked when they came; what is read now is checked again.
  const reader = layerReader(layer, budget, times, take);
  try {
    for await (const chunk of fileChunks(blob(layer))) await reader.write(chunk);
    await reader.end();
  } catch (error) {
    if (errorCode(error) === "ENOENT") throw damagedLayer(layer, "it is not there");
    const damage = error instanceof RktError ? await layerDamage(layout, layer, blob(layer)) : undefined;
    throw damage ?? error;
  } finally {
    reader.destroy();
  }
}

/** Whether the layer is extracted for the first time of this budget. */
function timesOf({ met }: LayerBudget, { digest }: LayerRef): "first" | "again" {
  if (met.has(digest)) return "again";
  met.add(digest);
  return "first";
}

/** What is wrong with a layer's blob; undefined when nothing is. */
export async function layerDamage(
  layout: DataLayout,
  layer: LayerRef,
  blob: string = layout.layerBlob(layer.digest),
): Promise<RktError | undefined> {
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha256");
  try {
    for await (const chunk of fileChunks(blob)) hash.update(chunk);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return damagedLayer(layer, "it is not there");
    throw error;
  }
  const found = `sha256:${hash.digest("hex")}`;
  return found === layer.digest ? undefined : damagedLayer(layer, `it has the digest ${found}`);
}

export function damagedLayer({ digest }: LayerRef, what: string): RktError {
  return new RktError(DAMAGED, `layer ${digest.slice(0, 19)} of the image is damaged: ${what}`, {
    hint: "`rkt fetch` the image again, from where it came; `rkt image verify` finds all that is damaged",
  });
}

export const layerError = ({ digest }: LayerRef, error: unknown): RktError =>
  error instanceof RktError && error.code === DAMAGED
    ? error
    : new RktError(
        error instanceof RktError ? error.code : "extract-failed",
        `layer ${digest.slice(0, 19)}: ${errorText(error)}`,
        { hint: error instanceof RktError ? error.hint : undefined, cause: error },
      );

async function extractAlone(
  extraction: Extraction,
  layer: LayerRef,
  times: Exclude<Times, "arriving">,
): Promise<ExtractedLayer> {
  const { temporary, rootfs } = newLayerDirectory(extraction.layout);
  try {
    const extractor = new LayerAlone(rootfs, (inodes, bytes) => spend(extraction.budget, inodes, bytes));
    try {
      await readStoredLayer(extraction, layer, times, (entry) => extractor.entry(entry));
      return { temporary, notes: extractor.finish() };
    } finally {
      extractor.close();
    }
  } catch (error) {
    temporary.remove();
    throw layerError(layer, error);
  }
}

/**
 * Extracts the layers over each other to `rootfs`, an empty directory or one with what they are to be put upon. `admits`
 * says which entries there are at all; whiteouts are always, for they only remove.
 */
export async function extractMerged(
  layout: DataLayout,
  layers: readonly LayerRef[],
  rootfs: string,
  budget: LayerBudget,
  admits: (entry: TarEntry, path: string) => boolean = () => true,
): Promise<void> {
  const extraction = ofStore(layout, budget);
  const extractor = new LayersMerged(rootfs, (inodes, bytes) => spend(budget, inodes, bytes));
  try {
    for (const layer of layers) {
      extractor.nextLayer();
      try {
        await readStoredLayer(extraction, layer, timesOf(budget, layer), (entry) =>
          whiteoutOf(entry) !== undefined || admits(entry, entry.path) ? extractor.entry(entry) : undefined,
        );
      } catch (error) {
        throw layerError(layer, error);
      }
    }
    extractor.finish();
  } finally {
    extractor.close();
  }
}

const ofStore = (layout: DataLayout, budget: LayerBudget): Extraction => ({
  layout,
  budget,
  blob: ({ digest }) => layout.layerBlob(digest),
});

// --- in the store -----------------------------------------------------------------------

/** An extracted layer, in its place or on its way there. */
interface LayerTree {
  id: string;
  rootfs: string;
  opaque: boolean;
  /** Undefined if it is in its place. */
  temporary: Temporary | undefined;
}

/** The extracted layers of an image, lowest first. */
export interface PreparedLayers {
  /** Moves those that were made to their places, and gives the names of all. */
  place(): string[];
  /** Removes those that were made and not placed. */
  remove(): void;
}

export interface PrepareOptions {
  budget: LayerBudget;
  /** By diff ID: those that were extracted when they came. What is here is taken over, or removed. */
  extracted?: Map<string, ExtractedLayer>;
  /** Where a layer's blob is that is not in the store yet. */
  arrived?: (layer: LayerRef) => string | undefined;
}

/**
 * The extracted layers of an image: those that are there, those of `extracted`, and the others from their blobs. Nothing
 * is in its place before all are made.
 */
export async function prepareLayerTrees(
  layout: DataLayout,
  layers: readonly LayerRef[],
  { budget, extracted = new Map(), arrived = () => undefined }: PrepareOptions,
): Promise<PreparedLayers> {
  const ids = layerIds(layers);
  const made: LayerTree[] = [];
  const known = new Map<string, LayerTree>();
  const remove = (): void => {
    for (const { temporary } of known.values()) temporary?.remove();
  };
  const extraction = { layout, budget, blob: (layer: LayerRef) => arrived(layer) ?? layout.layerBlob(layer.digest) };
  try {
    for (const [i, layer] of layers.entries()) {
      const names = ids[i] as LayerIds;
      const tree =
        known.get(names.alone) ??
        known.get(names.chained) ??
        findTree(layout, names) ??
        (await makeLayer(extraction, layer, names, made, extracted));
      known.set(tree.id, tree);
      made.push(tree);
    }
  } catch (error) {
    remove();
    throw error;
  } finally {
    for (const { temporary } of extracted.values()) temporary.remove();
    extracted.clear();
  }
  return {
    place() {
      const fresh = [...known.values()].find(({ temporary }) => temporary !== undefined);
      // Otherwise a power cut could leave a layer that is half empty and looks complete for ever.
      if (fresh?.temporary !== undefined) syncfs(fresh.temporary.fd);
      for (const { id, temporary } of known.values()) if (temporary !== undefined) place(layout, temporary, id);
      return made.map(({ id }) => id);
    },
    remove,
  };
}

/** The names of the extracted layers of an image in the store, lowest first: those that are not there are made. */
export async function ensureLayerTrees(
  layout: DataLayout,
  layers: readonly LayerRef[],
  budget: LayerBudget,
): Promise<string[]> {
  const prepared = await prepareLayerTrees(layout, layers, { budget });
  try {
    return prepared.place();
  } finally {
    prepared.remove();
  }
}

function findTree(layout: DataLayout, names: LayerIds): LayerTree | undefined {
  const id = findLayer(layout, names);
  return id === undefined ? undefined : placedTree(layout, id);
}

const placedTree = (layout: DataLayout, id: string): LayerTree => ({
  ...{ id, rootfs: layout.layerRootfs(id), temporary: undefined },
  opaque: readLayerManifest(layout, id).opaque === true,
});

/** The name of an extracted layer; undefined where it is not there. */
export const findLayer = (layout: DataLayout, { alone, chained }: LayerIds): string | undefined =>
  [alone, chained].find((id) => existsSync(layout.layerManifest(id)));

/** The last of the layers once more, in a directory that the caller removes, as those below it are extracted now. */
export async function freshLayer(layout: DataLayout, layers: readonly LayerRef[]): Promise<Temporary> {
  const layer = layers.at(-1);
  if (layer === undefined) throw new Error("no layer");
  const budget = storedBudget(layers);
  const ids = await ensureLayerTrees(layout, layers.slice(0, -1), budget);
  const below = ids.map((id) => placedTree(layout, id));
  const extraction = ofStore(layout, budget);
  const times = timesOf(budget, layer);
  const { temporary, notes } = await extractAlone(extraction, layer, times);
  try {
    if (!isIndependent(notes)) await complete(extraction, { layer, temporary, notes, below, times });
    return temporary;
  } catch (error) {
    temporary.remove();
    throw layerError(layer, error);
  }
}

async function makeLayer(
  extraction: Extraction,
  layer: LayerRef,
  { alone, chained }: LayerIds,
  below: readonly LayerTree[],
  extracted: Map<string, ExtractedLayer>,
): Promise<LayerTree> {
  const times = timesOf(extraction.budget, layer);
  const { temporary, notes } = extracted.get(layer.diffId) ?? (await extractAlone(extraction, layer, times));
  extracted.delete(layer.diffId);
  try {
    const independent = isIndependent(notes);
    const own = independent || (await complete(extraction, { layer, temporary, notes, below, times }));
    const opaque = own && notes.opaque.has("");
    writeLayerManifest(temporary, opaque ? { opaque } : {});
    return { id: independent ? alone : chained, rootfs: `${temporary.path}/rootfs`, opaque, temporary };
  } catch (error) {
    temporary.remove();
    throw layerError(layer, error);
  }
}

interface Completion {
  layer: LayerRef;
  temporary: Temporary;
  notes: LayerNotes;
  below: readonly LayerTree[];
  times: Exclude<Times, "arriving">;
}

/** Puts the layer on those below. Answers whether its own form has stayed, and so its opaque root. */
async function complete(extraction: Extraction, completion: Completion): Promise<boolean> {
  const { layout, budget } = extraction;
  const { temporary, notes, below } = completion;
  const rootfs = `${temporary.path}/rootfs`;
  const takes: TakeMore = (inodes, bytes) => spend(budget, inodes, bytes);
  const lower = visibleTrees(below).map((tree) => tree.rootfs);
  if (lower.length === 0) {
    if (completeLayer(rootfs, notes, undefined, takes)) return true;
    await extractOver(extraction, completion, [emptyDirectory(temporary)]);
    return false;
  }
  const fd = overlay(layout, lower);
  try {
    if (completeLayer(rootfs, notes, `/proc/self/fd/${fd}/.`, takes)) return true;
  } finally {
    closeSync(fd);
  }
  await extractOver(extraction, completion, lower);
  return false;
}

function emptyDirectory({ path }: Temporary): string {
  mkdirSync(`${path}/lower`, { mode: 0o755 });
  return `${path}/lower`;
}

/** Extracts the layer into a mounted overlay, whose upper directory is then the layer: the kernel sees to what is below. */
async function extractOver(
  extraction: Extraction,
  { layer, temporary: { path }, times }: Completion,
  lower: readonly string[],
): Promise<void> {
  const { layout, budget } = extraction;
  const upper = { upper: `${path}/rootfs`, work: `${path}/work` };
  removeTree(upper.upper);
  mkdirSync(upper.upper, { mode: 0o755 });
  mkdirSync(upper.work, { mode: 0o700 });
  const fd = overlay(layout, lower, upper);
  try {
    const copies = true;
    const extractor = new LayersMerged(
      `/proc/self/fd/${fd}/.`,
      (inodes, bytes) => spend(budget, inodes, bytes),
      copies,
    );
    try {
      await readStoredLayer(extraction, layer, times, (entry) => extractor.entry(entry));
      extractor.finish();
    } finally {
      extractor.close();
    }
  } finally {
    closeSync(fd);
  }
  removeTree(upper.work);
  removeTree(`${path}/lower`);
}

function writeLayerManifest({ path }: Temporary, said: Pick<LayerManifest, "opaque">): void {
  const manifest: LayerManifest = { format: LAYER_FORMAT, ...said };
  writeFileSync(`${path}/manifest`, `${JSON.stringify(manifest)}\n`);
}

/** Renames the layer to its place; another process may have made it meanwhile. */
function place(layout: DataLayout, temporary: Temporary, id: string): void {
  for (;;) {
    try {
      renameSync(temporary.path, layout.layerTree(id));
      temporary.keep();
      return;
    } catch (error) {
      if (errorCode(error) !== "ENOTEMPTY" && errorCode(error) !== "EEXIST") throw error;
      if (existsSync(layout.layerManifest(id))) return;
      // The rest of a removal that was cut short.
      removeTree(layout.layerTree(id));
    }
  }
}

/**
 * Of extracted layers, lowest first, those of which something is seen: of a layer that is there several times the last,
 * which has all that the others have. overlayfs takes no directory twice.
 */
function visibleTrees(trees: readonly LayerTree[]): LayerTree[] {
  const last = trees.findLastIndex(({ opaque }) => opaque);
  const seen = trees.slice(Math.max(last, 0));
  return seen.filter(({ id }, i) => seen.findLastIndex((other) => other.id === id) === i);
}

/** The same, of layers in the store by their names. */
export const visibleLayers = (layout: DataLayout, ids: readonly string[]): string[] =>
  visibleTrees(ids.map((id) => placedTree(layout, id))).map(({ id }) => id);

const readLayerManifest = (layout: DataLayout, id: string): LayerManifest =>
  JSON.parse(readFileSync(layout.layerManifest(id), "utf8")) as LayerManifest;
