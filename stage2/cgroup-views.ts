/**
 * What an app sees of cgroups: its own, where it looks for its limits. Programs
 * read them at the root of each hierarchy (/sys/fs/cgroup/memory.max), or at
 * the path that /proc/self/cgroup says, below the part that mountinfo says is
 * mounted. Pure.
 *
 * On v2 both are the root: the app has a cgroup namespace. On v1 an app's
 * launcher joins its cgroups when it has given up the right to make one, so
 * /proc/self/cgroup says more than the root, and mountinfo says the same.
 */

import { type Hierarchy, ownCgroup } from "../shared/cgroup-hierarchies.ts";
import type { Stage1Path } from "../shared/contract/paths.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";

/** Where a host has them. */
export const CGROUPS = "/sys/fs/cgroup";

/** One hierarchy, as it will be for the app. */
export interface CgroupView {
  /** A mount point of stage 1, and of the app. */
  mountPoint: string;
  /** The cgroup in stage 1. */
  source: Stage1Path;
  /** Of v1; more than one have links to the mount point. Empty for v2. */
  controllers: string[];
  /** It is the container's: the app has none of its own here, and other apps may. */
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
