/**
 * The content-addressed store: blobs, their index, rendered trees. Blob files
 * are the truth; everything else can be made again from them.
 */

import { closeSync, existsSync, openSync, readdirSync, rmSync, type BigIntStats, statSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { type DataLayout, dataLayout } from "../../shared/contract/data-directory.ts";
import { KEY_DIGITS, shortId } from "../../shared/contract/image-ids.ts";
import { label, parseImageManifest } from "../../shared/schema/image-manifest.ts";
import type { Dependency, ImageID, ImageManifest, NameValue } from "../../shared/schema/types.ts";
import { makeStoreDirectories } from "../host/data-directory.ts";
import { fileChunks } from "../archive/file-chunks.ts";
import { hasID, mismatch } from "./image-name.ts";
import {
  type BlobImport,
  beginImport,
  IMPORT_LIMITS,
  type ImportedBlob,
  type ImportLimits,
  inspectBlob,
  sha256Of,
} from "./import.ts";
import { type ImageTableOptions, imageTable } from "./image-table.ts";
import { type IndexDb, openIndex, type Row } from "./index-db.ts";
import { bestOf, passedOverHint, PROVENANCES, type Provenance, rank } from "./provenance.ts";
import { openStoreLock } from "./store-lock.ts";
import { collectTemporaries } from "./temporary.ts";
import { layersOf, type TreeSource } from "./layers.ts";
import type { Tree } from "./trees.ts";

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
}

