/** An import that is killed at any step: what it leaves is whole or counts for nothing, and the next one goes on. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { dir, file, hard } from "../../test/fixtures/oci-images.ts";
import { assertSameTree, bring, ociImage, treeFacts } from "../../test/helpers/oci.ts";
import { openStore, type Store, type StoredImage } from "./store.ts";
import { openTree } from "./tree-directories.ts";

const base = mkdtempSync(join(tmpdir(), "rkt-kill-"));
after(() => rmSync(base, { recursive: true, force: true }));

/** With a layer that is the same anywhere, one that depends on what is below, and one that is extracted over it. */
const image = () =>
  ociImage([
    [dir("a", { mode: 0o711 }), file("a/1"), file("a/2"), file("b")],
    [file("a/3"), { name: "a/.wh.1" }],
    [hard("c", "b"), file("d")],
  ]);

/** Kills itself at a step that changes the disk; the arguments are the data directory and which step. */
const SCRIPT = `
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
let left = Number(process.argv[2]);
for (const name of ["renameSync", "writeFileSync", "writeSync", "mkdirSync", "openSync"]) {
  const original = fs[name];
  fs[name] = (...args) => {
    if (String(args[0]).includes("/cas/") && left-- === 0) process.kill(process.pid, "SIGKILL");
    return original(...args);
  };
}
syncBuiltinESMExports();
const { openStore } = await import(${JSON.stringify(join(import.meta.dirname, "store.ts"))});
const { bring, ociImage } = await import(${JSON.stringify(join(import.meta.dirname, "../../test/helpers/oci.ts"))});
const layers = JSON.parse(process.argv[3]);
const store = openStore(process.argv[1]);
await bring(store, ociImage(layers));
store.close();
console.log(left);
`;

const layers = JSON.stringify([
  [dir("a", { mode: 0o711 }), file("a/1"), file("a/2"), file("b")],
  [file("a/3"), { name: "a/.wh.1" }],
  [hard("c", "b"), file("d")],
]);

const importIn = (data: string, step: number) =>
  spawnSync(process.execPath, ["--no-warnings", "--input-type=module", "-e", SCRIPT, data, String(step), layers], {
    encoding: "utf8",
  });

async function facts(store: Store, data: string, stored: StoredImage): Promise<string> {
  const fd = await openTree(dataLayout(data), (await store.render(stored.key, "none")).id);
  try {
    return treeFacts(`/proc/${process.pid}/fd/${fd}/.`);
  } finally {
    closeSync(fd);
  }
}

test("an import that is killed at any step", async (t) => {
  const whole = importIn(join(base, "whole"), 1_000_000);
  assert.equal(whole.status, 0, whole.stderr);
  const steps = 1_000_000 - Number(whole.stdout);
  const expected = openStore(join(base, "whole"));
  t.after(() => expected.close());
  const [reference] = expected.list();
  assert.ok(reference);
  const wanted = await facts(expected, join(base, "whole"), reference);
  assert.ok(steps > 20, `${steps} steps`);
  const tried = Array.from({ length: 12 }, (_, i) => Math.floor((i * steps) / 12));
  for (const step of tried) {
    const data = join(base, `killed-${step}`);
    const killed = importIn(data, step);
    assert.equal(killed.signal, "SIGKILL", `step ${step}: ${killed.stderr}`);
    const store = openStore(data);
    try {
      const message = `killed at step ${step} of ${steps}`;
      store.adopt();
      for (const found of store.list()) assertSameTree(await facts(store, data, found), wanted, message);
      const again = await bring(store, image());
      assert.equal(again.id, reference.id, message);
      assertSameTree(await facts(store, data, again), wanted, message);
      assert.deepEqual(readdirSync(dataLayout(data).tmp), [], message);
    } finally {
      store.close();
    }
  }
});
