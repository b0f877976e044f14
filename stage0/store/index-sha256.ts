/**
 * The index's table of SHA-256 hashes, in hex digits: what an image's ID was
 * before version 0.2.0 of the specification. The table is not in the schema,
 * because few images need it: it is made when it is first asked for. A row
 * stays when its image is removed, for it is true of the key for ever.
 */

import type { IndexDb } from "./index-db.ts";

export function findSha256(index: IndexDb, key: string): string | undefined {
  index.run("CREATE TABLE IF NOT EXISTS sha256 (key TEXT PRIMARY KEY, hash TEXT NOT NULL) STRICT");
  const row = index.get("SELECT hash FROM sha256 WHERE key = ?", key);
  return row === undefined ? undefined : String(row["hash"]);
}

/** After `findSha256`, which makes the table. */
export const saveSha256 = (index: IndexDb, key: string, hash: string): void =>
  index.run("INSERT OR REPLACE INTO sha256 VALUES (?,?)", key, hash);