export interface RemoteRecord {
  url: string;
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

/** An image that is being imported; nothing of it is in the store before `commit`. */
export interface StagedImport {
  write(chunk: Uint8Array): Promise<void>;
  finish(): Promise<{ id: ImageID; key: string; manifest: ImageManifest; size: number }>;
  /** After `finish`: `sha256-` and 64 hex digits. */
  sha256(): string;
  commit(remote?: RemoteRecord): Promise<StoredImage>;
  abort(): Promise<void>;
}

export type { Tree } from "./trees.ts";

export interface StoreOptions {
  /**
   * What is imported waits for `release`, and is in the store for this process alone: for a caller who looks at the
   * manifests first, or needs all of several images. `close` forgets what was not released.
   */
  hold?: boolean;
  /** Bytes that an image may unpack to, whatever the size of its file; undefined: the limits of `import.ts`. */
  maxImageSize?: number | undefined;
  /** Of local files; "none" unless told. */
  provenance?: Provenance;
  /** false: blobs are rendered and written out as they are, damaged ones too. */
  checkBlobs?: boolean;
}

export interface Store {
  /** Bytes that an image may unpack to, if somebody has said so. */
  readonly maxImageSize: number | undefined;
  /** Imports a local file in one pass; a file that is known, and has not changed since, costs a stat. */
  importFile(path: string): Promise<StoredImage>;
  /** Puts what was held back in its place: the images of these keys, or all; they are there all at once. */
  release(keys?: ReadonlySet<string>): Promise<void>;
  stage(options?: { name?: string }): Promise<StagedImport>;
  /** The one image whose ID begins with `prefix` ("sha512-" may be left out). */
  resolve(prefix: string): StoredImage;
  /** By name, but for what is held. */
  list(): StoredImage[];
  /** All of them for a person to read. */
  table(options: ImageTableOptions): string;
  manifest(key: string): ImageManifest;
  /** As the image has it, to the byte. */
  manifestText(key: string): string;
  /** `sha256-` and 64 hex digits: what an image's ID was before 0.2.0 of the spec, of the same bytes. Computed once. */
  sha256(key: string): string;
  /** Renders an image once, with dependencies that are at least "given" unless told; the tree stays. The image counts as used now. */
  render(key: string, least?: Provenance): Promise<Tree>;
  /** Keys of an image and of all it depends on. */
  closure(key: string): string[];
  /** Hashes blobs; the damaged ones count as absent from now on, to this process. Gives what is wrong with them. */
  ignoreDamaged(keys: Iterable<string>): Promise<RktError[]>;
  /** What rendering an image takes. */
  treeSource(least: Provenance): TreeSource;
  /** Runs `work`, which may `remove`, while nobody else relies on what is in the store; `wait` is told when that takes waiting. */
  exclusively<T>(wait: () => void, work: () => T): T;
  /** Takes an image away; its trees are others' to take. Only inside `exclusively`. */
  remove(key: string): void;
  /** Takes blobs into the index that it has not, and gives the keys of those that are no images. */
  adopt(): string[];
  remote(url: string): RemoteRecord | undefined;
  updateRemote(record: RemoteRecord): void;
  /** The image that fulfils a dependency: the one of its ID, or, by name, the best one that counts. */
  dependency(of: ImageManifest, dependency: Dependency, least: Provenance): StoredImage;
  close(): void;
}

/** A start writes to the index at most this often (milliseconds). */
const USED_PRECISION = 60_000;

export function openStore(
  dataDir: string,
  { hold = false, maxImageSize, provenance: ofFiles = "none", checkBlobs = true }: StoreOptions = {},
): Store {
  makeStoreDirectories(dataDir);
  const layout = dataLayout(dataDir);
  const limits: ImportLimits =
    maxImageSize === undefined
      ? IMPORT_LIMITS
      : { ...IMPORT_LIMITS, archiveSize: maxImageSize, ratio: Number.POSITIVE_INFINITY };
  let opened: IndexDb | undefined;
  const manifests = new Map<string, ImageManifest>();
  /** By their keys. */
  const held = new Map<string, HeldImport>();
  /** What the index learns with them, by URL and by the identity of the file. */
  const heldRemotes = new Map<string, RemoteRecord>();
  const heldFiles = new Map<string, FileRecord>();
  /** Keys of blobs that this process has written: what they hold has just been hashed. */
  const written = new Set<string>();
  /** Keys of images that are damaged, and taken for absent. */
  const ignored = new Set<string>();
  const lock = openStoreLock(layout);

  const db = (): IndexDb => {
    if (opened !== undefined) return opened;
    const { db: index, fresh } = openIndex(layout);
    opened = index;
    if (fresh) adoptBlobs(layout, index);
    return index;
  };

  const placed = (key: string): void => {
    written.add(key);
    ignored.delete(key);
  };

  /** The blob and its row are one step for whoever takes away. */
  const put = async (blobImport: BlobImport, provenance: Provenance): Promise<StoredImage> => {
    lock.share();
    const blob = await blobImport.commit();
    db().transaction(() => insertImage(db(), blob, Date.now(), provenance));
    placed(blob.key);
    return image(db().get("SELECT * FROM images WHERE key = ?", blob.key));
  };

  /** Takes in what was imported, or holds it. */
  const take = async (blob: ImportedBlob, blobImport: BlobImport, provenance: Provenance): Promise<StoredImage> => {
    if (!hold || byKey(blob.key) !== undefined) return await put(blobImport, provenance);
    const same = held.get(blob.key);
    if (same !== undefined) {
      blobImport.abort();
      return raise(same.image, provenance);
    }
    const { id, key, manifest, size } = blob;
    const now = Date.now();
    const { name, labels } = manifest;
    const image = { id, key, name, labels, size, importedAt: now, lastUsedAt: now, provenance };
    manifests.set(key, manifest);
    held.set(key, { image, blobImport, placed: undefined });
    return image;
  };

  /** What is known of an image whose blob is in its place. */
  const indexHeld = (blob: ImportedBlob): void => {
    insertImage(db(), blob, Date.now(), held.get(blob.key)?.image.provenance ?? "none");
    held.delete(blob.key);
    placed(blob.key);
    for (const [file, record] of heldFiles) {
      if (record.key !== blob.key) continue;
      heldFiles.delete(file);
      rememberFile(record);
    }
    for (const [url, record] of heldRemotes) {
      if (record.key !== blob.key) continue;
      heldRemotes.delete(url);
      store.updateRemote(record);
    }
  };

  /** Who vouches for an image does so for good. */
  const raise = (image: StoredImage, provenance: Provenance): StoredImage => {
    if (rank(provenance) <= rank(image.provenance)) return image;
    image.provenance = provenance;
    if (!held.has(image.key)) db().run("UPDATE images SET provenance = ? WHERE key = ?", rank(provenance), image.key);
    return image;
  };

  const rememberFile = (record: FileRecord): void => {
    if (held.has(record.key)) heldFiles.set(record.file.join(), record);
    else if (record.steady) db().run("INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?)", ...record.file, record.key);
  };

  /** Images of the index, and those that are held. */
  const withHeld = (rows: Row[]): StoredImage[] => {
    const stored = rows.map(image).filter(({ key }) => !ignored.has(key));
    if (held.size === 0) return stored;
    const all = new Map([...held].map(([key, { image }]) => [key, image]));
    for (const image of stored) all.set(image.key, image);
    return [...all.values()];
  };

  const touch = (key: string): void => {
    const now = Date.now();
    const row = db().get("SELECT used_at FROM images WHERE key = ?", key);
    if (row !== undefined && now - Number(row["used_at"]) > USED_PRECISION)
      db().run("UPDATE images SET used_at = ? WHERE key = ?", now, key);
  };

  const matches = (one: StoredImage, id: string | undefined): boolean =>
    id === undefined || hasID(one.id, id, () => store.sha256(one.key));

  const byKey = (key: string): StoredImage | undefined => {
    const row = db().get("SELECT * FROM images WHERE key = ?", key);
    return row === undefined || ignored.has(key) ? undefined : image(row);
  };

  const store: Store = {
    maxImageSize,

    async importFile(path) {
      lock.share();
      const index = db();
      const stat = statFile(path);
      const known = index.get(
        "SELECT key FROM files WHERE device = ? AND inode = ? AND size = ? AND mtime = ? AND ctime = ?",
        ...identity(stat),
      );
      const found = known === undefined ? undefined : byKey(String(known["key"]));
      if (found !== undefined) return raise(found, ofFiles);
      const waiting = held.get(heldFiles.get(identity(stat).join())?.key ?? "");
      if (waiting !== undefined) return raise(waiting.image, ofFiles);
      collectTemporaries(layout);
      const { blob, blobImport } = await readImage(layout, path, limits);
      // A file that changed while it was read is not the one we know.
      const after = statFile(path);
      const steady = identity(after).every((value, i) => value === identity(stat)[i]);
      const image = await take(blob, blobImport, ofFiles);
      rememberFile({ file: identity(stat), key: blob.key, steady });
      return image;
    },

    async release(keys) {
      lock.share();
      const blobs: ImportedBlob[] = [];
      for (const [key, image] of held) {
        if (keys?.has(key) === false) continue;
        image.placed ??= image.blobImport.commit();
        blobs.push(await image.placed);
      }
      // Who releases the same ones at the same time may have come first.
      const waiting = blobs.filter(({ key }) => held.has(key));
      if (waiting.length > 0) db().transaction(() => waiting.forEach(indexHeld));
    },

    async stage(options = {}) {
      collectTemporaries(layout);
      const blobImport = beginImport(layout, options.name ?? "the image", limits);
      let blob: ImportedBlob | undefined;
      return {
        write: (chunk) => blobImport.write(chunk),
        async finish() {
          blob = await blobImport.finish();
          return blob;
        },
        sha256: () => `sha256-${blobImport.sha256()}`,
        async commit(remote) {
          if (blob === undefined) throw new Error("commit before finish");
          const stored = await take(blob, blobImport, remote?.signatureUrl === undefined ? "none" : "verified");
          if (remote !== undefined) store.updateRemote({ ...remote, key: stored.key });
          return stored;
        },
        abort: async () => blobImport.abort(),
      };
    },

    resolve(prefix) {
      if (/^sha256-[0-9a-f]{32,64}$/.test(prefix)) {
        const found = store.list().find((one) => matches(one, prefix));
        if (found !== undefined) return found;
        throw new RktError("no-such-image", `no image ${prefix} in the store`, {
          hint: "that is an ID of before 0.2.0 of the specification: fetch the image of it by its name or file",
        });
      }
      const digits = prefix.replace(/^sha512-/, "").toLowerCase();
      if (!/^[0-9a-f]{2,128}$/.test(digits))
        throw new RktError("bad-hash", `"${prefix}" is no image hash`, {
          hint: "a hash is sha512- and at least 2 hex digits",
        });
      const key = `sha512-${digits.slice(0, KEY_DIGITS)}`;
      lock.share();
      const rows = db().all("SELECT * FROM images WHERE key >= ? AND key < ? ORDER BY key", key, `${key}g`);
      const found = withHeld(rows).filter((one) => one.id.startsWith(`sha512-${digits}`));
      const [first] = found;
      if (first === undefined)
        throw new RktError("no-such-image", `no image ${prefix} in the store`, {
          hint: "`rkt image list` shows the images there are",
        });
      if (found.length > 1)
        throw new RktError(
          "ambiguous-image",
          `${prefix} is ambiguous: ${found.map((one) => shortId(one.id)).join(", ")}`,
          {
            hint: "give more digits",
          },
        );
      return first;
    },

    list: () => withHeld(db().all("SELECT * FROM images ORDER BY name, key")),

    table: (options) => imageTable(db(), options),

    manifest(key) {
      const known = manifests.get(key);
      if (known !== undefined) return known;
      const manifest = parseImageManifest(store.manifestText(key));
      manifests.set(key, manifest);
      return manifest;
    },

    manifestText(key) {
      const row = db().get("SELECT text FROM manifests WHERE key = ?", key);
      if (row === undefined) throw new RktError("no-such-image", `no image ${shortId(key)} in the store`);
      return String(row["text"]);
    },

    sha256(key) {
      const waiting = held.get(key);
      if (waiting !== undefined && waiting.placed === undefined) return `sha256-${waiting.blobImport.sha256()}`;
      lock.share();
      // Not of the index's schema: an older index has none, and few images need it.
      db().run("CREATE TABLE IF NOT EXISTS sha256 (key TEXT PRIMARY KEY, hash TEXT NOT NULL) STRICT");
      const known = db().get("SELECT hash FROM sha256 WHERE key = ?", key);
      if (known !== undefined) return String(known["hash"]);
      const hash = `sha256-${hashBlob(layout.blob(key))}`;
      db().run("INSERT OR REPLACE INTO sha256 VALUES (?,?)", key, hash);
      return hash;
    },

    async render(key, least = "given") {
      lock.share();
      touch(key);
      const { renderTree } = await import("./trees.ts");
      return await renderTree(layout, key, store.treeSource(least));
    },

    treeSource: (least) => ({
      manifest: store.manifest,
      dependency: (of, dependency) => store.dependency(of, dependency, least).key,
      mustCheck: (key) => checkBlobs && !written.has(key),
      checksBlobs: checkBlobs,
    }),

    closure: (key) => layersOf(key, store.treeSource("none")).layers.map((layer) => layer.key),

    async ignoreDamaged(keys) {
      const { blobDamage } = await import("./blob.ts");
      const damages: RktError[] = [];
      for (const key of keys) {
        if (!checkBlobs || written.has(key) || held.has(key)) continue;
        const damage = await blobDamage(layout, key);
        if (damage === undefined) continue;
        ignored.add(key);
        damages.push(damage);
      }
      return damages;
    },

    dependency(of, dependency, least) {
      lock.share();
      const matching = db()
        .all("SELECT * FROM images WHERE name = ? ORDER BY key", dependency.imageName)
        .map(image)
        .filter(({ key }) => !ignored.has(key))
        .filter((one) => matches(one, dependency.imageID))
        // As when it was fetched: an image for another machine is not meant.
        .filter((one) => mismatch(one, { name: dependency.imageName, labels: dependency.labels }) === undefined);
      // An ID leaves nothing to be vouched for.
      const first = bestOf(matching, dependency.imageID === undefined ? least : "none");
      const [passedOver] = matching;
      if (first === undefined)
        throw new RktError(
          "no-such-image",
          `image ${of.name} depends on ${describeDependency(dependency)}, which is not in the store`,
          {
            hint:
              passedOver === undefined
                ? `\`rkt fetch ${dependency.imageName}\` brings it`
                : passedOverHint(shortId(passedOver.id), least),
          },
        );
      return first;
    },

    exclusively: (wait, work) => lock.exclusively(wait, work),

    // Killed in between, a blob stays that no row names: the image is adopted again, not half gone.
    remove(key) {
      db().transaction(() => {
        db().run("DELETE FROM images WHERE key = ?", key);
        db().run("DELETE FROM manifests WHERE key = ?", key);
        db().run("DELETE FROM files WHERE key = ?", key);
        db().run("DELETE FROM remotes WHERE key = ?", key);
      });
      manifests.delete(key);
      rmSync(layout.blob(key), { force: true });
    },

    adopt() {
      lock.share();
      return adoptBlobs(layout, db());
    },

    remote(url) {
      const waiting = heldRemotes.get(url);
      if (waiting !== undefined) return waiting;
      const row = db().get("SELECT * FROM remotes WHERE url = ?", url);
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
    },

    updateRemote(record) {
      if (held.has(record.key)) return void heldRemotes.set(record.url, record);
      db().run(
        "INSERT OR REPLACE INTO remotes VALUES (?,?,?,?,?,?,?)",
        record.url,
        record.key,
        record.signatureUrl ?? null,
        record.etag ?? null,
        record.lastModified ?? null,
        record.maxAge ?? null,
        record.downloadedAt,
      );
    },

    close() {
      for (const { blobImport } of held.values()) blobImport.abort();
      held.clear();
      lock.close();
      opened?.close();
      opened = undefined;
    },
  };
  return store;
}

function hashBlob(path: string): string {
  const fd = openSync(path, "r");
  try {
    return sha256Of(fd);
  } finally {
    closeSync(fd);
  }
}

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

function image(row: Row | undefined): StoredImage {
  if (row === undefined) throw new Error("a row of the index has vanished");
  return {
    id: String(row["id"]),
    key: String(row["key"]),
    name: String(row["name"]),
    labels: JSON.parse(String(row["labels"])),
    size: Number(row["size"]),
    importedAt: Number(row["imported_at"]),
    lastUsedAt: Number(row["used_at"]),
    provenance: PROVENANCES[Number(row["provenance"])] ?? "none",
  };
}

function describeDependency({ imageName, labels, imageID }: Dependency): string {
  const parts = labels.map(({ name, value }) => `${name}=${value}`);
  if (imageID !== undefined) parts.push(shortId(imageID));
  return parts.length === 0 ? imageName : `${imageName} (${parts.join(", ")})`;
}

/** What tells one state of a file from another: nothing can write to it and leave all of these as they were. */
const identity = (stat: BigIntStats): [bigint, bigint, bigint, bigint, bigint] => [
  stat.dev,
  stat.ino,
  stat.size,
  stat.mtimeNs,
  stat.ctimeNs,
];

function statFile(path: string): BigIntStats {
  try {
    const stat = statSync(path, { bigint: true });
    if (stat.isFile()) return stat;
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENOTDIR")
      throw new RktError("no-such-file", `there is no file ${path}`, {
        hint: "an image is a file, a hash, a URL or a name",
      });
    throw new RktError("import-failed", `cannot read ${path}: ${errorText(error)}`, { cause: error });
  }
  throw new RktError("not-an-image", `${path} is not a regular file`);
}

interface FileRecord {
  file: ReturnType<typeof identity>;
  key: string;
  /** It did not change while it was read. */
  steady: boolean;
}

interface HeldImport {
  image: StoredImage;
  blobImport: BlobImport;
  /** Its blob on the way to its place, once it is released. */
  placed: Promise<ImportedBlob> | undefined;
}

async function readImage(
  layout: DataLayout,
  path: string,
  limits: ImportLimits,
): Promise<{ blob: ImportedBlob; blobImport: BlobImport }> {
  const blobImport = beginImport(layout, path, limits);
  try {
    for await (const chunk of fileChunks(path)) await blobImport.write(chunk);
    return { blob: await blobImport.finish(), blobImport };
  } catch (error) {
    blobImport.abort();
    throw error;
  }
}

/**
 * Reads the blobs that the index has not. One that is no image any more, or not what its name says, is left alone: it
 * is evidence. Gives the keys of those.
 */
function adoptBlobs(layout: DataLayout, index: IndexDb): string[] {
  const refused: string[] = [];
  if (!existsSync(layout.blobs)) return refused;
  const known = new Set(index.all("SELECT key FROM images").map((row) => String(row["key"])));
  for (const group of readdirSync(layout.blobs))
    for (const key of readdirSync(`${layout.blobs}/${group}`)) {
      if (known.has(key)) continue;
      try {
        const blob = inspectBlob(layout.blob(key));
        if (blob.key === key) index.transaction(() => insertImage(index, blob, Date.now(), "none"));
        else refused.push(key);
      } catch (error) {
        if (!(error instanceof RktError)) throw error;
        refused.push(key);
      }
    }
  return refused;
}

/** Only inside a transaction. */
function insertImage(index: IndexDb, blob: ImportedBlob, now: number, provenance: Provenance): void {
  const { key, id, manifest, manifestText, size } = blob;
  index.run(
    `INSERT INTO images VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (key) DO UPDATE
      SET used_at = excluded.used_at, provenance = max(provenance, excluded.provenance)`,
    ...[key, id, manifest.name, label(manifest, "version") ?? null, JSON.stringify(manifest.labels), size, now, now],
    rank(provenance),
  );
  index.run("INSERT OR REPLACE INTO manifests VALUES (?,?)", key, manifestText);
}
