/**
 * Extracted layers: `cas/layer/tree/<id>/` with `rootfs/`, a lower directory of
 * overlay mounts, and `manifest`, which is renamed into place together with it.
 * A layer is complete or not there, and never written again. Its name says
 * whether it depends on the layers below (`layerIds`).
 */

import {
  closeSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { type DataLayout, LAYER_FORMAT } from "../../shared/contract/data-directory.ts";
import { syncfs } from "../../shared/syscall/file.ts";
import { fileChunks } from "../archive/file-chunks.ts";
import { completeLayer } from "../archive/complete-layer.ts";
import { isIndependent, LayerAlone, type LayerNotes, LayersMerged } from "../archive/layer.ts";
import type { TarEntry } from "../archive/tar-entry.ts";
import { removeTree } from "../host/remove-tree.ts";
import { DAMAGED } from "./blob.ts";
import { IMPORT_LIMITS } from "./blob-import.ts";
import { type LayerBudget, layerReader, type TakeEntry } from "./layer-reader.ts";
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

/** The blobs were checked when they came; what is read now is checked again. */
const stored = (): LayerBudget => ({
  limits: { ...IMPORT_LIMITS, archiveSize: Number.POSITIVE_INFINITY, ratio: Number.POSITIVE_INFINITY },
  unpacked: 0,
  written: 0,
});

/** Gives the entries of a layer of the store to `take`. Throws "damaged-image" when the blob is not what its digest says. */
export async function readStoredLayer(layout: DataLayout, layer: LayerRef, take: TakeEntry): Promise<void> {
  const reader = layerReader(layer, stored(), take);
  try {
    for await (const chunk of fileChunks(layout.layerBlob(layer.digest))) await reader.write(chunk);
    await reader.end();
  } catch (error) {
    if (errorCode(error) === "ENOENT") throw damagedLayer(layer, "it is not there");
    const damage = error instanceof RktError ? await layerDamage(layout, layer) : undefined;
    throw damage ?? error;
  } finally {
    reader.destroy();
  }
}

/** What is wrong with a layer's blob; undefined when nothing is. */
export async function layerDamage(layout: DataLayout, layer: LayerRef): Promise<RktError | undefined> {
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha256");
  try {
    for await (const chunk of fileChunks(layout.layerBlob(layer.digest))) hash.update(chunk);
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

async function extractAlone(layout: DataLayout, layer: LayerRef): Promise<ExtractedLayer> {
  const { temporary, rootfs } = newLayerDirectory(layout);
  try {
    const extractor = new LayerAlone(rootfs);
    try {
      await readStoredLayer(layout, layer, (entry) => extractor.entry(entry));
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
 * says which entries there are at all.
 */
export async function extractMerged(
  layout: DataLayout,
  layers: readonly LayerRef[],
  rootfs: string,
  admits: (entry: TarEntry, path: string) => boolean = () => true,
): Promise<void> {
  const extractor = new LayersMerged(rootfs);
  try {
    for (const layer of layers) {
      extractor.nextLayer();
      try {
        await readStoredLayer(layout, layer, (entry) =>
          admits(entry, entry.path) ? extractor.entry(entry) : undefined,
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

// --- in the store -----------------------------------------------------------------------

/**
 * The extracted layers of an image, lowest first: those that are there, those of `extracted` (by diff ID), and the others
 * from their blobs. What is in `extracted` is taken over, or removed.
 */
export async function ensureLayerTrees(
  layout: DataLayout,
  layers: readonly LayerRef[],
  extracted: Map<string, ExtractedLayer> = new Map(),
): Promise<string[]> {
  const ids = layerIds(layers);
  const made: string[] = [];
  try {
    for (const [i, layer] of layers.entries()) {
      const names = ids[i] as LayerIds;
      made.push(findLayer(layout, names) ?? (await makeLayer(layout, layer, names, made, extracted)));
    }
    return made;
  } finally {
    for (const { temporary } of extracted.values()) temporary.remove();
  }
}

/** The name of an extracted layer; undefined where it is not there. */
export const findLayer = (layout: DataLayout, { alone, chained }: LayerIds): string | undefined =>
  [alone, chained].find((id) => existsSync(layout.layerManifest(id)));

/** The last of the layers once more, in a directory that the caller removes, as those below it are extracted now. */
export async function freshLayer(layout: DataLayout, layers: readonly LayerRef[]): Promise<Temporary> {
  const layer = layers.at(-1);
  if (layer === undefined) throw new Error("no layer");
  const below = await ensureLayerTrees(layout, layers.slice(0, -1));
  const { temporary, notes } = await extractAlone(layout, layer);
  try {
    if (!isIndependent(notes)) await complete(layout, layer, temporary, notes, below);
    return temporary;
  } catch (error) {
    temporary.remove();
    throw layerError(layer, error);
  }
}

async function makeLayer(
  layout: DataLayout,
  layer: LayerRef,
  { alone, chained }: LayerIds,
  below: readonly string[],
  extracted: Map<string, ExtractedLayer>,
): Promise<string> {
  const { temporary, notes } = extracted.get(layer.diffId) ?? (await extractAlone(layout, layer));
  extracted.delete(layer.diffId);
  try {
    const opaque: Pick<LayerManifest, "opaque"> = notes.opaque.has("") ? { opaque: true } : {};
    if (isIndependent(notes)) return place(layout, temporary, alone, opaque);
    if (await complete(layout, layer, temporary, notes, below)) return place(layout, temporary, chained, opaque);
    return place(layout, temporary, chained, {});
  } catch (error) {
    throw layerError(layer, error);
  } finally {
    temporary.remove();
  }
}

/** Puts the layer on those below. Answers whether its own form has stayed, and so its opaque root. */
async function complete(
  layout: DataLayout,
  layer: LayerRef,
  temporary: Temporary,
  notes: LayerNotes,
  below: readonly string[],
): Promise<boolean> {
  const rootfs = `${temporary.path}/rootfs`;
  const lower = visibleLayers(layout, below).map((id) => layout.layerRootfs(id));
  if (lower.length === 0) {
    if (!completeLayer(rootfs, notes, undefined))
      await extractOver(layout, layer, temporary, [emptyDirectory(temporary)]);
    return !notes.again;
  }
  const fd = overlay(layout, lower);
  try {
    if (completeLayer(rootfs, notes, `/proc/self/fd/${fd}/.`)) return true;
  } finally {
    closeSync(fd);
  }
  await extractOver(layout, layer, temporary, lower);
  return false;
}

function emptyDirectory({ path }: Temporary): string {
  mkdirSync(`${path}/lower`, { mode: 0o755 });
  return `${path}/lower`;
}

/** Extracts the layer into a mounted overlay, whose upper directory is then the layer: the kernel sees to what is below. */
async function extractOver(
  layout: DataLayout,
  layer: LayerRef,
  { path }: Temporary,
  lower: readonly string[],
): Promise<void> {
  const upper = { upper: `${path}/rootfs`, work: `${path}/work` };
  removeTree(upper.upper);
  mkdirSync(upper.upper, { mode: 0o755 });
  mkdirSync(upper.work, { mode: 0o700 });
  const fd = overlay(layout, lower, upper);
  try {
    await extractMerged(layout, [layer], `/proc/self/fd/${fd}/.`);
  } finally {
    closeSync(fd);
  }
  removeTree(upper.work);
  removeTree(`${path}/lower`);
}

/** Renames the layer to its place; another process may have made it meanwhile. */
function place(layout: DataLayout, temporary: Temporary, id: string, said: Pick<LayerManifest, "opaque">): string {
  const manifest: LayerManifest = { format: LAYER_FORMAT, ...said };
  writeFileSync(`${temporary.path}/manifest`, `${JSON.stringify(manifest)}\n`);
  // Otherwise a power cut could leave a layer that is half empty and looks complete for ever.
  syncfs(temporary.fd);
  for (;;) {
    try {
      renameSync(temporary.path, layout.layerTree(id));
      temporary.keep();
      return id;
    } catch (error) {
      if (errorCode(error) !== "ENOTEMPTY" && errorCode(error) !== "EEXIST") throw error;
      if (existsSync(layout.layerManifest(id))) return id;
      // The rest of a removal that was cut short.
      removeTree(layout.layerTree(id));
    }
  }
}

/**
 * Of extracted layers, lowest first, those of which something is seen: of a layer that is there several times the last,
 * which has all that the others have. overlayfs takes no directory twice.
 */
export function visibleLayers(layout: DataLayout, ids: readonly string[]): string[] {
  const last = ids.findLastIndex((id) => readLayerManifest(layout, id).opaque === true);
  return ids.slice(Math.max(last, 0)).filter((id, i, visible) => visible.lastIndexOf(id) === i);
}

const readLayerManifest = (layout: DataLayout, id: string): LayerManifest =>
  JSON.parse(readFileSync(layout.layerManifest(id), "utf8")) as LayerManifest;
