/**
 * Overlays that are mounted nowhere: what several directories are together,
 * for this process alone, as long as it has the descriptor open.
 */

import { closeSync, constants, mkdirSync, openSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import type { DataLayout } from "../../shared/contract/data-directory.ts";
import { AT_FDCWD, O_PATH } from "../../shared/syscall/file.ts";
import {
  makeFileSystem,
  MNT_DETACH,
  MOUNT_ATTR_RDONLY,
  MS_RDONLY,
  mount,
  OPEN_TREE_CLONE,
  openTree,
  umount,
} from "../../shared/syscall/mount.ts";
import { temporaryDirectory } from "./temporary.ts";

/** What is written into the overlay goes here; without, nothing can be written. */
export interface Upper {
  upper: string;
  work: string;
}

/**
 * A descriptor (O_PATH) of the root directory of what `lower`, the lowest first, are together. Throws "overlay-failed".
 */
export function overlay(layout: DataLayout, lower: readonly string[], upper?: Upper): number {
  const [only] = lower;
  // overlayfs takes two directories at least.
  if (upper === undefined && only !== undefined && lower.length === 1) return openDirectory(only);
  const open: number[] = [];
  // The kernel takes 255 bytes for an option.
  const short = (path: string): string => {
    const fd = openDirectory(path);
    open.push(fd);
    return `/proc/self/fd/${fd}`;
  };
  try {
    const writable = upper === undefined ? undefined : { upper: short(upper.upper), work: short(upper.work) };
    return mountDetached(layout, lower.map(short).reverse(), writable);
  } catch (error) {
    const unsupported = errorCode(error) === "ENODEV";
    const what = unsupported ? "this kernel has no overlayfs" : `cannot put layers together: ${errorText(error)}`;
    throw new RktError("overlay-failed", what, { hint: "`--no-overlay` copies the images instead", cause: error });
  } finally {
    open.forEach(closeSync);
  }
}

const openDirectory = (path: string): number => openSync(path, O_PATH | constants.O_DIRECTORY);

/** What is stored must not depend on how the kernel's module is configured. */
const PLAIN = [
  ["index", "off"],
  ["metacopy", "off"],
  ["redirect_dir", "off"],
] as const;

function mountDetached(layout: DataLayout, lower: readonly string[], upper: Upper | undefined): number {
  const writable =
    upper === undefined
      ? []
      : ([
          ["upperdir", upper.upper],
          ["workdir", upper.work],
        ] as const);
  try {
    const layers = lower.map((path) => ["lowerdir+", path] as const);
    return makeFileSystem("overlay", [...PLAIN, ...layers, ...writable], upper === undefined ? MOUNT_ATTR_RDONLY : 0);
  } catch (error) {
    // Before Linux 6.8 there is no such option.
    if (errorCode(error) !== "EINVAL") throw error;
  }
  return mountThenDetach(layout, lower, writable, upper === undefined);
}

/** By mount(2), for older kernels: all options have one page, which some 200 directories fill. */
export function mountThenDetach(
  layout: DataLayout,
  lower: readonly string[],
  writable: readonly (readonly [name: string, value: string])[],
  readOnly: boolean,
): number {
  const options = [...PLAIN, ["lowerdir", lower.join(":")] as const, ...writable].map((pair) => pair.join("="));
  const place = temporaryDirectory(layout, "overlay");
  const target = `${place.path}/mount`;
  try {
    mkdirSync(target);
    mount("overlay", target, "overlay", readOnly ? MS_RDONLY : 0, options.join(","));
    try {
      return openTree(AT_FDCWD, target, OPEN_TREE_CLONE);
    } finally {
      umount(target, MNT_DETACH);
    }
  } finally {
    place.remove();
  }
}
