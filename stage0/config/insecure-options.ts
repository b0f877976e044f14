/** The checks that the user may switch off by name (`--insecure-options`). */

import { PROTECTIONS } from "../../shared/contract/annotations.ts";

export const INSECURE = ["image", "tls", "http", "pubkey", "ondisk", ...PROTECTIONS] as const;
export type InsecureOption = (typeof INSECURE)[number];

/** Names that stand for several checks. */
export const INSECURE_GROUPS: Readonly<Record<string, readonly InsecureOption[]>> = {
  none: [],
  "all-fetch": ["image", "tls", "http"],
  "all-run": PROTECTIONS,
  all: INSECURE,
};
