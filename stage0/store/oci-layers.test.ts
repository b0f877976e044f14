/** What layers do to each other, judged by `umoci unpack` (image-spec, layer.md). */

import assert from "node:assert/strict";
import { closeSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { LAYERED, type LayeredImage } from "../../test/fixtures/oci-images.ts";
import { bring, ociImage, treeFacts, umociUnpack, writeLayout } from "../../test/helpers/oci.ts";
import { openStore } from "./store.ts";
import { openTree } from "./tree-directories.ts";

const base = mkdtempSync(join(tmpdir(), "rkt-layers-"));
const store = openStore(join(base, "data"));
after(() => {
  store.close();
  rmSync(base, { recursive: true, force: true });
});

function settled(facts: string, { timeless = [], copies = false }: LayeredImage): string {
  const lines = facts.split("\n").map((line) => {
    const [name = "", kind, ...rest] = line.split("|");
    if (kind === "d" && timeless.includes(name)) return [name, kind, ...rest.slice(0, 3)].join("|");
    return kind !== "d" && rest.length > 2 && copies ? [name, kind, ...rest.toSpliced(5, 1)].join("|") : line;
  });
  return lines.join("\n");
}

for (const [i, layered] of LAYERED.entries()) {
  const { name, layers } = layered;
  test(`layers: ${name}`, async () => {
    const image = ociImage(layers);
    const layout = join(base, `layout-${i}`);
    writeLayout(layout, image);
    const wanted = settled(treeFacts(umociUnpack(layout, join(base, `bundle-${i}`))), layered);
    const stored = await bring(store, image, `example.com/image-${i}`);
    for (const merged of [true, false]) {
      const { id } = await store.render(stored.key, "none", { merged });
      const fd = await openTree(dataLayout(join(base, "data")), id);
      try {
        assert.equal(
          settled(treeFacts(`/proc/${process.pid}/fd/${fd}/.`), layered),
          wanted,
          merged ? "merged" : "stack",
        );
      } finally {
        closeSync(fd);
      }
    }
  });
}
