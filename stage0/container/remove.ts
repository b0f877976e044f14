/**
 * Taking a container directory away. Only its lock's holder may: nothing of
 * it runs any more, and with it end all mounts, which were the container's own.
 */

import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { errorCode } from "../../shared/errors.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { removeTree } from "../host/remove-tree.ts";
import { type OwnedContainer, transition } from "./lifecycle.ts";

/** Removes a directory that never became a container, or no longer is one, and releases its lock. */
export function removeContainerDirectory(data: string, container: OwnedContainer): void {
  try {
    const { dir } = toGarbage(data, container);
    // Last of all what says whose it was: until then it can be listed, and nobody calls it damaged.
    const { manifest, trees } = containerLayout(dir);
    // And first what it takes to run it.
    removeTree(trees);
    for (const name of readdirSync(dir)) if (name !== basename(manifest)) removeTree(`${dir}/${name}`);
    removeTree(dir);
  } finally {
    container.lock.close();
  }
}

/** What can't be moved can still be removed where it is. */
function toGarbage(data: string, container: OwnedContainer): OwnedContainer {
  if (container.state === "garbage") return container;
  try {
    return transition(data, container, "garbage");
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return container;
  }
}

/** Removes the directory after a failure. The failure is what is reported: `rkt gc` removes what this call could not. */
export function abandon(data: string, container: OwnedContainer): void {
  try {
    removeContainerDirectory(data, container);
  } catch {}
}
