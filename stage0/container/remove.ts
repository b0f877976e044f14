/**
 * Taking a container directory away. Only its lock's holder may: nothing of
 * it runs any more, and with it end all mounts, which were the container's own.
 */

import { removeTree } from "../remove-tree.ts";
import { type OwnedContainer, transition } from "./lifecycle.ts";

/** Removes a directory that never became a container, or no longer is one, and releases its lock. */
export function discard(data: string, container: OwnedContainer): void {
  try {
    const garbage = container.state === "garbage" ? container : transition(data, container, "garbage");
    removeTree(garbage.dir);
  } finally {
    container.lock.close();
  }
}

/** As `discard`, on the way out of a failure, which is what counts: what can't be removed now is rubbish for gc. */
export function abandon(data: string, container: OwnedContainer): void {
  try {
    discard(data, container);
  } catch {}
}
