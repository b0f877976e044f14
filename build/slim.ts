/**
 * esbuild plugins that keep what a bundle does not need out of it. Each says
 * what it replaces and why that is safe.
 */

import type { Plugin } from "esbuild";

/** Applied to the `rkt` bundle, in order. */
export const SLIM: Plugin[] = [];
