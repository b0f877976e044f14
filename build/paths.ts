/** The directories of the build. */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The project's directory. */
export const ROOT = dirname(import.meta.dirname);
/** The outputs of a build. */
export const DIST = join(ROOT, "dist");
/** Downloads and intermediate files, which are kept between builds. */
export const CACHE = join(ROOT, ".cache");

const packageJson = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  version: string;
  devDependencies: Record<string, string>;
};

export const VERSION = packageJson.version;
/** The package with the runtime that executables carry. */
export const RUNTIME_PACKAGE = "@oven/bun-linux-x64";
export const RUNTIME_VERSION = packageJson.devDependencies[RUNTIME_PACKAGE] ?? "";
