/** Who vouches for an image's name: a look-up by name goes by this (best-image.ts, docs/use/trust.md). */

import type { InsecureOption } from "../config/insecure-options.ts";

/**
 * Each is better than the one before. "none": anybody may have made the image. "given": the operator typed its digest, or gave its file to
 * `rkt fetch`. "verified": a key that is trusted for the name has signed the image.
 */
export const PROVENANCES = ["none", "given", "verified"] as const;
export type Provenance = (typeof PROVENANCES)[number];

export const rank = (provenance: Provenance): number => PROVENANCES.indexOf(provenance);

/** The least provenance by which the image of an app, or of what it depends on, is found by its name. */
export const leastProvenance = (insecure: ReadonlySet<InsecureOption>): Provenance =>
  insecure.has("image") ? "none" : "given";

/** The same of a stage1 image, whatever `--insecure-options` turns off for apps: a stage1 is root on the host. */
export const STAGE1_PROVENANCE: Provenance = "verified";
