/**
 * Builds an image from a recipe: programs from Debian packages, the libraries that they need, and a few further files.
 */

import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { addDirectory, addFile, addSymlink } from "../shared/aci/tree.ts";
import { sourceDateEpoch, type WrittenAci, writeAci } from "../shared/aci/writer.ts";
import { APPC_VERSION, formatImageManifest, parseImageManifest } from "../shared/schema/image-manifest.ts";
import { closure } from "./closure.ts";
import type { Loader, Package } from "./debian.ts";
import { ROOT } from "./paths.ts";
import { overlay, skeleton } from "./skeleton.ts";

interface Owner {
  mode?: number;
  uid?: number;
  gid?: number;
}

export interface Recipe {
  /** Name of the image (appc spec, aci.md). */
  name: string;
  /** The package whose upstream version becomes the label "version". */
  versionOf: string;
  /** The manifest's app section; a stage1 image has none. */
  app?: object;
  /** The manifest's annotations: key to value. */
  annotations?: Readonly<Record<string, string>>;
  /** Files, by Debian package. Their libraries are added. */
  packages: Readonly<Record<string, readonly string[]>>;
  directories?: Readonly<Record<string, Owner>>;
  files?: Readonly<Record<string, Owner & { text: string }>>;
  /** Symbolic links: path to target. */
  links?: Readonly<Record<string, string>>;
}

export interface BuiltImage extends WrittenAci {
  /** The Debian packages of its files. */
  packages: readonly Package[];
}

const EXAMPLES = join(ROOT, "examples");

/** The folders of examples/ that describe an image. */
export function exampleNames(): string[] {
  return readdirSync(EXAMPLES)
    .filter((name) => existsSync(recipePath(name)))
    .sort();
}

export function recipePath(example: string): string {
  return join(EXAMPLES, example, "image.ts");
}

/** The files that make an example. */
export function recipeFiles(example: string): string[] {
  const directory = dirname(recipePath(example));
  return readdirSync(directory)
    .sort()
    .map((name) => join(directory, name));
}

export async function loadRecipe(example: string): Promise<Recipe> {
  const module = (await import(pathToFileURL(recipePath(example)).href)) as { default: Recipe };
  return module.default;
}

export async function buildRecipe(recipe: Recipe, output: string, load: Loader): Promise<BuiltImage> {
  const picked = await closure({ load, wanted: new Map(Object.entries(recipe.packages)) });
  const tree = skeleton();
  overlay(tree, picked.tree);
  for (const [path, { mode, uid, gid }] of Object.entries(recipe.directories ?? {}))
    addDirectory(tree, path, mode, uid, gid);
  for (const [path, { text, mode, uid, gid }] of Object.entries(recipe.files ?? {}))
    addFile(tree, path, text, mode, uid, gid);
  for (const [path, target] of Object.entries(recipe.links ?? {})) addSymlink(tree, path, target);

  const version = picked.packages.find((p) => p.name === recipe.versionOf)?.version;
  if (version === undefined) throw new Error(`recipe ${recipe.name}: no file is taken from ${recipe.versionOf}`);
  const manifest = manifestText(recipe, upstreamVersion(version));
  const written = await writeAci(output, { manifest, rootfs: tree, mtime: sourceDateEpoch() });
  return { ...written, packages: picked.packages };
}

function manifestText(recipe: Recipe, version: string): string {
  const manifest = {
    acKind: "ImageManifest",
    acVersion: APPC_VERSION,
    name: recipe.name,
    labels: [
      { name: "version", value: version },
      { name: "os", value: "linux" },
      { name: "arch", value: "amd64" },
    ],
    annotations: Object.entries(recipe.annotations ?? {}).map(([key, value]) => ({ name: key, value })),
    app: recipe.app,
  };
  return formatImageManifest(parseImageManifest(JSON.stringify(manifest), { object: `manifest of ${recipe.name}` }));
}

/** `5:7.0.15-1~deb12u10` is 7.0.15 (deb-version(7)). */
export function upstreamVersion(version: string): string {
  return version.replace(/^\d+:/, "").replace(/-[^-]*$/, "");
}
