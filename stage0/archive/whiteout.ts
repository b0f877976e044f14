/**
 * The names by which a layer says that something of the layers below is not
 * there (image-spec, layer.md, "Whiteouts"). Pure.
 */

import { shownPath } from "./entry-path.ts";
import type { TarEntry } from "./tar-entry.ts";
import { tarError } from "./tar-error.ts";

/** "hidden": what is at `path`; "opaque": all that is in the directory `path`; "nothing": a file of AUFS's own, which means nothing. */
export interface Whiteout {
  kind: "hidden" | "opaque" | "nothing";
  path: string;
}

const PREFIX = ".wh.";
const OPAQUE = ".wh..wh..opq";
/** What AUFS kept in a branch beside the files; Docker once stored such branches. */
const OF_AUFS = [".wh..wh.aufs", ".wh..wh.orph", ".wh..wh.plnk"];

/** Undefined for an entry that is none; throws for a name that begins like one and is none. */
export function whiteoutOf({ type, path }: TarEntry): Whiteout | undefined {
  if (!path.includes(PREFIX)) return undefined;
  const parts = path.split("/");
  const at = parts.findIndex((part) => part.startsWith(PREFIX));
  const name = parts[at];
  if (name === undefined) return undefined;
  const parent = parts.slice(0, at).join("/");
  if (OF_AUFS.includes(name)) return { kind: "nothing", path };
  const fail = (why: string) => tarError(`/${shownPath(path)}: ${why}`, "names that begin with .wh. are whiteouts");
  if (at < parts.length - 1) throw fail("a whiteout is no directory");
  // AUFS's were hard links to one file.
  if (type !== "file" && type !== "link") throw fail(`a whiteout is an empty file, and no ${type}`);
  if (name === OPAQUE) return { kind: "opaque", path: parent };
  const hidden = name.slice(PREFIX.length);
  if (["", ".", ".."].includes(hidden) || hidden.startsWith(PREFIX)) throw fail("it names nothing that can be removed");
  return { kind: "hidden", path: parent === "" ? hidden : `${parent}/${hidden}` };
}
