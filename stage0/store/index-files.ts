/** The index's rows of local files: a file that was imported, and has not changed since, costs a stat. */

import { type BigIntStats, statSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import type { IndexDb } from "./index-db.ts";

/** Tells one state of a file from another: nobody can write to the file and leave all of these as they were. */
export type FileIdentity = readonly [device: bigint, inode: bigint, size: bigint, mtime: bigint, ctime: bigint];

/** A file, and the key of the image in it. */
export interface FileRecord {
  file: FileIdentity;
  key: string;
}

/** The identity of a regular file that somebody has named as an image. */
export function fileIdentity(path: string): FileIdentity {
  let stat: BigIntStats;
  try {
    stat = statSync(path, { bigint: true });
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENOTDIR")
      throw new RktError("no-such-file", `there is no file ${path}`, {
        hint: "an image is a file, a hash, a URL or a name",
      });
    throw new RktError("import-failed", `cannot read ${path}: ${errorText(error)}`, { cause: error });
  }
  if (!stat.isFile()) throw new RktError("not-an-image", `${path} is not a regular file`);
  return [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs];
}

export const sameFile = (a: FileIdentity, b: FileIdentity): boolean => a.every((value, i) => value === b[i]);

/** The key of the image that the file holds. */
export function findFile(index: IndexDb, file: FileIdentity): string | undefined {
  const row = index.get(
    "SELECT key FROM files WHERE device = ? AND inode = ? AND size = ? AND mtime = ? AND ctime = ?",
    ...file,
  );
  return row === undefined ? undefined : String(row["key"]);
}

/** Replaces the record of an earlier state of the file. */
export const saveFile = (index: IndexDb, { file, key }: FileRecord): void =>
  index.run("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?)", ...file, key);

export const deleteFilesOf = (index: IndexDb, key: string): void => index.run("DELETE FROM files WHERE key = ?", key);
