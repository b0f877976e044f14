/** The cgroups of a container, from the list that its stage 1 has written. */

import { existsSync } from "node:fs";
import { MAX_LIST_BYTES, readBounded } from "../../shared/bounded-read.ts";
import { errorCode } from "../../shared/errors.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";

/**
 * The directories, which may not exist any more. Names without the container's UUID are ignored, because they are
 * removed.
 */
export function listedCgroups(container: HostPath, uuid: string): string[] {
  let list: string;
  try {
    list = readBounded(containerLayout(container).cgroups, MAX_LIST_BYTES);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
  return list
    .split("\n")
    .filter((dir) => dir.startsWith("/sys/fs/cgroup/") && !dir.includes("/../") && dir.endsWith(`/rkt-${uuid}`));
}

/** Whether the host has cgroup v2 alone (cgroups(7)). Beside v1 ("hybrid"), v2 is mounted elsewhere. */
export function hasUnifiedCgroups(root = "/sys/fs/cgroup"): boolean {
  return existsSync(`${root}/cgroup.controllers`);
}
