/**
 * The file `trees` of a container directory: which rendered trees of the store its file systems use. Stage 0 reads it,
 * also after the container has ended. Pure.
 */

import { RktError } from "../errors.ts";

export interface TreesFile {
  /** false: the container has copies of the trees. */
  overlay: boolean;
  /** The mounts are mapped to the container's own users (ADR 6). */
  privateUsers?: true;
  stage1: RenderedTree;
  /** By app name. */
  apps: Record<string, RenderedTree & { dir: string }>;
}

export interface RenderedTree {
  /** ID of the image. */
  image: string;
  /** ID of the rendered tree in the store. */
  tree: string;
}

export const formatTrees = (trees: TreesFile): string => `${JSON.stringify(trees)}\n`;

/** Parses the file. Throws "damaged-container". Each name becomes a part of a path, so it may not be a path itself. */
export function parseTrees(text: string): TreesFile {
  const file = record(parse(text), "it");
  const apps: TreesFile["apps"] = Object.create(null);
  for (const [name, app] of Object.entries(record(file["apps"], "apps")))
    apps[name] = { ...rendered(app, name), dir: pathPart(record(app, name)["dir"], `${name}.dir`) };
  return {
    overlay: flag(file["overlay"], "overlay"),
    ...(file["privateUsers"] === undefined || !flag(file["privateUsers"], "privateUsers") ? {} : { privateUsers: true }),
    stage1: rendered(file["stage1"], "stage1"),
    apps,
  };
}

function rendered(value: unknown, what: string): RenderedTree {
  const { image, tree } = record(value, what);
  return { image: pathPart(image, `${what}.image`), tree: pathPart(tree, `${what}.tree`) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw damaged("it is not JSON");
  }
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw damaged(`${what} is not an object`);
  return value as Record<string, unknown>;
}

function flag(value: unknown, what: string): boolean {
  if (typeof value !== "boolean") throw damaged(`${what} is neither true nor false`);
  return value;
}

function pathPart(value: unknown, what: string): string {
  if (typeof value !== "string" || !/^[\w-][\w.-]*$/.test(value)) throw damaged(`${what} is not a name`);
  return value;
}

const damaged = (what: string): RktError => new RktError("damaged-container", `the container's list of trees: ${what}`);
