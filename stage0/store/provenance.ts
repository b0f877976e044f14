/** Whose word it is that an image has the name it says: what a look-up by name goes by (docs/use/trust.md). */

import type { InsecureOption } from "../config/insecure-options.ts";

/**
 * Each counts for more than the one before. "none": anybody may have made it. "given": the operator handed the file to
 * `rkt fetch`. "verified": a key that is trusted for the name has signed it.
 */
export const PROVENANCES = ["none", "given", "verified"] as const;
export type Provenance = (typeof PROVENANCES)[number];

export const rank = (provenance: Provenance): number => PROVENANCES.indexOf(provenance);

/** What an app, or what it depends on, must have to be found by its name. */
export const leastProvenance = (insecure: ReadonlySet<InsecureOption>): Provenance =>
  insecure.has("image") ? "none" : "given";

/** A stage1 is root on the host: whatever is turned off for apps, only this counts for its name and what it depends on. */
export const STAGE1_PROVENANCE: Provenance = "verified";

/** Of images with the name in question, the one it stands for: the best vouched for, of those the one that came last. */
export function bestOf<T extends { provenance: Provenance; importedAt: number }>(
  images: readonly T[],
  least: Provenance,
): T | undefined {
  return images
    .filter(({ provenance }) => rank(provenance) >= rank(least))
    .sort((a, b) => rank(b.provenance) - rank(a.provenance) || b.importedAt - a.importedAt)[0];
}

/** The way to an image that has the name and does not count. */
export const passedOverHint = (shortId: string, least: Provenance): string =>
  `${shortId} has that name, but no trusted key has signed it: give its hash${least === "verified" ? " or its file" : ", or --insecure-options=image"}`;
