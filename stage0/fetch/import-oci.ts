/**
 * An OCI image into the store, from whatever source has its bytes: the layers
 * that the store lacks come several at once, each with a bar of its own, and
 * the first failure ends the others. Nothing is left of an image that fails.
 */

import type { Descriptor, OciDocuments, OciLayer, PendingLayer, PendingOciImage, VouchedBy } from "../store/oci-imports.ts";
import type { RemoteRecord } from "../store/index-remotes.ts";
import type { StoredImage } from "../store/store.ts";
import type { Reporter } from "../terminal/progress.ts";
import type { BlobSink } from "./registry.ts";

export interface OciContent {
  documents: OciDocuments;
  /** Brings a layer's bytes: once from the first one to the last, or again from the first after another `begin`. */
  layer(descriptor: Descriptor, sink: BlobSink, signal: AbortSignal): Promise<void>;
}

export interface OciImportOptions {
  /** Who vouches for the image; undefined: the signature of `remote`, if it has one. */
  by?: VouchedBy | undefined;
  remote?: Omit<RemoteRecord, "key"> | undefined;
  reporter: Reporter;
  signal?: AbortSignal | undefined;
}

/** Extracting is the processor's work, and downloading the network's. */
const PARALLEL_LAYERS = 3;
/** Of a digest, in bars. */
const SHOWN_DIGITS = 12;

export async function importOci(
  pending: PendingOciImage,
  { documents, layer }: OciContent,
  { by, remote, reporter, signal }: OciImportOptions,
): Promise<StoredImage> {
  try {
    const layers = await pending.describe(documents);
    const wanted = layers.filter(({ present }) => !present);
    const there = layers.length - wanted.length;
    if (there > 0) reporter.line(`rkt: ${there} of its ${layers.length} layers ${there === 1 ? "is" : "are"} in the store`);
    await bringLayers(wanted, layer, reporter, signal);
    const { key } = await pending.finish();
    return await pending.commit(remote === undefined ? undefined : { ...remote, key }, by);
  } catch (error) {
    await pending.abort();
    throw error;
  }
}

async function bringLayers(
  layers: readonly OciLayer[],
  bring: OciContent["layer"],
  reporter: Reporter,
  outer: AbortSignal | undefined,
): Promise<void> {
  const stop = new AbortController();
  const signal = outer === undefined ? stop.signal : AbortSignal.any([outer, stop.signal]);
  let failure: { error: unknown } | undefined;
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < layers.length && failure === undefined; i = next++) {
      try {
        signal.throwIfAborted();
        await bringLayer(layers[i] as OciLayer, bring, reporter, signal);
      } catch (error) {
        failure ??= { error };
        stop.abort(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL_LAYERS, layers.length) }, worker));
  if (failure !== undefined) throw failure.error;
}

async function bringLayer(
  layer: OciLayer,
  bring: OciContent["layer"],
  reporter: Reporter,
  signal: AbortSignal,
): Promise<void> {
  const { descriptor } = layer;
  const transfer = reporter.transfer(`Layer ${descriptor.digest.replace("sha256:", "").slice(0, SHOWN_DIGITS)}`);
  let pending: PendingLayer | undefined;
  const sink: BlobSink = {
    async begin() {
      await pending?.abort();
      pending = layer.begin();
      transfer.begin(descriptor.size);
    },
    async write(chunk) {
      await pending?.write(chunk);
      transfer.advance(chunk.length);
    },
  };
  try {
    await bring(descriptor, sink, signal);
    if (pending === undefined) throw new Error("a layer without a beginning");
    await (pending as PendingLayer).finish();
  } catch (error) {
    await (pending as PendingLayer | undefined)?.abort();
    throw error;
  } finally {
    transfer.end();
  }
}
