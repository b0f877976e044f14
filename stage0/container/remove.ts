/**
 * Taking a container directory away. Only its lock's holder may: nothing of
 * it runs any more, and with it end all mounts, which were the container's own.
 */

import { rmSync } from "node:fs";
import { type OwnedContainer, transition } from "./lifecycle.ts";

/** Removes a directory that never became a container, or no longer is one, and releases its lock. */
export function discard(data: string, container: OwnedContainer): void {
  try {
    const garbage = container.state === "garbage" ? container : transition(data, container, "garbage");
    rmSync(garbage.dir, { recursive: true, force: true });
  } finally {
    container.lock.close();
  }
}
