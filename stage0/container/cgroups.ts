/** The cgroups that a container's stage 1 has listed; nothing else may be touched by their names. */

import { readFileSync } from "node:fs";
import { errorCode } from "../../shared/errors.ts";
import { containerLayout, type HostPath } from "../../shared/layout.ts";

/** Directories that may be gone. Only names that carry the container's UUID count. */
export function listedCgroups(container: HostPath, uuid: string): string[] {
  let list: string;
  try {
    list = readFileSync(containerLayout(container).cgroups, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
  return list
    .split("\n")
    .filter((dir) => dir.startsWith("/sys/fs/cgroup/") && !dir.includes("/../") && dir.endsWith(`/rkt-${uuid}`));
}
