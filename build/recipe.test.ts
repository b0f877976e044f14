import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { packageLoader } from "./debian.ts";
import { CACHE } from "./paths.ts";
import { buildRecipe, exampleNames, loadRecipe, type Recipe } from "./recipe.ts";

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), "rkt-recipe-"));
});
after(() => rmSync(directory, { recursive: true, force: true }));

const load = packageLoader("debian", CACHE);

/** What proves that the programs in an image start: they print their versions. */
const PROBES: Record<string, readonly string[]> = {
  busybox: ["/bin/sh", "-c", "busybox | head -n 1 && id -un"],
  etcd: ["/usr/bin/etcd", "--version"],
  "hello-client": ["/usr/bin/busybox", "true"],
  "hello-server": ["/usr/bin/busybox", "true"],
  redis: ["/usr/bin/redis-server", "--version"],
  "stage1-bwrap": ["/usr/bin/bwrap", "--version"],
  "stage1-shell": ["/usr/bin/jq", "--version"],
};

for (const name of exampleNames())
  test(`examples/${name}: actool accepts the image, its program starts in it`, async () => {
    const recipe = await loadRecipe(name);
    const output = join(directory, `${name}.aci`);
    const image = await buildRecipe(recipe, output, load);
    execFileSync("actool", ["validate", output], { stdio: "pipe" });
    const again = await buildRecipe(recipe, output, packageLoader("debian", CACHE));
    assert.equal(again.id, image.id);

    const root = join(directory, name);
    mkdirSync(root);
    execFileSync("tar", ["-xpzf", output, "-C", root]);
    const probe = PROBES[name];
    assert.ok(probe !== undefined, "a new example needs a probe");
    execFileSync("chroot", [join(root, "rootfs"), ...probe], { stdio: "pipe" });
  });

test("a recipe with a wrong app section names the place", async () => {
  const recipe: Recipe = {
    name: "example.com/wrong",
    versionOf: "busybox-static",
    packages: { "busybox-static": ["usr/bin/busybox"] },
    app: { exec: ["sh"], user: "0", group: "0", mountPoints: [{ name: "data", path: "data" }] },
  };
  await assert.rejects(buildRecipe(recipe, join(directory, "wrong.aci"), load), {
    message: /^manifest of example\.com\/wrong: app\.mountPoints\[0\]\.path: must be absolute/,
  });
});
