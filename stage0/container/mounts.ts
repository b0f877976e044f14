/**
 * The mounts that stage 0 makes for a container: overlays over rendered trees, in a new mount namespace. They never
 * exist in the host's namespace, so none can leak there or make files busy for gc.
 */

import type { TreesFile } from "../../shared/contract/trees.ts";
import { errorText, RktError } from "../../shared/errors.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { SyscallError } from "../../shared/syscall/libc.ts";
import { MS_REC, MS_SLAVE, mount } from "../../shared/syscall/mount.ts";
import { CLONE_NEWNS, unshare } from "../../shared/syscall/namespace.ts";
import { mapOwners } from "./private-users.ts";

/**
 * Makes a mount namespace. The host's later mounts appear in it, so that volumes have them; ours do not appear on the
 * host.
 */
export function separateMounts(): void {
  unshare(CLONE_NEWNS);
  try {
    mount("", "/", "", MS_REC | MS_SLAVE);
  } catch (error) {
    const inChroot = error instanceof SyscallError && error.code === "EINVAL";
    throw new RktError("no-mount-namespace", `cannot keep mounts to the container: ${errorText(error)}`, {
      hint: inChroot ? "the root directory is no mount point: before chroot(1), `mount --bind DIR DIR`" : undefined,
      cause: error,
    });
  }
}

/**
 * Mounts stage1's root, and each app's root below it. Paths are relative to the container directory, and need no
 * escapes.
 */
export function mountOverlays(trees: TreesFile): string[] {
  const here = containerLayout(".");
  if (trees.privateUsers === true) mapLayers(trees);
  const stage1 = mountStage1(trees);
  return [
    stage1,
    ...Object.values(trees.apps).map(({ dir, tree }) =>
      mountOverlay(dir, tree, here.appRootfs(dir), trees.privateUsers),
    ),
  ];
}

/**
 * Maps the owners of the overlays' layers to the container's. Each layer is mapped once, since a mapped mount can't be
 * mapped again.
 */
function mapLayers({ stage1, apps }: TreesFile): void {
  const lower = new Set([stage1, ...Object.values(apps)].map(({ tree }) => dataLayout("../../..").treeRootfs(tree)));
  for (const dir of [...lower, containerLayout(".").overlay]) mapOwners(dir);
}

/** As `mountOverlays`, for the root of stage1 alone. */
export function mountStage1(trees: TreesFile): HostPath {
  return mountOverlay("stage1", trees.stage1.tree, containerLayout(".").stage1Rootfs, trees.privateUsers);
}

function mountOverlay(of: string, tree: string, target: HostPath, mapped = false): HostPath {
  const here = containerLayout(".");
  const data = dataLayout("../../..");
  const options = `lowerdir=${data.treeRootfs(tree)},upperdir=${here.upper(of)},workdir=${here.work(of)}`;
  try {
    mount("overlay", target, "overlay", 0, options);
    return target;
  } catch (error) {
    const unsupported = error instanceof SyscallError && error.code === "ENODEV";
    throw new RktError(
      "overlay-failed",
      unsupported ? "this kernel has no overlayfs" : `cannot mount an overlay: ${errorText(error)}`,
      {
        hint: `\`--no-overlay\` copies the images instead${mapped ? "; with --private-users, overlays take Linux 5.19" : ""}`,
        cause: error,
      },
    );
  }
}
