/**
 * Finds the cgroup hierarchies of a mount namespace, and a process's cgroup in each, in the texts of /proc. Pure.
 */

export interface Hierarchy {
  /** v1 controllers or "name=systemd"; empty for v2. */
  controllers: string[];
  mountPoint: string;
}

const unescapeOctal = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));

/**
 * The cgroup mounts in a mountinfo file (proc_pid_mountinfo(5)), except those that show a part outside our namespace.
 */
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
