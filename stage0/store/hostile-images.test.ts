/** Every hostile image that the import judges is imported and rendered here, in one process. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { renderError } from "../../shared/render-error.ts";
import { assertKept, assertRefused, assertUntouched, inDirectory } from "../../test/hostile/image-judge.ts";
import { hostileImages } from "../../test/hostile/images.ts";
import { requires } from "../../test/helpers/rkt.ts";
import { openStore } from "./store.ts";

for (const image of hostileImages.filter(({ wholeCommand }) => wholeCommand !== true))
  test(`hostile image, imported and rendered: ${image.name}`, async (t) => {
    if (!requires(t, "root")) return;
    const { file, data } = inDirectory(t, image);
    const store = openStore(data, { hold: true });
    let failure: unknown;
    try {
      const { key } = await store.importFile(file);
      await store.release();
      await store.render(key);
    } catch (error) {
      failure = error;
    } finally {
      store.close();
    }
    assertUntouched();
    if (image.refused === undefined) {
      assert.equal(failure, undefined);
      return assertKept(image, data);
    }
    assert.ok(failure !== undefined, "it is refused");
    assertRefused(renderError(failure, { who: "rkt: prepare" }).text, image.refused, data);
  });
