/**
 * The mounts that stage 0 makes for a container: overlays over rendered trees, in a new mount namespace. They never
 * exist in the host's namespace, so none can leak there or make files busy for gc.
 */

import type { TreesFile } from "../../shared/contract/trees.ts";
import { errorText, RktError } from "../../shared/errors.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { SyscallError } from "../../shared/syscall/call.ts";
import { MS_REC, MS_SLAVE, mount } from "../../shared/syscall/mount.ts";
import { CLONE_NEWNS, unshare } from "../../shared/syscall/namespace.ts";
import { lowerDirectories, lowerOption } from "./lower-directories.ts";
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
  const lower = lowerDirectories(trees).trees;
  // What the overlays are made of is shown as the container's, in its mount namespace; each but once, for no mount is
  // mapped twice.
  if (trees.privateUsers === true) for (const dir of new Set([...lower.values()].flat())) mapOwners(dir);
  if (trees.privateUsers === true) mapOwners(here.overlay);
  const mountOne = (of: string, tree: string, target: HostPath) =>
    mountOverlay(of, lower.get(tree) ?? [], target, trees.privateUsers);
  return [
    mountOne("stage1", trees.stage1.tree, here.stage1Rootfs),
    ...Object.values(trees.apps).map(({ dir, tree }) => mountOne(dir, tree, here.appRootfs(dir))),
  ];
}

/** As `mountOverlays`, the root of stage1 alone. */
export function mountStage1(trees: TreesFile): HostPath {
  const lower = lowerDirectories(trees).trees.get(trees.stage1.tree) ?? [];
  return mountOverlay("stage1", lower, containerLayout(".").stage1Rootfs, trees.privateUsers);
}

function mountOverlay(of: string, lower: readonly HostPath[], target: HostPath, mapped = false): HostPath {
  const here = containerLayout(".");
  const options = `lowerdir=${lowerOption(lower)},upperdir=${here.upper(of)},workdir=${here.work(of)}`;
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
