import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { errorCode, RktError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { makeAci } from "../../test/fixtures/aci.ts";
import { scratch } from "../../test/helpers/scratch.ts";
import { openStore } from "./store.ts";

test("a known file costs no second import; a changed one is imported again", async (t) => {
  const { store, data, file } = scratch(t, openStore);
  const path = file("image.aci", makeAci());
  const first = await store.importFile(path);
  // Were it read again, it would be refused.
  const blob = dataLayout(data).blob(first.key);
  rmSync(blob);
  assert.deepEqual(await store.importFile(path), first);
  assert.ok(!existsSync(blob));
  file("image.aci", makeAci([{ name: "rootfs/new" }]));
  assert.notEqual((await store.importFile(path)).key, first.key);
});

test("a full file system: one error, and the store as before", async (t) => {
  const small = mkdtempSync(join(tmpdir(), "rkt-small-"));
  const mountPoint = join(small, "mnt");
  t.after(() => {
    spawnSync("umount", ["-l", mountPoint]);
    rmSync(small, { recursive: true });
  });
  const { file } = scratch(t, (data) => openStore(data, { provenance: "given" }));
  mkdirSync(mountPoint);
  const mounted = spawnSync(
    "sh",
    [
      "-c",
      `truncate -s 8M '${small}/disk' && mkfs.ext4 -q '${small}/disk' && mount -o loop '${small}/disk' '${mountPoint}'`,
    ],
    { encoding: "utf8" },
  );
  assert.equal(mounted.status, 0, mounted.stderr);
  const store = openStore(join(mountPoint, "data"));
  await assert.rejects(
    store.importFile(file("big.aci", makeAci([{ name: "rootfs/big", data: Buffer.alloc(20 << 20, 1) }]))),
    (error) => {
      assert.ok(error instanceof RktError);
      assert.match(error.message, /cannot import .*big\.aci: write: ENOSPC/);
      assert.equal(errorCode(error.cause), "ENOSPC", "by which whoever renders it knows a hint");
      return true;
    },
  );
  assert.deepEqual(readdirSync(join(mountPoint, "data/cas/tmp")), []);
  assert.deepEqual(store.list(), []);
  store.close();
});
