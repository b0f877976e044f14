/**
 * OCI images into the store (ADR 11): what a source gives, and what the store
 * makes of it. A source brings the bytes of the manifest, of the configuration
 * and of the layers that the store lacks, in any order and several at once. The
 * store checks every digest and size while the bytes come, and writes and
 * extracts each layer in the same pass. Nothing counts before `commit`.
 */

import type { ImageID, ImageManifest } from "../../shared/schema/types.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { StoredImage } from "./index-images.ts";
import type { RemoteRecord } from "./index-remotes.ts";

export type { Descriptor } from "../oci/descriptor.ts";

/** One image of one platform, as its source has it. */
export interface OciDocuments {
  /** App Container name of the image: `docker.io/library/nginx`. */
  name: string;
  /** What the person's reference became, for an annotation: `docker://docker.io/library/nginx:1.25`. */
  reference: string;
  /** An OCI image manifest or a Docker manifest of schema 2, byte for byte. */
  manifest: Uint8Array;
  /** The image configuration that the manifest names, byte for byte. */
  config: Uint8Array;
}

export interface OciImports {
  /** Begins the import of an OCI image; errors call it by `shown`. */
  beginOci(shown: string): PendingOciImage;
  /** The person has given the image's file once more. */
  vouchAsFile(image: StoredImage): StoredImage;
}

/** "file": it is a local file's image. "digest": the person has typed its digest. */
export type VouchedBy = "file" | "digest";

export interface PendingOciImage {
  /** Checks the documents, maps the configuration, and says which layers there are, lowest first. */
  describe(documents: OciDocuments): Promise<readonly OciLayer[]>;
  /** All layers are there: says what the image is. */
  finish(): Promise<{ id: ImageID; key: string; manifest: ImageManifest; size: number }>;
  /**
   * Puts the image and its layers into the store, or holds them, and records where it came from. Unless `by` says
   * otherwise, the signature of `remote` vouches for it, or nobody.
   */
  commit(remote?: RemoteRecord, by?: VouchedBy): Promise<StoredImage>;
  /** Leaves nothing behind; layers that other images have stay. */
  abort(): Promise<void>;
}

export interface OciLayer {
  descriptor: Descriptor;
  /** Of the uncompressed archive: `sha256:` and 64 hex digits. */
  diffId: string;
  /** The store has the layer, and so its bytes are not asked for. */
  present: boolean;
  /** The bytes come now, from the first one. May be called again after `abort`. Several layers at once are right. */
  begin(): PendingLayer;
}

export interface PendingLayer {
  /** Resolves when the chunk may be reused. */
  write(chunk: Uint8Array): Promise<void>;
  /** All bytes were written: checks size, digest and diff ID. */
  finish(): Promise<void>;
  abort(): Promise<void>;
}
