/** The cgroups that a container's stage 1 has listed; nothing else may be touched by their names. */

import { existsSync } from "node:fs";
import { MAX_LIST_BYTES, readBounded } from "../../shared/bounded-read.ts";
import { errorCode } from "../../shared/errors.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";

/** Directories that may be gone. Only names that carry the container's UUID count. */
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

/** Whether the host has cgroup v2 alone (cgroups(7)). Beside v1 ("hybrid") it is elsewhere, and has no controller that v1 has. */
export function hasUnifiedCgroups(root = "/sys/fs/cgroup"): boolean {
  return existsSync(`${root}/cgroup.controllers`);
}
