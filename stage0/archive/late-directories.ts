/**
 * The directories of an image, whose metadata is set at the end: writing into
 * a directory changes its times, and one that is read-only takes no files.
 */

import type { Metadata } from "./metadata.ts";
import { tarError } from "./tar-error.ts";

/** All directories are held until the end, and one entry can bring 512 of them: a bound for the whole image. */
const MAX_BYTES = 96 * 1024 ** 2;

export class LateDirectories {
  readonly #directories = new Map<string, Metadata>();
  /** Of names and attributes. */
  #bytes = 0;

  /** Notes what a directory is to have; a later note replaces an earlier one. */
  note(path: string, { uid, gid, mode, mtime, xattrs }: Metadata): void {
    this.forget(path);
    this.#bytes += path.length + xattrBytes(xattrs);
    if (this.#bytes > MAX_BYTES)
      throw tarError(`its directories' names and attributes are longer than ${MAX_BYTES} bytes in all`);
    this.#directories.set(path, { uid, gid, mode, mtime, xattrs });
  }

  has(path: string): boolean {
    return this.#directories.has(path);
  }

  /** Another kind of file takes its place. */
  forget(path: string): void {
    const noted = this.#directories.get(path);
    if (noted === undefined) return;
    this.#bytes -= path.length + xattrBytes(noted.xattrs);
    this.#directories.delete(path);
  }

  /** The deepest first: setting what is below a directory does not change its times any more. */
  deepestFirst(): [path: string, metadata: Metadata][] {
    return [...this.#directories].sort(([a], [b]) => (a < b ? 1 : -1));
  }
}

/** Of names and values. */
export function xattrBytes(xattrs: Metadata["xattrs"]): number {
  let bytes = 0;
  for (const [name, value] of xattrs) bytes += name.length + value.length;
  return bytes;
}
