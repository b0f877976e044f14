/** The index's rows of images, and the texts of their manifests. */

import { label } from "../../shared/schema/image-manifest.ts";
import type { ImageID, NameValue } from "../../shared/schema/types.ts";
import type { ImportedBlob } from "./blob-import.ts";
import type { IndexDb, Row } from "./index-db.ts";
import type { LayerRef, OciContent } from "./oci-content.ts";
import { PROVENANCES, type Provenance, rank } from "./provenance.ts";

export interface StoredImage {
  /** `sha512-` and 128 hex digits. */
  id: ImageID;
  /** `sha512-` and 64 hex digits: the blob's name. */
  key: string;
  name: string;
  labels: NameValue[];
  /** Bytes of the blob. */
  size: number;
  /** Milliseconds since the epoch. */
  importedAt: number;
  lastUsedAt: number;
  provenance: Provenance;
  /** Of an OCI image's manifest, as registries know it: `sha256:` and 64 hex digits. */
  digest?: string | undefined;
}

export function imageByKey(index: IndexDb, key: string): StoredImage | undefined {
  const row = index.get("SELECT * FROM images WHERE key = ?", key);
  return row === undefined ? undefined : imageOf(row);
}

/** The images whose key begins with `prefix`, by key. */
export const imagesByPrefix = (index: IndexDb, prefix: string): StoredImage[] =>
  // "g" comes after the last hex digit.
  index.all("SELECT * FROM images WHERE key >= ? AND key < ? ORDER BY key", prefix, `${prefix}g`).map(imageOf);

/** The images of this very name, by key. */
export const imagesByName = (index: IndexDb, name: string): StoredImage[] =>
  index.all("SELECT * FROM images WHERE name = ? ORDER BY key", name).map(imageOf);

/** The images whose manifest has this digest, the one that came last first. */
export const imagesByDigest = (index: IndexDb, digest: string): StoredImage[] =>
  index.all("SELECT * FROM images WHERE digest = ? ORDER BY imported_at DESC, key", digest).map(imageOf);

/** All images, by name and key. */
export const allImages = (index: IndexDb): StoredImage[] =>
  index.all("SELECT * FROM images ORDER BY name, key").map(imageOf);

export const imageKeys = (index: IndexDb): string[] =>
  index.all("SELECT key FROM images").map((row) => String(row["key"]));

export function manifestTextByKey(index: IndexDb, key: string): string | undefined {
  const row = index.get("SELECT text FROM manifests WHERE key = ?", key);
  return row === undefined ? undefined : String(row["text"]);
}

/** Adds an image, or marks one that is there as used now. Call it inside a transaction. */
export function insertImage(index: IndexDb, blob: ImportedBlob, provenance: Provenance): void {
  const { key, id, manifest, manifestText, size, oci } = blob;
  const now = Date.now();
  index.run(
    `INSERT INTO images VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (key) DO UPDATE
      SET used_at = excluded.used_at, provenance = max(provenance, excluded.provenance)`,
    ...[key, id, manifest.name, label(manifest, "version") ?? null, JSON.stringify(manifest.labels), size, now, now],
    ...[rank(provenance), oci?.digest ?? null],
  );
  index.run("INSERT OR REPLACE INTO manifests VALUES (?,?)", key, manifestText);
  oci?.layers.forEach(({ digest, diffId, size, mediaType }, i) => {
    index.run("INSERT OR REPLACE INTO layers VALUES (?,?,?,?,?,?)", key, i, digest, diffId, size, mediaType);
  });
}

export const setProvenance = (index: IndexDb, key: string, provenance: Provenance): void =>
  index.run("UPDATE images SET provenance = ? WHERE key = ?", rank(provenance), key);

/** A write costs a start more than a read: a use is recorded at most this often (milliseconds). */
const USED_PRECISION = 60_000;

/** Marks an image as used now, where the index has it. */
export function recordUse(index: IndexDb, key: string): void {
  const now = Date.now();
  const row = index.get("SELECT used_at FROM images WHERE key = ?", key);
  if (row !== undefined && now - Number(row["used_at"]) > USED_PRECISION)
    index.run("UPDATE images SET used_at = ? WHERE key = ?", now, key);
}

/** Call it inside a transaction. */
export function deleteImage(index: IndexDb, key: string): void {
  index.run("DELETE FROM images WHERE key = ?", key);
  index.run("DELETE FROM manifests WHERE key = ?", key);
  index.run("DELETE FROM layers WHERE key = ?", key);
}

/** What an OCI image is made of; undefined for another image. */
export function ociContent(index: IndexDb, key: string): OciContent | undefined {
  const image = index.get("SELECT digest FROM images WHERE key = ?", key);
  if (image === undefined || image["digest"] === null) return undefined;
  const rows = index.all("SELECT * FROM layers WHERE key = ? ORDER BY position", key);
  return { digest: String(image["digest"]), layers: rows.map(layerOf) };
}

/** The layers of all images, each with its image's key. */
export const allLayers = (index: IndexDb): { key: string; layer: LayerRef }[] =>
  index
    .all("SELECT * FROM layers ORDER BY key, position")
    .map((row) => ({ key: String(row["key"]), layer: layerOf(row) }));

const layerOf = (row: Row): LayerRef => ({
  mediaType: String(row["media_type"]),
  digest: String(row["digest"]),
  diffId: String(row["diff_id"]),
  size: Number(row["size"]),
});

const imageOf = (row: Row): StoredImage => ({
  id: String(row["id"]),
  key: String(row["key"]),
  name: String(row["name"]),
  labels: JSON.parse(String(row["labels"])),
  size: Number(row["size"]),
  importedAt: Number(row["imported_at"]),
  lastUsedAt: Number(row["used_at"]),
  provenance: PROVENANCES[Number(row["provenance"])] ?? "none",
  ...(row["digest"] === null ? {} : { digest: String(row["digest"]) }),
});
