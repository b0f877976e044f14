/**
 * The store's index: one SQLite database of what is known of images. The blobs
 * are the truth; the index can be dropped and made again from them.
 *
 * Several rkt processes use it at once: WAL, and a busy timeout. What it holds
 * was checked when it was written, by root.
 */

import { rmSync } from "node:fs";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { errorText, RktError } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";

const SCHEMA_VERSION = 6;

const SCHEMA = `
CREATE TABLE images (
  key TEXT PRIMARY KEY, id TEXT NOT NULL, name TEXT NOT NULL, version TEXT, labels TEXT NOT NULL,
  size INTEGER NOT NULL, imported_at INTEGER NOT NULL, used_at INTEGER NOT NULL,
  -- How much it counts by its name (provenance.ts); the blobs do not know.
  provenance INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE manifests (key TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE INDEX images_name ON images (name);
-- All that a list shows, so that it need not read the rest.
CREATE INDEX images_listed ON images (imported_at, key, name, version, size, used_at);
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

export interface IndexDb {
  get(sql: string, ...values: Value[]): Row | undefined;
  all(sql: string, ...values: Value[]): Row[];
  run(sql: string, ...values: Value[]): void;
  /** Rows as arrays of their columns, integers as numbers: for many. */
  scan(sql: string): unknown[][];
  /** All of `work` or nothing. */
  transaction<T>(work: () => T): T;
  close(): void;
}

export type Value = string | number | bigint | null;
export type Row = Record<string, unknown>;

/** Opens the index; `fresh` says that it was made just now, and so is empty. */
export function openIndex(layout: DataLayout): { db: IndexDb; fresh: boolean } {
  try {
    return open(layout);
  } catch (error) {
    if (!isDamaged(error)) throw indexError("open", layout.index, error);
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${layout.index}${suffix}`, { force: true });
    return open(layout);
  }
}

// sqlite.org "Result and Error Codes"
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

/** The primary code of an error of SQLite's, without what an extended one adds. */
const sqliteCode = (error: unknown): number => ((error as { errcode?: number }).errcode ?? 0) & 0xff;

const isDamaged = (error: unknown): boolean => [SQLITE_CORRUPT, SQLITE_NOTADB].includes(sqliteCode(error));

/** Without a syscall, SQLite's errors would look like a defect of ours. */
function indexError(what: "open" | "read" | "write", path: string, error: unknown): RktError {
  // On a full disk it can't even map the file that its users share, and calls that an I/O error.
  const full = [SQLITE_FULL, SQLITE_IOERR].includes(sqliteCode(error));
  return new RktError("index-failed", `cannot ${what} the image index ${path}: ${errorText(error)}`, {
    hint: full ? "the file system may be full: see `df`, free some space, or give another one with --dir" : undefined,
    cause: error,
  });
}

function open(layout: DataLayout): { db: IndexDb; fresh: boolean } {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(layout.index, { timeout: 30_000 });
  const version = () => Number((database.prepare("PRAGMA user_version").get() as Row)["user_version"]);
  let fresh = false;
  if (version() !== SCHEMA_VERSION) {
    database.exec("PRAGMA journal_mode = WAL");
    // Somebody else may be making it at this moment.
    database.exec("BEGIN IMMEDIATE");
    const now = version();
    if (now !== SCHEMA_VERSION) {
      for (const table of ["images", "manifests", "files", "remotes"]) database.exec(`DROP TABLE IF EXISTS ${table}`);
      database.exec(SCHEMA);
      fresh = true;
    }
    database.exec("COMMIT");
  }
  // In WAL mode a power cut may lose the last commits but never damages; what is lost is found again.
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
        // A full disk has rolled back already.
        if (database.isTransaction) database.exec("ROLLBACK");
        throw error;
      }
    },
    close: () => database.close(),
  };
}
