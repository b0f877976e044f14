/**
 * The store's index: one SQLite database of what is known of images. This file
 * owns the connection and the schema; the statements about one subject are in
 * `index-SUBJECT.ts`. The blobs are the truth: the index can be dropped and
 * made again from them.
 *
 * Several rkt processes use the index at once: it is in WAL mode, and a process
 * waits for another that writes. Root wrote what is in it, after checking it.
 */

import { rmSync } from "node:fs";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { errorText, RktError } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { sleep } from "../../shared/sleep.ts";

const SCHEMA_VERSION = 7;

const SCHEMA = `
CREATE TABLE images (
  key TEXT PRIMARY KEY, id TEXT NOT NULL, name TEXT NOT NULL, version TEXT, labels TEXT NOT NULL,
  size INTEGER NOT NULL, imported_at INTEGER NOT NULL, used_at INTEGER NOT NULL,
  -- Who vouches for the image's name: an index into PROVENANCES (provenance.ts). A blob does not say.
  provenance INTEGER NOT NULL,
  -- Of an OCI image's manifest: sha256: and 64 hex digits.
  digest TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE manifests (key TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE INDEX images_name ON images (name);
-- Has all that a list shows, so that a list does not read the table.
CREATE INDEX images_listed ON images (imported_at, key, name, version, size, used_at, digest);
CREATE INDEX images_digest ON images (digest) WHERE digest IS NOT NULL;
-- Of OCI images, the lowest first.
CREATE TABLE layers (
  key TEXT NOT NULL, position INTEGER NOT NULL, digest TEXT NOT NULL, diff_id TEXT NOT NULL, size INTEGER NOT NULL,
  media_type TEXT NOT NULL, PRIMARY KEY (key, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE files (
  device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
  key TEXT NOT NULL, PRIMARY KEY (device, inode)
) STRICT, WITHOUT ROWID;
CREATE TABLE remotes (
  url TEXT PRIMARY KEY, key TEXT NOT NULL, signature_url TEXT, etag TEXT, last_modified TEXT,
  max_age INTEGER, downloaded_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** Who vouches for an image is in no blob, so an index of an older schema hands it on to the new one. */
const VOUCHED = "CREATE TABLE IF NOT EXISTS vouched (key TEXT PRIMARY KEY, provenance INTEGER NOT NULL) STRICT, WITHOUT ROWID";
/** Older schemas that mean by `images.provenance` what this one does. */
const SAME_PROVENANCE: readonly number[] = [6];

export interface IndexDb {
  get(sql: string, ...values: Value[]): Row | undefined;
  all(sql: string, ...values: Value[]): Row[];
  run(sql: string, ...values: Value[]): void;
  /** Rows as arrays of their columns, with integers as numbers: faster, for thousands of rows. */
  scan(sql: string): unknown[][];
  /** All of `work` or nothing. */
  transaction<T>(work: () => T): T;
  close(): void;
}

export type Value = string | number | bigint | null;
export type Row = Record<string, unknown>;

/** The index, which is opened at its first use. `fill` is called when it was made just now, and so is empty. */
export function openIndex(layout: DataLayout, fill: (index: IndexDb) => void): IndexDb {
  let opened: IndexDb | undefined;
  const index = (): IndexDb => {
    if (opened !== undefined) return opened;
    const { db, fresh } = openOrReplace(layout);
    opened = db;
    if (!fresh) return db;
    fill(db);
    db.transaction(() => {
      db.run(
        "UPDATE images SET provenance = max(provenance, (SELECT provenance FROM vouched WHERE vouched.key = images.key)) WHERE key IN (SELECT key FROM vouched)",
      );
      db.run("DELETE FROM vouched");
    });
    return db;
  };
  return {
    get: (sql, ...values) => index().get(sql, ...values),
    all: (sql, ...values) => index().all(sql, ...values),
    run: (sql, ...values) => index().run(sql, ...values),
    scan: (sql) => index().scan(sql),
    transaction: (work) => index().transaction(work),
    close() {
      opened?.close();
      opened = undefined;
    },
  };
}

/** A damaged index is replaced by an empty one. */
function openOrReplace(layout: DataLayout): { db: IndexDb; fresh: boolean } {
  try {
    return open(layout);
  } catch (error) {
    if (!isDamaged(error)) throw indexError("open", layout.index, error);
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${layout.index}${suffix}`, { force: true });
    return open(layout);
  }
}

