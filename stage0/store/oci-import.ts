/**
 * An OCI image on its way into the store. Its layers come as they like, several
 * at once, each in one pass (layer-reader.ts): the bytes are written to a
 * temporary file, and its entries are extracted to a temporary directory. Both
 * are locked, and collected by others if this process dies (temporary.ts).
 */

import { existsSync, mkdirSync, renameSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { blobKey } from "../../shared/contract/image-ids.ts";
import { formatImageManifest, parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { fsetxattr, syncfs, xattrs } from "../../shared/syscall/file.ts";
import { LayerAlone } from "../archive/layer.ts";
import { toImageManifest } from "../oci/to-appc.ts";
import { type BlobImport, type ImportedBlob, type ImportLimits, place } from "./blob-import.ts";
import { type LayerBudget, layerReader, sizeOf } from "./layer-reader.ts";
import {
  type ExtractedLayer,
  layerDamage,
  layerError,
  MAX_STACK,
  newLayerDirectory,
  type PreparedLayers,
  prepareLayerTrees,
} from "./layer-trees.ts";
import { ociBlob } from "./oci-blob.ts";
import { type LayerRef, readDocuments } from "./oci-content.ts";
import type { OciDocuments, OciLayer, PendingLayer } from "./oci-imports.ts";
import { type Temporary, temporaryFile } from "./temporary.ts";

/** As far as the store's index has nothing to do with it. */
export interface OciImport extends Pick<BlobImport, "sha256" | "commit" | "abort"> {
  describe(documents: OciDocuments): Promise<readonly OciLayer[]>;
  finish(): Promise<ImportedBlob>;
}

/** A layer that has come whole. */
interface ArrivedLayer {
  blob: Temporary;
  tree: ExtractedLayer;
}

interface ImportContext {
  layout: DataLayout;
  limits: ImportLimits;
  /** From now on nothing is removed from the store. */
  share(): void;
  /** Digests of layers that this process has checked. */
  checked: Set<string>;
}

/** Errors call the image by `shown`. */
export function beginOciImport(context: ImportContext, shown: string): OciImport {
  const { layout } = context;
  const budget: LayerBudget = { limits: context.limits, unpacked: 0, written: 0, inodes: 0, met: new Set() };
  const arrived = new Map<string, ArrivedLayer>();
  const running = new Set<PendingLayer>();
  const present = new Set<string>();
  let layers: LayerRef[] = [];
  let described: { blob: ImportedBlob; bytes: Buffer } | undefined;

  const fail = (error: unknown): Error => {
    if (!(error instanceof RktError) && errorCode(error) === undefined) return error as Error;
    return new RktError(
      error instanceof RktError ? error.code : "import-failed",
      `cannot import ${shown}: ${errorText(error)}`,
      { hint: error instanceof RktError ? error.hint : undefined, cause: error },
    );
  };

  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw fail(error);
    }
  };

  /** Drops what has come. */
  const clear = (): void => {
    for (const layer of running) void layer.abort();
    for (const { blob, tree } of arrived.values()) for (const one of [blob, tree.temporary]) one.remove();
    running.clear();
    arrived.clear();
  };

  function begin(layer: LayerRef): PendingLayer {
    const pending = pendingLayer(context, layer, budget, (whole) => {
      running.delete(pending);
      const before = arrived.get(layer.digest);
      if (before !== undefined) for (const one of [before.blob, before.tree.temporary]) one.remove();
      arrived.set(layer.digest, whole);
    });
    const guarded: PendingLayer = {
      write: (chunk) => attempt(() => pending.write(chunk)),
      finish: () => attempt(() => pending.finish()),
      async abort() {
        running.delete(pending);
        await pending.abort();
      },
    };
    running.add(pending);
    return guarded;
  }

  return {
    describe: (documents) =>
      attempt(async () => {
        const { name, reference } = documents;
        const { digest, layers: found, configuration } = readDocuments(documents, "the image");
        const text = formatImageManifest(toImageManifest(configuration, { name, reference, digest }));
        const manifest = parseImageManifest(text, { object: "image manifest made of the configuration" });
        const bytes = ociBlob(text, documents);
        layers = found;
        for (const layer of new Map(found.map((one) => [one.digest, one])).values())
          if (await isPresent(context, layer)) present.add(layer.digest);
        const { createHash } = await import("node:crypto");
        const id = `sha512-${createHash("sha512").update(bytes).digest("hex")}`;
        const size = found.reduce((sum, layer) => sum + layer.size, bytes.length);
        described = {
          blob: { id, key: blobKey(id), manifest, manifestText: text, size, oci: { digest, layers: found } },
          bytes,
        };
        const first = new Set<string>();
        return found.map((layer): OciLayer => {
          // One that an image has several times comes once.
          const again = first.has(layer.digest);
          first.add(layer.digest);
          const { mediaType, digest, size, diffId } = layer;
          return {
            descriptor: { mediaType, digest, size },
            diffId,
            present: again || present.has(digest),
            begin: () => begin(layer),
          };
        });
      }),

    async finish() {
      if (described === undefined) throw new Error("finish before describe");
      const missing = layers.find(({ digest }) => !present.has(digest) && !arrived.has(digest));
      if (missing !== undefined) throw new Error(`layer ${missing.digest} has not come`);
      return described.blob;
    },

    sha256() {
      if (described === undefined) throw new Error("sha256 before describe");
      return createSha256(described.bytes);
    },

    commit: () =>
      attempt(async () => {
        if (described === undefined) throw new Error("commit before describe");
        const { blob, bytes } = described;
        try {
          await placeLayers(layout, layers, arrived, budget);
          await placeBlob(layout, blob, bytes);
          return blob;
        } catch (error) {
          clear();
          throw error;
        }
      }),

    abort: clear,
  };
}

