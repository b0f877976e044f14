/**
 * Makes a layer that was extracted alone (`LayerAlone`) what it is on top of
 * the layers below: directories without an entry get the metadata that they
 * have there, and a whiteout of nothing goes, because overlayfs would show it
 * where it merges no directory.
 */

import { lstatSync } from "node:fs";
import { AT_FDCWD, unlinkat, utimensat } from "../../shared/syscall/file.ts";
import { BelowRoot, nameBytes, splitPath } from "./below-root.ts";
import { xattrBytes } from "./late-directories.ts";
import { kindOf, type LayerNotes, openIfDirectory, type TakeMore } from "./layer.ts";
import { readDirectoryMetadata, setDirectoryMetadata } from "./metadata.ts";

/**
 * `lower` is a directory with all layers below, undefined where there are none. `takes` is told of attributes that come from
 * there. Answers false if the layer has to be extracted again, over them.
 */
export function completeLayer(root: string, notes: LayerNotes, lower: string | undefined, takes: TakeMore): boolean {
  if (notes.again) return false;
  const own = new BelowRoot(root);
  const below = lower === undefined ? undefined : new BelowRoot(lower);
  try {
    // A directory that leads elsewhere in the finished image: what is in it belongs there.
    if (below !== undefined && notes.entered.some((path) => kindOf(below, path) === "link")) return false;
    for (const path of notes.whiteouts) if (!merges(notes, path, below)) removeWhiteout(own, path);
    if (below !== undefined)
      // The deepest first: what is done in a directory changes its times.
      for (const path of notes.implied.toReversed()) if (shows(notes, path)) takeMetadata(own, below, path, takes);
    return true;
  } finally {
    own.close();
    below?.close();
  }
}

/** Whether what is below is seen at the path: no directory above is opaque. */
function shows({ opaque }: LayerNotes, path: string): boolean {
  if (opaque.has("")) return false;
  for (let [at] = splitPath(path); at !== ""; [at] = splitPath(at)) if (opaque.has(at)) return false;
  return true;
}

function merges(notes: LayerNotes, path: string, below: BelowRoot | undefined): boolean {
  const [parent] = splitPath(path);
  return below !== undefined && shows(notes, path) && (parent === "" || kindOf(below, parent) === "directory");
}

function removeWhiteout(own: BelowRoot, path: string): void {
  const [parent, name] = splitPath(path);
  const directory = openIfDirectory(own, parent);
  // A later entry has taken the directory's place.
  if (directory === undefined) return;
  try {
    const self = `/proc/self/fd/${directory}/.`;
    const { mtimeNs } = lstatSync(self, { bigint: true });
    unlinkat(directory, nameBytes(name));
    utimensat(AT_FDCWD, self, mtimeNs, mtimeNs);
  } finally {
    own.closeDirectory(directory);
  }
}

function takeMetadata(own: BelowRoot, below: BelowRoot, path: string, takes: TakeMore): void {
  const from = openIfDirectory(below, path);
  if (from === undefined) return;
  try {
    const to = openIfDirectory(own, path);
    if (to === undefined) return;
    const metadata = readDirectoryMetadata(from);
    takes(0, xattrBytes(metadata.xattrs));
    setDirectoryMetadata(to, metadata);
    own.closeDirectory(to);
  } finally {
    below.closeDirectory(from);
  }
}
