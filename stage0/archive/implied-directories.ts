/** Counts the directories that extraction makes although the archive has no entry for them. */

import { PathSet } from "./path-set.ts";
import type { TarEntry } from "./tar-entry.ts";
import { tarError } from "./tar-error.ts";

/** What a directory takes on most file systems; one that an archive only implies takes nothing in it. */
export const DIRECTORY_SIZE = 4096;

const above = (path: string): string => path.slice(0, Math.max(path.lastIndexOf("/"), 0));

export class ImpliedDirectories {
  /** Directories that have entries, and those that are implied. */
  readonly #directories = new PathSet();
  /** Where the last entry was. */
  #parent = "";
  readonly #limit: number;
  #entries = 0;
  /** At most one for each path: those for which no entry had come before a file in them. */
  count = 0;

  /** `limit`: of entries and implied directories together. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  add({ path, type }: Pick<TarEntry, "path" | "type">): void {
    this.#entries++;
    const parent = above(path);
    if (parent !== this.#parent)
      for (let at = parent; at !== "" && this.#directories.add(at); at = above(at)) this.count++;
    this.#parent = parent;
    if (type === "directory") this.#directories.add(path);
    if (this.#entries + this.count > this.#limit)
      throw tarError(`it has more than ${this.#limit} entries and directories without one`);
  }
}
