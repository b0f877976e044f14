/**
 * Which cgroups an app sees: its own, so that it finds its limits. Programs look for them at the root of each hierarchy
 * (/sys/fs/cgroup/memory.max), or at the path in /proc/self/cgroup, below the part that mountinfo calls mounted. Pure.
 *
 * On v2 the app has a cgroup namespace, so that both are the root. On v1 the launcher joins the app's cgroups only when
 * it can no longer make a namespace: /proc/self/cgroup then names the whole path, and so does mountinfo.
 */

import { type Hierarchy, ownCgroup } from "../shared/cgroup-hierarchies.ts";
import type { Stage1Path } from "../shared/contract/paths.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";

/** Where hosts mount the hierarchies. */
export const CGROUPS = "/sys/fs/cgroup";

/** One hierarchy, as the app will see it. */
export interface CgroupView {
  /** The mount point, in stage 1 and in the app. */
  mountPoint: string;
  /** The cgroup's path in stage 1. */
  source: Stage1Path;
  /** Controllers of v1; if a hierarchy has several, each has a link to the mount point. Empty for v2. */
  controllers: string[];
  /** The cgroup is the container's: this app has none of its own in the hierarchy, but other apps may have. */
  shared: boolean;
}

/** `joined`: controllers of v1 whose cgroups stage 1 has made for the app. `cgroupFile`: /proc/self/cgroup of its launcher. */
export function cgroupViews(
  app: string,
  mounted: readonly Hierarchy[],
  cgroupFile: string,
  joined: readonly string[],
): CgroupView[] {
  return mounted.flatMap((hierarchy): CgroupView[] => {
    const { mountPoint, controllers } = hierarchy;
    if (mountPoint !== CGROUPS && !mountPoint.startsWith(`${CGROUPS}/`)) return [];
    const controller = controllers.find((name) => joined.includes(name));
    if (controller !== undefined)
      return [{ mountPoint, controllers, source: STAGE1.appCgroup(app, controller), shared: false }];
    const own = ownCgroup(cgroupFile, hierarchy) ?? "/";
    const path = own === "/" ? "" : own;
    return [{ mountPoint, controllers, source: `${mountPoint}${path}` as Stage1Path, shared: path === "" }];
  });
}

export const isUnified = ({ controllers }: CgroupView): boolean => controllers.length === 0;
