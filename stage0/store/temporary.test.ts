import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeAci } from "../../test/fixtures/aci.ts";
import { scratch } from "../../test/helpers/scratch.ts";
import { openStore } from "./store.ts";

test("what a killed import left is collected by the next, whoever has its pid; what a living one makes is not", async (t) => {
  const { store, data, file } = scratch(t, openStore);
  const tmp = join(data, "cas/tmp");
  mkdirSync(tmp, { recursive: true });
  writeFileSync(join(tmp, `blob-${process.pid}-x-0`), "");
  mkdirSync(join(tmp, `tree-${process.pid}-x-0/rootfs`), { recursive: true });
  symlinkSync("/etc", join(tmp, "link"));
  const pending = store.beginImport("a.aci");
  await pending.write(makeAci().subarray(0, 1024));
  await store.importFile(file("a.aci", makeAci()));
  assert.equal(readdirSync(tmp).length, 1);
  assert.ok(existsSync("/etc/passwd"));
  await pending.abort();
  assert.deepEqual(readdirSync(tmp), []);
});
