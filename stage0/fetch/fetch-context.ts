/** What the modules of a fetch share: who does what for them, what the person allows, and what was asked for. */

import type { ImageID, NameValue } from "../../shared/schema/types.ts";
import type { InsecureOption } from "../config/insecure-options.ts";
import type { Provenance } from "../store/provenance.ts";
import type { Store } from "../store/store.ts";
import type { HttpClient } from "./http.ts";
import { hasID, type ImageName, mismatch } from "../store/image-name.ts";
import type { Reporter } from "../terminal/progress.ts";
import type { SignatureCheck } from "../trust/signature-check.ts";

/** "never": the store only. "new": the network for what the store has not. "update": ask whether there is something newer. */
export type PullPolicy = "never" | "new" | "update";

export interface FetchContext {
  store: FetchStore;
  http: HttpClient;
  /** "image" does without signatures; "tls" and "http" are the client's too. */
  insecure: ReadonlySet<InsecureOption>;
  pullPolicy: PullPolicy;
  /** What counts by its name in the store, for an image or what it depends on; as `insecure` has it unless told. */
  least?: Provenance;
  reporter: Reporter;
  /** A check of one image's signature, fed with the file as downloaded. */
  beginVerification(): SignatureCheck;
  /** Ends the fetch with its reason; nothing is left behind. */
  signal?: AbortSignal | undefined;
  /** Port of the hosts that discovery asks; the scheme's own unless told. */
  discoveryPort?: number;
}

/** The store as a fetch uses it. */
export type FetchStore = Pick<
  Store,
  "importFile" | "stage" | "sha256" | "release" | "resolve" | "list" | "manifest" | "remote" | "updateRemote"
>;

/** What an image must be to be the one that was asked for. */
export interface Expectation {
  asked?: ImageName | undefined;
  /** Of either type (`Dependency.imageID`). */
  id?: string | undefined;
  /** Bytes of the file. */
  size?: number | undefined;
}

/** Why an image is not the expected one; undefined when it is. */
export function unexpected(
  image: { id: ImageID; name: string; labels: NameValue[] },
  expected: Expectation,
  sha256: () => string,
): string | undefined {
  const { id, asked } = expected;
  const wrong = asked === undefined ? undefined : mismatch(image, asked);
  // Of an image of another name nothing needs to be hashed.
  if (id === undefined || (wrong !== undefined && id.startsWith("sha256-"))) return wrong;
  return hasID(image.id, id, sha256) ? wrong : `its ID is ${id.startsWith("sha256-") ? sha256() : image.id}`;
}
