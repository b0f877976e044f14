/**
 * What a rendered tree is on disk: a directory, or a stack of extracted layers
 * (ADR 11). Each start reads it, so nothing is loaded here that is not needed
 * to mount.
 */

import { existsSync, readFileSync } from "node:fs";
import { errorCode, RktError } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";

export interface TreeManifest {
  format: string;
  /** Keys of the images that the tree was made of, lowest first. */
  images: string[];
  /** Of a stack: names of its extracted layers, lowest first. */
  layers?: string[] | undefined;
}

/** Undefined if `id` is no tree. */
export function readTreeManifest(layout: DataLayout, id: string): TreeManifest | undefined {
  try {
    return JSON.parse(readFileSync(layout.treeManifest(id), "utf8")) as TreeManifest;
  } catch (error) {
    if (errorCode(error) === "ENOENT" || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** The directories that a tree's files are in, lowest first: one, or those of its layers. */
export function treeDirectories(layout: DataLayout, id: string): HostPath[] {
  const layers = readTreeManifest(layout, id)?.layers;
  return layers === undefined ? [layout.treeRootfs(id)] : layers.map((layer) => layout.layerRootfs(layer));
}

/**
 * A descriptor of a rendered tree's root directory; whoever closes it lets go of what was mounted for it. Throws
 * "no-such-image" when the tree is not whole.
 */
export async function openTree(layout: DataLayout, id: string): Promise<number> {
  const directories = treeDirectories(layout, id);
  const missing = directories.find((path) => !existsSync(path));
  if (missing !== undefined)
    throw new RktError("damaged-image", `the rendered image ${id} is damaged: ${missing} is not there`, {
      hint: "`rkt image gc --grace-period=0` removes what is rendered; it is made again when it is needed",
    });
  const { overlay } = await import("./overlay.ts");
  return overlay(layout, directories);
}
