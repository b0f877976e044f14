/**
 * Each container gets its own cgroup below the caller's, in every hierarchy. Without it, all containers of a caller
 * would share one cgroup, because nspawn makes none (`--keep-unit`).
 *
 * cgroups(7): v1 has one hierarchy per controller and a named one for systemd,
 * v2 one for all; "hybrid" is both.
 */

import { mkdirSync, readdirSync, readFileSync, rmdirSync, statfsSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { type Hierarchy, hierarchies, ownCgroup } from "../../shared/cgroup-hierarchies.ts";
import { type HostPath, hostPath } from "../../shared/contract/paths.ts";
import { APPS_SLICE, appUnitCgroup } from "../../shared/contract/units.ts";
import { allowsNamespaces, isolatorFilter } from "../../shared/seccomp.ts";
import { MNT_DETACH, umount } from "../../shared/syscall/mount.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { understandIsolators } from "../../shared/schema/isolators.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import {
  type Controller,
  noHugePages,
  type Resources,
  type Setting,
  unifiedSettings,
  version1Settings,
} from "../units/resources.ts";

/** What the container, and each app by name, may use. */
export interface Limits {
  container: Resources;
  apps: ReadonlyMap<string, Resources>;
  /** The container may have huge pages. */
  hugePages: boolean;
  /** An app may make namespaces, and mount what nobody has mounted for it: also a hierarchy that it has no use for. */
  namespaces: boolean;
}

/** A v1 cgroup that an app's launcher joins: the app's own, or for `pids` one that all apps share. */
export interface AppCgroup {
  app: string;
  controller: Controller;
  dir: HostPath;
}

/** A cgroup that the container is to have in one hierarchy. */
export interface PlannedCgroup {
  hierarchy: Hierarchy;
  /** Possible directories, the best first. More than one only on v2, when it has to provide controllers. */
  candidates: string[];
  /** The controllers that enforce the limits of the container and, on v1, of its apps. */
  controllers: Controller[];
  /** The container's systemd does not see this hierarchy, and uses v1. */
  hidden: boolean;
}

/**
 * Plans `rkt-UUID` below the caller's cgroup, in every hierarchy. A limit that no controller can enforce is an error:
 * an app never runs without a limit that was asked for.
 */
export function planCgroups(uuid: string, limits: Limits): PlannedCgroup[] {
  const cgroupFile = readFileSync("/proc/self/cgroup", "utf8");
  const mounted = hierarchies(readFileSync("/proc/self/mountinfo", "utf8"));
  const planned = planFromTexts(uuid, mounted, cgroupFile, neededControllers(limits), limits.namespaces);
  for (const controller of neededControllers(limits))
    if (!planned.some(({ controllers }) => controllers.includes(controller))) throw noController(controller);
  if (planned.some(({ hierarchy, controllers }) => isUnified(hierarchy) && controllers.includes("memory")))
    requireRoomForLauncher(limits);
  return planned;
}

/** The hierarchy of v1 that systemd keeps its units in. */
const SYSTEMD = "name=systemd";

/**
 * Takes v2 out of this mount namespace when the container has no cgroup there: nspawn and systemd, which look for
 * it, would use the caller's.
 */
export function hideUnused(planned: readonly PlannedCgroup[]): void {
  if (!isVersion1(planned)) return;
  for (const hierarchy of hierarchies(readFileSync("/proc/self/mountinfo", "utf8")))
    if (isUnified(hierarchy)) umount(hierarchy.mountPoint, MNT_DETACH);
}

/** Whether the container's systemd keeps its units in cgroup v1. */
export const isVersion1 = (planned: readonly PlannedCgroup[]): boolean =>
  !planned.some(({ hierarchy, hidden }) => isUnified(hierarchy) && !hidden);

const isUnified = ({ controllers }: Hierarchy): boolean => controllers.length === 0;

/**
 * Pure: from the texts of mountinfo and of /proc/self/cgroup. A controller that v1 has mounted is not available on v2.
 * When v2 has no controller that is needed, the container uses v1 alone: it then starts in a tenth less time. `everywhere`:
 * it gets a cgroup of v2 all the same, so that it is not in the caller's.
 */
export function planFromTexts(
  uuid: string,
  mounted: readonly Hierarchy[],
  cgroupFile: string,
  needed: readonly Controller[],
  everywhere = false,
): PlannedCgroup[] {
  const version1 = mounted.flatMap(({ controllers }) => controllers);
  return mounted.flatMap((hierarchy) => {
    const own = ownCgroup(cgroupFile, hierarchy);
    if (own === undefined) return [];
    const controllers = needed.filter((controller) =>
      isUnified(hierarchy) ? !version1.includes(controller) : hierarchy.controllers.includes(controller),
    );
    const hidden = isUnified(hierarchy) && version1.includes(SYSTEMD) && controllers.length === 0;
    if (hidden && !everywhere) return [];
    const parents = isUnified(hierarchy) && controllers.length > 0 ? selfAndAncestors(own) : [own];
    const candidates = parents.map((path) => `${hierarchy.mountPoint}${path === "/" ? "" : path}/rkt-${uuid}`);
    return { hierarchy, candidates, controllers, hidden };
  });
}

function selfAndAncestors(path: string): string[] {
  return path === "/" ? [path] : [path, ...selfAndAncestors(dirname(path))];
}

/**
 * Makes the planned cgroups and moves this process into them. Returns the cgroups that the apps' launchers have to
 * join.
 */
export function enterCgroups(planned: readonly PlannedCgroup[], limits: Limits): AppCgroup[] {
  const version1Processes = planned.some(({ hierarchy }) => hierarchy.controllers.includes("pids"));
  return planned.flatMap(({ hierarchy, candidates, controllers, hidden }) => {
    const dir = isUnified(hierarchy)
      ? enterUnified(candidates, controllers)
      : // Moves this thread alone: the kernel does that without waiting, and the execve to come ends all other threads.
        candidates.find((candidate) => enterCgroup(candidate, "tasks", hierarchy.controllers.includes("cpuset")));
    const [unavailable] = controllers;
    if (dir === undefined && unavailable !== undefined) throw noController(unavailable);
    if (dir === undefined || hidden) return [];
    const has = ({ controller }: Setting) => controllers.includes(controller);
    const settings = isUnified(hierarchy) ? unifiedSettings : version1Settings;
    for (const setting of settings(limits.container).filter(has)) write(dir, setting, "the container");
    if (!limits.hugePages) refuseHugePages(dir, hierarchy);
    if (isUnified(hierarchy)) {
      if (!version1Processes) write(dir, processLimit(), "the container");
      return [];
    }
    const cgroups = appCgroups(dir, has, limits.apps);
    return hierarchy.controllers.includes("pids") ? [...cgroups, ...limitProcesses(dir, limits.apps.keys())] : cgroups;
  });
}

/** Whether the system call filter of an app lets it make namespaces. */
export function makesNamespaces({ apps, annotations }: PodManifest): boolean {
  if (annotation(annotations, ANNOTATIONS.insecure)?.split(",").includes("seccomp") === true) return true;
  return apps.some(({ name, app }) => {
    // The app section of the image then counts, which stage 1 does not read.
    if (app === undefined) return true;
    // The default filter, which is costly to spell out, lets nobody.
    if (!app.isolators.some((isolator) => isolator.name.startsWith("os/linux/seccomp-"))) return false;
    const { known } = understandIsolators(app.isolators, { object: `app ${name}`, path: "isolators" });
    return allowsNamespaces(isolatorFilter(known));
  });
}

/** Whether a volume's source lies in the host's hugetlbfs (statfs(2)). */
export function asksForHugePages({ volumes, apps }: PodManifest): boolean {
  const HUGETLBFS_MAGIC = 0x958458f6;
  const own = apps.flatMap(({ mounts }) => mounts.flatMap(({ appVolume }) => appVolume ?? []));
  return [...volumes, ...own].some(({ kind, source }) => {
    if (kind !== "host" || source === undefined) return false;
    try {
      return statfsSync(source).type === HUGETLBFS_MAGIC;
    } catch (error) {
      // The mount of the volume reports it.
      if (errorCode(error) === "ENOENT") return false;
      throw error;
    }
  });
}

/** Forbids huge pages, if the host has a controller for them (few have). */
function refuseHugePages(dir: string, hierarchy: Hierarchy): void {
  if (isUnified(hierarchy)) delegateControllers(dirname(dir), ["hugetlb"]);
  for (const setting of noHugePages(readdirSync(dir))) write(dir, setting, "the container");
}

/** Processes that apps can't use up: they are for systemd, and for the scripts that record how an app has ended. */
const RESERVED_PROCESSES = 64;

/**
 * Limits the number of processes of the container, and of all its apps together to a little less: when an app has
 * used up its processes, systemd can still end it in order.
 */
function limitProcesses(dir: string, apps: Iterable<string>): AppCgroup[] {
  const all = `${dir}/${APPS_SLICE}`;
  mkdirSync(all, { recursive: true });
  write(dir, processLimit(), "the container");
  write(all, processLimit(RESERVED_PROCESSES), "the container's apps");
  return [...apps].map((app) => ({ app, controller: "pids", dir: hostPath(all) }));
}

function noController(controller: Controller): RktError {
  return new RktError("no-controller", `cannot limit ${controller}: no such cgroup controller is available`, {
    hint: "on a host with systemd: systemd-run --scope --property=Delegate=yes rkt run ...",
  });
}

/** The launcher starts in 16 MiB, measured; on v2 the limit is its unit's, and so its own. */
const LAUNCHER_MEMORY = 24n << 20n;

function requireRoomForLauncher({ container, apps }: Limits): void {
  const named = [...apps].map(([app, asked]) => [`app ${app}`, asked] as const);
  for (const [whose, { memory }] of [["the container", container] as const, ...named])
    if (memory !== undefined && memory < LAUNCHER_MEMORY)
      throw new RktError("bad-isolator", `${whose}: nothing can start in ${memory} bytes of memory`, {
        hint: "a host with cgroup v2 needs 24Mi: the program that starts the app has the app's limit, too",
      });
}

function neededControllers({ container, apps }: Limits): Controller[] {
  const settings = [container, ...apps.values()].flatMap(version1Settings);
  return [...new Set(settings.map(({ controller }) => controller))];
}

/** Makes the cgroup and joins it. False if it can't be made: the container then stays in the caller's cgroup. */
function enterCgroup(dir: string, file: "cgroup.procs" | "tasks", cpuset = false): boolean {
  try {
    mkdirSync(dir);
    if (cpuset) inheritCpuset(dir);
    writeFileSync(`${dir}/${file}`, "0");
    return true;
  } catch (error) {
    if (UNAVAILABLE.includes(errorCode(error) ?? "")) return false;
    throw new RktError("cgroup-failed", `cannot enter cgroup ${dir}: ${errorText(error)}`, { cause: error });
  }
}

/** A read-only or foreign hierarchy. */
const UNAVAILABLE = ["EROFS", "EACCES", "EPERM", "ENOENT", "EOPNOTSUPP"];

/**
 * Enters the first candidate that has the wanted controllers. On v2 a cgroup has the controllers that its parent
 * delegates, and a parent that holds processes (a login session) can delegate none. So the container moves up until
 * one can: a delegated cgroup that held rkt alone is empty as soon as rkt has moved below it.
 */
function enterUnified(candidates: readonly string[], wanted: readonly Controller[]): string | undefined {
  let last: string | undefined;
  for (const dir of candidates) {
    if (!enterCgroup(dir, "cgroup.procs")) continue;
    if (last !== undefined) rmdirSync(last);
    last = dir;
    if (delegateControllers(dirname(dir), wanted)) return dir;
  }
  return undefined;
}

/** Makes a v2 cgroup give controllers to its children. False if it can't. */
function delegateControllers(parent: string, wanted: readonly Controller[]): boolean {
  if (wanted.length === 0) return true;
  const file = `${parent}/cgroup.subtree_control`;
  try {
    const passed = readFileSync(file, "utf8").trim().split(" ");
    const more = wanted.filter((controller) => !passed.includes(controller));
    if (more.length > 0) writeFileSync(file, more.map((controller) => `+${controller}`).join(" "));
    return true;
  } catch (error) {
    // EBUSY: the parent holds processes. ENOENT: it does not have the controller itself.
    if (["EBUSY", "EINVAL", ...UNAVAILABLE].includes(errorCode(error) ?? "")) return false;
    throw error;
  }
}

/**
 * 15% of the processes that the host can have, as systemd grants a service (systemd-system.conf(5), DefaultTasksMax=),
 * so that no container can use them all up. Without a `pids` controller there is no limit.
 */
function processLimit(reserved = 0): Setting {
  const most = ["pid_max", "threads-max"].map((name) => Number(readFileSync(`/proc/sys/kernel/${name}`, "utf8")));
  const value = Math.max(Math.ceil(Math.min(...most) * 0.15) - reserved, 1);
  return { controller: "pids", file: "pids.max", value: String(value), optional: true };
}

/**
 * The apps' cgroups have the names that systemd would give them: an app's processes are found at the same path
 * everywhere.
 */
function appCgroups(dir: string, has: (setting: Setting) => boolean, apps: Limits["apps"]): AppCgroup[] {
  const made: AppCgroup[] = [];
  for (const [app, asked] of apps) {
    const settings = version1Settings(asked).filter(has);
    const [first] = settings;
    if (first === undefined) continue;
    const cgroup = `${dir}/${appUnitCgroup(app)}`;
    mkdirSync(cgroup, { recursive: true });
    for (const setting of settings) write(cgroup, setting, `app ${app}`);
    made.push({ app, controller: first.controller, dir: hostPath(cgroup) });
  }
  return made;
}

function write(dir: string, { file, value, optional }: Setting, whose: string): void {
  try {
    writeFileSync(`${dir}/${file}`, value);
  } catch (error) {
    if (optional === true && ["ENOENT", "EACCES"].includes(errorCode(error) ?? "")) return;
    throw new RktError("cgroup-failed", `cannot limit ${whose}: ${file}=${value}: ${errorText(error)}`, {
      hint: errorCode(error) === "EINVAL" ? "a cgroup above this one may allow less" : undefined,
      cause: error,
    });
  }
}

/** A new v1 cpuset is empty and takes no process until it has cpus and memory nodes (cpuset(7)). */
function inheritCpuset(dir: string): void {
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    const parent = readFileSync(`${dir}/../${file}`, "utf8").trim();
    writeFileSync(`${dir}/${file}`, parent);
  }
}
