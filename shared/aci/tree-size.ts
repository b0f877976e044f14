import { RktError } from "../errors.ts";
import type { Tree } from "./tree.ts";

/**
 * Refuses a tree whose files have more bytes than `limit` in all. A hole takes nothing on the disk, but in an archive it
 * is as many zeros. `shown` is a file's path as a person knows it.
 */
export function requireSize(tree: Tree, limit: number, shown: (path: string) => string): void {
  let total = 0;
  let largest = { path: "", size: 0 };
  for (const [path, entry] of tree) {
    if (entry.type !== "file") continue;
    const size = entry.content instanceof Uint8Array ? entry.content.length : entry.content.size;
    total += size;
    if (size > largest.size) largest = { path, size };
  }
  if (total <= limit) return;
  throw new RktError(
    "too-large",
    `the files have ${total} bytes, more than the ${limit} that an image may have; the largest is ${shown(largest.path)} with ${largest.size}`,
    { hint: "remove it or make it shorter, or keep it in a volume; a hole counts, too" },
  );
}
