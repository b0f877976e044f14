/** What an OCI image is made of, as the store keeps it: its documents and its layers. Pure. */

import { createHash } from "node:crypto";
import { errorText, RktError } from "../../shared/errors.ts";
import { LAYER_FORMAT } from "../../shared/contract/data-directory.ts";
import { parseConfiguration, type OciConfiguration } from "../oci/configuration.ts";
import { parseOciManifest } from "../oci/manifest.ts";

/** A layer of an image. */
export interface LayerRef {
  mediaType: string;
  /** Of the blob: `sha256:` and 64 hex digits. */
  digest: string;
  /** Of the uncompressed archive. */
  diffId: string;
  /** Bytes of the blob. */
  size: number;
}

export interface OciContent {
  /** Of the manifest. */
  digest: string;
  /** Lowest first. */
  layers: LayerRef[];
}

/** The two documents, byte for byte. */
export interface OciTexts {
  manifest: Uint8Array;
  config: Uint8Array;
}

export const digestOf = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** Reads the two documents, and checks that they belong together. `what` is what errors call the image. */
export function readDocuments(texts: OciTexts, what: string): OciContent & { configuration: OciConfiguration } {
  const manifest = parseOciManifest(texts.manifest, `manifest of ${what}`);
  const { digest, size } = manifest.config;
  if (texts.config.length !== size || digestOf(texts.config) !== digest)
    throw new RktError(
      "wrong-digest",
      `the configuration of ${what} is not the one that its manifest names, ${digest}`,
      {
        hint: "get it again; if that does not help, the image was not pushed whole",
      },
    );
  const configuration = parseConfiguration(texts.config, `configuration of ${what}`);
  const { diffIds } = configuration;
  if (diffIds.length !== manifest.layers.length)
    throw new RktError(
      "manifest-invalid",
      `${what}: its manifest has ${manifest.layers.length} layers, its configuration has ${diffIds.length}`,
    );
  const layers = manifest.layers.map((layer, i) => ({ ...layer, diffId: diffIds[i] ?? "" }));
  const first = new Map<string, LayerRef>();
  for (const layer of layers) {
    const other = first.get(layer.digest) ?? layer;
    first.set(layer.digest, other);
    if (other.diffId !== layer.diffId || other.size !== layer.size)
      throw new RktError("manifest-invalid", `${what}: its layer ${layer.digest} has two sizes or two diff IDs`);
  }
  return { digest: digestOf(texts.manifest), layers, configuration };
}

/** What the blob of an OCI image has beside `manifest`, in this order. */
export const OCI_ENTRIES = ["oci/manifest", "oci/config"] as const;

/** What is wrong with the documents of a blob; what the store wrote itself is otherwise as it was checked. */
export function readStoredDocuments(texts: OciTexts): OciContent {
  try {
    const { digest, layers } = readDocuments(texts, "it");
    return { digest, layers };
  } catch (error) {
    throw new RktError("bad-archive", `it has not the documents of an OCI image: ${errorText(error)}`, {
      cause: error,
    });
  }
}

// --- names of extracted layers ----------------------------------------------------------

/** By which an extracted layer is called: the first if it is the same whatever is below, else the second. */
export interface LayerIds {
  alone: string;
  chained: string;
}

/** Of each layer, lowest first. The second is by the chain ID (image-spec, config.md "Layer ChainID"). */
export function layerIds(layers: readonly Pick<LayerRef, "diffId">[]): LayerIds[] {
  let chain: string | undefined;
  return layers.map(({ diffId }) => {
    chain = chain === undefined ? diffId : digestOf(Buffer.from(`${chain} ${diffId}`));
    return { alone: `diff-${LAYER_FORMAT}-${hex(diffId)}`, chained: `chain-${LAYER_FORMAT}-${hex(chain)}` };
  });
}

const hex = (digest: string): string => digest.slice("sha256:".length);
