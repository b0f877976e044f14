/** Which images and rendered trees the containers use, from the `trees` files in their directories. */

import type { TreesFile } from "../../shared/contract/trees.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { type ContainerRef, findContainer, listContainers, type Phase, phase } from "./lifecycle.ts";
import { readTrees } from "./inspect.ts";

export interface TreeUse {
  uuid: string;
  phase: Phase;
  /** The app that uses it; undefined: the stage1. */
  app: string | undefined;
  /** ID of the image. */
  image: string;
  /** Undefined for a container with copies. */
  tree: string | undefined;
}

/**
 * All uses. A container without a `trees` file yet is not among them: the process that makes it holds the store's lock.
 */
export function treeUses(data: string): TreeUse[] {
  return listContainers(data).flatMap((ref) => usesOf(data, ref));
}

function usesOf(data: string, ref: ContainerRef): TreeUse[] {
  for (let at = ref; ; ) {
    const now = phase(at);
    const file = now === undefined ? undefined : read(at);
    if (now !== undefined && file !== undefined) return describe(at.uuid, now, file);
    // It has no such file, or has moved to another state.
    const moved = find(data, at.uuid);
    if (moved === undefined || moved.dir === at.dir) return [];
    at = moved;
  }
}

function describe(uuid: string, phase: Phase, { overlay, stage1, apps }: TreesFile): TreeUse[] {
  const use = (app: string | undefined, image: string, tree: string): TreeUse => ({
    ...{ uuid, phase, app, image },
    tree: overlay ? tree : undefined,
  });
  return [
    use(undefined, stage1.image, stage1.tree),
    ...Object.entries(apps).map(([name, app]) => use(name, app.image, app.tree)),
  ];
}

function read(ref: ContainerRef): TreesFile | undefined {
  try {
    return readTrees(ref.dir);
  } catch (error) {
    if (error instanceof Error && errorCode(error.cause) === "ENOENT") return undefined;
    throw new RktError("damaged-container", `cannot tell what container ${ref.uuid} stands on: ${errorText(error)}`, {
      hint: `rkt rm ${ref.uuid}`,
      cause: error,
    });
  }
}

function find(data: string, uuid: string): ContainerRef | undefined {
  try {
    return findContainer(data, uuid);
  } catch (error) {
    if (error instanceof RktError && error.code === "no-such-container") return undefined;
    throw error;
  }
}
