/** What the modules of a fetch share: their tools, and what the person who asks allows. */

import type { InsecureOption } from "../config/insecure-options.ts";
import type { Platform } from "../oci/platform.ts";
import type { ImageImports, Remotes } from "../store/image-imports.ts";
import type { ImageLookup } from "../store/image-lookup.ts";
import type { ManifestReader } from "../store/manifest-reader.ts";
import { leastProvenance, type Provenance } from "../store/provenance.ts";
import type { HttpClient } from "./http.ts";
import type { RegistryAccess } from "./registry-access.ts";
import type { Reporter } from "../terminal/progress.ts";
import type { SignatureCheck, Verdict } from "../trust/signature-check.ts";

/** "never": the store only. "new": the network for what the store has not. "update": ask whether there is something newer. */
export type PullPolicy = "never" | "new" | "update";

export interface FetchContext {
  store: FetchStore;
  http: HttpClient;
  /** "image" does without signatures; "tls" and "http" are the client's too. */
  insecure: ReadonlySet<InsecureOption>;
  pullPolicy: PullPolicy;
  /** The least provenance of an image that is found by its name; undefined: as `insecure` has it. */
  least?: Provenance;
  reporter: Reporter;
  /** What the configuration says of registries; read when one is asked. */
  registries(): Promise<RegistryAccess>;
  /** For which images of several platforms are taken; undefined: this machine's. */
  platform?: Platform | undefined;
  /** A check of one image's signature, fed with the file as downloaded. */
  beginVerification(): SignatureCheck;
  /** Judges one signature of a document, by keys without an owner (cosign). */
  verifyKeyPair(document: Uint8Array, signature: Uint8Array, imageName: string): Verdict;
  /** Ends the fetch with its reason; nothing is left behind. */
  signal?: AbortSignal | undefined;
  /** Port of the hosts that discovery asks; undefined: the scheme's own. */
  discoveryPort?: number;
}

/** The store as a fetch uses it. */
export interface FetchStore extends ImageLookup, ImageImports, Remotes, Pick<ManifestReader, "manifest" | "sha256"> {}

export const leastOf = ({ least, insecure }: FetchContext): Provenance => least ?? leastProvenance(insecure);

/** The same context, in which signatures are checked even if `--insecure-options=image` turns that off. */
export const verifying = (context: FetchContext): FetchContext => ({
  ...context,
  insecure: new Set([...context.insecure].filter((option) => option !== "image")),
});