// sqlite.org "Result and Error Codes"
const SQLITE_BUSY = 5;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

/** The primary code of an SQLite error: an extended code has more in its upper bits. */
const sqliteCode = (error: unknown): number => ((error as { errcode?: number }).errcode ?? 0) & 0xff;

const isDamaged = (error: unknown): boolean => [SQLITE_CORRUPT, SQLITE_NOTADB].includes(sqliteCode(error));

/** An SQLite error names no system call, and would be shown as a defect of rkt's. */
function indexError(what: "open" | "read" | "write", path: string, error: unknown): RktError {
  // On a full disk SQLite cannot map the file that its processes share, and reports an I/O error.
  const full = [SQLITE_FULL, SQLITE_IOERR].includes(sqliteCode(error));
  return new RktError("index-failed", `cannot ${what} the image index ${path}: ${errorText(error)}`, {
    hint: full ? "the file system may be full: see `df`, free some space, or give another one with --dir" : undefined,
    cause: error,
  });
}

/** Milliseconds that a process waits for others that use the index. */
const TIMEOUT = 30_000;

/**
 * SQLite waits for the locks of others by itself, with one exception: a change to WAL mode fails at once while another
 * process has begun to write, as the one does that makes the tables.
 */
function untilNotBusy(work: () => void): void {
  const end = Date.now() + TIMEOUT;
  for (;;) {
    try {
      work();
      return;
    } catch (error) {
      if (sqliteCode(error) !== SQLITE_BUSY || Date.now() > end) throw error;
    }
    sleep(10);
  }
}

function open(layout: DataLayout): { db: IndexDb; fresh: boolean } {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(layout.index, { timeout: TIMEOUT });
  const version = () => Number((database.prepare("PRAGMA user_version").get() as Row)["user_version"]);
  let fresh = false;
  if (version() !== SCHEMA_VERSION) {
    untilNotBusy(() => database.exec("PRAGMA journal_mode = WAL"));
    // Another process may be making the tables at this moment.
    database.exec("BEGIN IMMEDIATE");
    const now = version();
    if (now !== SCHEMA_VERSION) {
      database.exec(VOUCHED);
      if (SAME_PROVENANCE.includes(now)) database.exec("INSERT OR REPLACE INTO vouched SELECT key, provenance FROM images");
      for (const table of ["images", "manifests", "layers", "files", "remotes"]) database.exec(`DROP TABLE IF EXISTS ${table}`);
      database.exec(SCHEMA);
      fresh = true;
    }
    database.exec("COMMIT");
  }
  // In WAL mode a power cut may lose the last commits, but damages nothing. Lost images are found again by their blobs.
  database.exec("PRAGMA synchronous = NORMAL");
  return { db: wrap(database, layout.index), fresh };
}

function wrap(database: DatabaseSync, path: string): IndexDb {
  const statements = new Map<string, StatementSync>();
  const prepare = (sql: string): StatementSync => {
    const known = statements.get(sql);
    if (known !== undefined) return known;
    const made = database.prepare(sql);
    // Device numbers, inodes and nanoseconds are beyond 2^53.
    made.setReadBigInts(true);
    statements.set(sql, made);
    return made;
  };
  const attempt = <T>(what: "read" | "write", work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw indexError(what, path, error);
    }
  };
  return {
    get: (sql, ...values) => attempt("read", () => prepare(sql).get(...values)),
    all: (sql, ...values) => attempt("read", () => prepare(sql).all(...values)),
    scan: (sql) =>
      attempt("read", () => {
        const statement = database.prepare(sql);
        statement.setReturnArrays(true);
        return statement.all() as unknown as unknown[][];
      }),
    run: (sql, ...values) => {
      attempt("write", () => prepare(sql).run(...values));
    },
    transaction(work) {
      attempt("write", () => database.exec("BEGIN IMMEDIATE"));
      try {
        const result = work();
        attempt("write", () => database.exec("COMMIT"));
        return result;
      } catch (error) {
        // On a full disk SQLite has rolled back already.
        if (database.isTransaction) database.exec("ROLLBACK");
        throw error;
      }
    },
    close: () => database.close(),
  };
}
