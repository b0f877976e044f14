/**
 * A cgroup of the container's own below the caller's, in every hierarchy:
 * nspawn without a unit of its own (`--keep-unit`) would otherwise share the
 * caller's with every other container.
 *
 * cgroups(7): v1 has one hierarchy per controller and a named one for systemd,
 * v2 one for all; "hybrid" is both.
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { errorCode, errorText, RktError } from "../shared/errors.ts";

export interface Hierarchy {
  /** v1 controllers or "name=systemd"; empty for v2. */
  controllers: string[];
  mountPoint: string;
}

const unescapeOctal = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));

/** The cgroup mounts of a mountinfo file (proc_pid_mountinfo(5)): only those that show the hierarchy's root. */
export function hierarchies(mountinfo: string): Hierarchy[] {
  const found: Hierarchy[] = [];
  for (const line of mountinfo.split("\n")) {
    const [left, right] = line.split(" - ");
    if (left === undefined || right === undefined) continue;
    const [, , , root, mountPoint] = left.split(" ");
    const [type, , superOptions] = right.split(" ");
    if (mountPoint === undefined || root === undefined || superOptions === undefined || root.startsWith("/.."))
      continue;
    if (type === "cgroup2") found.push({ controllers: [], mountPoint: unescapeOctal(mountPoint) });
    if (type === "cgroup")
      found.push({
        controllers: superOptions
          .split(",")
          .filter((option) => !["rw", "ro", "xattr", "none", "clone_children", "noprefix"].includes(option)),
        mountPoint: unescapeOctal(mountPoint),
      });
  }
  return found;
}

/** Path of this process's cgroup in a hierarchy, from /proc/self/cgroup (cgroups(7)). */
export function ownCgroup(cgroupFile: string, hierarchy: Hierarchy): string | undefined {
  for (const line of cgroupFile.split("\n")) {
    const match = /^(\d+):([^:]*):(.*)$/.exec(line);
    if (match === null) continue;
    const [, id, controllers, path] = match;
    const v2 = id === "0" && controllers === "";
    if (
      hierarchy.controllers.length === 0
        ? v2
        : !v2 && controllers?.split(",").some((c) => hierarchy.controllers.includes(c))
    )
      return path;
  }
  return undefined;
}

/** A cgroup that the container is to have in one hierarchy. */
interface PlannedCgroup {
  dir: string;
  hierarchy: Hierarchy;
}

/** `rkt-UUID` below the caller's cgroup, in every hierarchy. */
export function planCgroups(uuid: string): PlannedCgroup[] {
  const cgroupFile = readFileSync("/proc/self/cgroup", "utf8");
  return hierarchies(readFileSync("/proc/self/mountinfo", "utf8")).flatMap((hierarchy) => {
    const own = ownCgroup(cgroupFile, hierarchy);
    return own === undefined ? [] : { dir: `${hierarchy.mountPoint}${own === "/" ? "" : own}/rkt-${uuid}`, hierarchy };
  });
}

/** Makes them and moves this process there. */
export function enterCgroups(planned: readonly PlannedCgroup[]): void {
  for (const { dir, hierarchy } of planned) {
    try {
      mkdirSync(dir);
      if (hierarchy.controllers.includes("cpuset")) inheritCpuset(dir);
      writeFileSync(`${dir}/cgroup.procs`, "0");
    } catch (error) {
      // A read-only or foreign hierarchy: the container then stays in the caller's cgroup there.
      if (["EROFS", "EACCES", "EPERM", "ENOENT", "EOPNOTSUPP"].includes(errorCode(error) ?? "")) continue;
      throw new RktError("cgroup-failed", `cannot enter cgroup ${dir}: ${errorText(error)}`, { cause: error });
    }
  }
}

/** A new v1 cpuset is empty and takes no process until it has cpus and memory nodes (cpuset(7)). */
function inheritCpuset(dir: string): void {
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    const parent = readFileSync(`${dir}/../${file}`, "utf8").trim();
    writeFileSync(`${dir}/${file}`, parent);
  }
}
