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
