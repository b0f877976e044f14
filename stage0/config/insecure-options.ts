/** The checks that a person may turn off by name (`--insecure-options`). */

import { PROTECTIONS } from "../../shared/contract/annotations.ts";

export const INSECURE = ["image", "tls", "http", "pubkey", "ondisk", ...PROTECTIONS] as const;
/** A check that `--insecure-options` turns off. */
export type InsecureOption = (typeof INSECURE)[number];

/** Several checks by one name. */
export const INSECURE_GROUPS: Readonly<Record<string, readonly InsecureOption[]>> = {
  none: [],
  "all-fetch": ["image", "tls", "http"],
  "all-run": PROTECTIONS,
  all: INSECURE,
};