function createSha256(bytes: Uint8Array): string {
  const { createHash } = process.getBuiltinModule("node:crypto");
  return createHash("sha256").update(bytes).digest("hex");
}

/**
 * What a layer's blob was found to decompress to, on the blob itself: a configuration may give any layer's blob another
 * layer's diff ID, and so another layer's files.
 */
const DIFF_ID_XATTR = "trusted.rkt.diff-id";

function noteDiffId(fd: number, diffId: string): void {
  try {
    fsetxattr(fd, DIFF_ID_XATTR, Buffer.from(diffId));
  } catch (error) {
    // A file system without them: the layer comes again with each image that has it.
    if (!["EOPNOTSUPP", "EPERM"].includes(errorCode(error) ?? "")) throw error;
  }
}

const knownDiffId = (path: string): string | undefined => xattrs(path).get(DIFF_ID_XATTR)?.toString();

/** Whether the store has the layer, undamaged. A damaged one comes again, and takes its place. */
async function isPresent({ layout, share, checked }: ImportContext, layer: LayerRef): Promise<boolean> {
  const path = layout.layerBlob(layer.digest);
  if (statSync(path, { throwIfNoEntry: false })?.size !== layer.size) return false;
  share();
  if (!existsSync(path) || knownDiffId(path) !== layer.diffId) return false;
  if (checked.has(layer.digest)) return true;
  if ((await layerDamage(layout, layer)) !== undefined) return false;
  checked.add(layer.digest);
  return true;
}

function pendingLayer(
  { layout, checked }: ImportContext,
  layer: LayerRef,
  budget: LayerBudget,
  done: (whole: ArrivedLayer) => void,
): PendingLayer {
  const blob = temporaryFile(layout, "layer");
  const { temporary, rootfs } = newLayerDirectory(layout);
  const extractor = new LayerAlone(rootfs, (inodes, bytes) => reader.takes(inodes, bytes));
  const reader = layerReader(layer, budget, "arriving", (entry) => extractor.entry(entry));
  let open = true;
  const drop = (): void => {
    if (!open) return;
    open = false;
    reader.destroy();
    extractor.close();
    blob.remove();
    temporary.remove();
  };
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    if (!open) throw new Error("the layer was given up");
    try {
      await work();
    } catch (error) {
      drop();
      throw layerError(layer, error);
    }
  };
  return {
    write: (chunk) =>
      attempt(async () => {
        let at = 0;
        while (at < chunk.length) at += writeSync(blob.fd, chunk, at);
        await reader.write(chunk);
      }),
    finish: () =>
      attempt(async () => {
        await reader.end();
        noteDiffId(blob.fd, layer.diffId);
        const notes = extractor.finish();
        extractor.close();
        open = false;
        checked.add(layer.digest);
        done({ blob, tree: { temporary, notes } });
      }),
    abort: async () => drop(),
  };
}

/** Makes all extracted layers of what has come, and then moves it to its place: first the blobs, of which all else can be made again. */
async function placeLayers(
  layout: DataLayout,
  layers: readonly LayerRef[],
  arrived: Map<string, ArrivedLayer>,
  budget: LayerBudget,
): Promise<void> {
  // Layers that were there are read, too.
  budget.written = sizeOf(layers);
  const extracted = new Map<string, ExtractedLayer>();
  for (const { diffId, digest } of layers) {
    const tree = arrived.get(digest)?.tree;
    if (tree !== undefined && extracted.get(diffId) === undefined) extracted.set(diffId, tree);
  }
  let prepared: PreparedLayers | undefined;
  try {
    if (layers.length <= MAX_STACK)
      prepared = await prepareLayerTrees(layout, layers, {
        ...{ budget, extracted },
        arrived: ({ digest }) => arrived.get(digest)?.blob.path,
      });
  } catch (error) {
    // Then they are not needed: the image can be run without an overlay, and is then extracted whole.
    if (!(error instanceof RktError) || error.code !== "overlay-failed") throw error;
  }
  try {
    const [any] = arrived.values();
    if (any !== undefined) syncfs(any.blob.fd);
    for (const [digest, { blob }] of arrived) {
      const target = layout.layerBlob(digest);
      mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
      renameSync(blob.path, target);
      blob.keep();
    }
    prepared?.place();
  } finally {
    prepared?.remove();
    for (const { blob, tree } of arrived.values()) for (const one of [blob, tree.temporary]) one.remove();
    arrived.clear();
  }
}

async function placeBlob(layout: DataLayout, blob: ImportedBlob, bytes: Buffer): Promise<void> {
  const temporary = temporaryFile(layout, "blob");
  try {
    let at = 0;
    while (at < bytes.length) at += writeSync(temporary.fd, bytes, at);
    // The layers are there before the image is.
    syncfs(temporary.fd);
    await place(layout, temporary, blob);
  } catch (error) {
    temporary.remove();
    throw error;
  }
}
