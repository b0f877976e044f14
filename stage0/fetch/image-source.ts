/**
 * Where an image comes from. A source owns one syntax by which a person can
 * ask for an image, and knows how to get that image into the store. Each
 * source is a file `source-KIND.ts` and a line of the table in `sources.ts`;
 * nothing else tells them apart (docs/extend/writing-an-image-source.md).
 *
 * Every start loads the sources. So a source loads the network, or whatever
 * else is expensive, when its `fetch` is called.
 */

import type { InsecureOption } from "../config/insecure-options.ts";
import type { Platform } from "../oci/platform.ts";
import type { Provenance } from "../store/provenance.ts";
import type { StoredImage } from "../store/store.ts";
import type { FetchContext, FetchStore, PullPolicy } from "./fetch-context.ts";

/** `Reference` is what the source makes of a person's text: plain data, told from that of other sources by its kind. */
export interface ImageSource<Reference extends { kind: string }> {
  /** One word, which messages and options such as `--stage1-hash` use. */
  readonly kind: Reference["kind"];
  /** Schemes of the URLs (`SCHEME://`) that it takes; empty if its references are no URLs. */
  readonly schemes: readonly string[];
  /** Where it gets images from. */
  readonly origin: Origin;
  /** Undefined if the text is not of this source's syntax. Throws a usage error if it is, and is wrong. Does no I/O. */
  parse(text: string): Reference | undefined;
  /** As messages show it: without credentials. */
  format(reference: Reference): string;
  /** A word or two that tell its progress bar from those of other images. */
  shortName(reference: Reference): string;
  /**
   * The images of the store that the reference means, best first: for commands that never import. Throws if the
   * reference can mean none.
   */
  stored(reference: Reference, store: FetchStore): StoredImage[];
  /** The image, if it can be had without the network and without verifying a signature; it may be imported for that. */
  find(reference: Reference, request: FindRequest): Promise<StoredImage | undefined>;
  /** Brings the image into the store. What it depends on is the caller's to fetch, afterwards. */
  fetch(reference: Reference, request: SourceRequest, context: FetchContext): Promise<StoredImage>;
}

/**
 * "store": the source finds images, and brings none in. "host": an image can be read again at any time, so that it is
 * released only together with what it depends on. "network": what was downloaded stays, whatever else fails.
 */
export type Origin = "store" | "host" | "network";

export interface FindRequest {
  store: FetchStore;
  pullPolicy: PullPolicy;
  insecure: ReadonlySet<InsecureOption>;
  /** File of the image's signature, which the person named. */
  signature: string | undefined;
  /** Of an image of several platforms, the one that is meant. */
  platform: Platform;
  /** The least provenance of an image that is found by its name. */
  least: Provenance;
}

export interface SourceRequest {
  /** File of the image's signature, in place of the one beside the image. */
  signature: string | undefined;
  /** Of the progress bar. */
  label: string;
}

/** The last part of a path or a name. */
export const lastPart = (path: string): string => path.split("/").at(-1) || path;
