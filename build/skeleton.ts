/** The common parts of all root file systems that we build. */

import { addDirectory, addSymlink, type Tree } from "../shared/aci/tree.ts";
import { USR_MERGED } from "./debian.ts";

const DIRECTORIES: Readonly<Record<string, number>> = {
  dev: 0o755,
  etc: 0o755,
  proc: 0o555,
  root: 0o700,
  run: 0o755,
  sys: 0o555,
  tmp: 0o1777,
  "usr/bin": 0o755,
  "usr/lib": 0o755,
  "usr/lib64": 0o755,
  "usr/sbin": 0o755,
  "var/tmp": 0o1777,
};

/** An empty usr-merged root: the directories that programs and mounts expect. */
export function skeleton(): Tree {
  const tree: Tree = new Map();
  for (const [path, mode] of Object.entries(DIRECTORIES)) addDirectory(tree, path, mode);
  for (const name of USR_MERGED) addSymlink(tree, name, `usr/${name}`);
  return tree;
}

/** Adds one tree to another. A directory that exists already keeps its attributes. */
export function overlay(tree: Tree, over: Tree): void {
  for (const [path, entry] of over)
    if (path !== "" && !(entry.type === "directory" && tree.get(path)?.type === "directory")) tree.set(path, entry);
}
