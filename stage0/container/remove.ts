/**
 * Removes a container directory. Only the lock's holder may do so: then no process of the container runs any more, and
 * its mounts, which were in its own mount namespace, are gone.
 */

import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { errorCode } from "../../shared/errors.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { removeTree } from "../host/remove-tree.ts";
import { type OwnedContainer, transition } from "./lifecycle.ts";

/** Removes the directory, and releases its lock. */
export function removeContainerDirectory(data: string, container: OwnedContainer): void {
  try {
    const { dir } = toGarbage(data, container);
    // The manifest is removed last: until then the container can be listed, and does not look damaged.
    const { manifest, trees } = containerLayout(dir);
    // The list of trees is removed first: without it nobody starts the container.
    removeTree(trees);
    for (const name of readdirSync(dir)) if (name !== basename(manifest)) removeTree(`${dir}/${name}`);
    removeTree(dir);
  } finally {
    container.lock.close();
  }
}

/** Moves the container to `garbage`. If that fails, it is removed where it is. */
function toGarbage(data: string, container: OwnedContainer): OwnedContainer {
  if (container.state === "garbage") return container;
  try {
    return transition(data, container, "garbage");
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return container;
  }
}

/**
 * Removes the directory after a failure. Its own failure is ignored, so that the first one is reported; `rkt gc` tries
 * again.
 */
export function abandon(data: string, container: OwnedContainer): void {
  try {
    removeContainerDirectory(data, container);
  } catch {}
}
