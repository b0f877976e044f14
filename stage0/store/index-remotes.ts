/** The index's rows of what was downloaded: which image each URL had, and for how long that holds. */

import type { IndexDb } from "./index-db.ts";

export interface RemoteRecord {
  url: string;
  /** Of the image. */
  key: string;
  /** Of the signature that was verified; undefined: the image came unverified. */
  signatureUrl?: string | undefined;
  etag?: string | undefined;
  /** HTTP date. */
  lastModified?: string | undefined;
  /** Seconds. */
  maxAge?: number | undefined;
  /** Milliseconds. */
  downloadedAt: number;
}

export function findRemote(index: IndexDb, url: string): RemoteRecord | undefined {
  const row = index.get("SELECT * FROM remotes WHERE url = ?", url);
  if (row === undefined) return undefined;
  return {
    url,
    key: String(row["key"]),
    signatureUrl: text(row["signature_url"]),
    etag: text(row["etag"]),
    lastModified: text(row["last_modified"]),
    maxAge: row["max_age"] === null ? undefined : Number(row["max_age"]),
    downloadedAt: Number(row["downloaded_at"]),
  };
}

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

/** Replaces the record of the same URL. */
export const saveRemote = (index: IndexDb, record: RemoteRecord): void =>
  index.run(
    "INSERT OR REPLACE INTO remotes VALUES (?,?,?,?,?,?,?)",
    record.url,
    record.key,
    record.signatureUrl ?? null,
    record.etag ?? null,
    record.lastModified ?? null,
    record.maxAge ?? null,
    record.downloadedAt,
  );

export const deleteRemotesOf = (index: IndexDb, key: string): void =>
  index.run("DELETE FROM remotes WHERE key = ?", key);
