/** A directory for one test, with an open store in it. Both are removed after the test. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

export interface Scratch<Store> {
  dir: string;
  /** The store's data directory. */
  data: string;
  store: Store;
  /** Writes a file in the directory, and returns its path. */
  file(name: string, content: Buffer | string): string;
}

export function scratch<Store extends { close(): void }>(t: TestContext, open: (data: string) => Store): Scratch<Store> {
  const dir = mkdtempSync(join(tmpdir(), "rkt-store-"));
  const data = join(dir, "data");
  const store = open(data);
  t.after(() => {
    store.close();
    rmSync(dir, { recursive: true, force: true });
  });
  return {
    ...{ dir, data, store },
    file(name, content) {
      writeFileSync(join(dir, name), content);
      return join(dir, name);
    },
  };
}
