/**
 * Which names an entry may have. Names are bytes, kept as latin1 strings: one
 * character a byte, so that any file name survives.
 */

import { tarError } from "./tar-error.ts";

/** Linux refuses longer paths (PATH_MAX), and no header may make us hold more. */
export const MAX_PATH = 4096;
/** NAME_MAX of Linux's file systems. */
const MAX_NAME = 255;

/** A name for a message: its bytes as UTF-8 where they are. */
export const shownPath = (path: string): string => Buffer.from(path, "latin1").toString("utf8");

/**
 * The path without empty and "." components, and without a slash at its end;
 * "" is the root. A name that is absolute, leaves the root, or hides a byte
 * behind NUL is an error, and so is one with more than `maxDepth` components.
 * `fromRoot`: an absolute name is one from the archive's root.
 */
export function entryPath(name: string, maxDepth: number, fromRoot = false): string {
  const shown = () => JSON.stringify(shownPath(name.slice(0, 200)));
  if (name.length > MAX_PATH) throw tarError(`a name is ${name.length} bytes long: ${shown()}…`);
  if (name.includes("\0")) throw tarError(`the name ${shown()} contains NUL`);
  if (name.startsWith("/") && !fromRoot) throw tarError(`the name ${shown()} is absolute`);
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw tarError(`the name ${shown()} has a component ".."`);
  if (parts.length > maxDepth) throw tarError(`the name ${shown()} has more than ${maxDepth} components`);
  for (const part of parts)
    if (part.length > MAX_NAME) throw tarError(`the name ${shown()} has a component of ${part.length} bytes`);
  return parts.join("/");
}
