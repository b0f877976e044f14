import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { openIndex } from "./index-db.ts";

/** Begins to write the index argv[1], which is not in WAL mode yet, and goes on for a while. */
const WRITER = `
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(process.argv[1]);
  database.exec("BEGIN IMMEDIATE");
  process.stdout.write("writing");
  setTimeout(() => database.exec("COMMIT"), 300);`;

test("the index: a process that opens it waits for another that makes it", async (t) => {
  const data = mkdtempSync(join(tmpdir(), "rkt-index-"));
  t.after(() => rmSync(data, { recursive: true }));
  const layout = dataLayout(data);
  mkdirSync(dirname(layout.index), { recursive: true });
  const writer = spawn(process.execPath, ["--no-warnings", "-e", WRITER, "--", layout.index]);
  t.after(() => writer.kill("SIGKILL"));
  await once(writer.stdout, "data");
  const index = openIndex(layout, () => {});
  t.after(() => index.close());
  assert.deepEqual(index.all("SELECT key FROM images"), []);
});

test("the index: one of an older schema hands on who vouches for its images", (t) => {
  const data = mkdtempSync(join(tmpdir(), "rkt-index-"));
  t.after(() => rmSync(data, { recursive: true }));
  const layout = dataLayout(data);
  mkdirSync(dirname(layout.index), { recursive: true });
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const old = new DatabaseSync(layout.index);
  old.exec("CREATE TABLE images (key TEXT PRIMARY KEY, provenance INTEGER NOT NULL); PRAGMA user_version = 6");
  old.exec("INSERT INTO images VALUES ('sha512-a', 2), ('sha512-b', 0), ('sha512-gone', 2)");
  old.close();
  const insert = "INSERT INTO images (key, id, name, labels, size, imported_at, used_at, provenance) VALUES (?,?,?,?,0,0,0,0)";
  const index = openIndex(layout, (fresh) => {
    for (const key of ["sha512-a", "sha512-b", "sha512-new"]) fresh.run(insert, key, key, key, "[]");
  });
  t.after(() => index.close());
  assert.deepEqual(index.scan("SELECT key, provenance FROM images ORDER BY key"), [
    ["sha512-a", 2],
    ["sha512-b", 0],
    ["sha512-new", 0],
  ]);
  assert.deepEqual(index.all("SELECT * FROM vouched"), []);
});
