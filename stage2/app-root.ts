/**
 * Finds the targets of mounts while an app's root is built.
 *
 * Nothing in the image's tree or in a volume is trusted, and it may change at any moment: another app that shares a
 * volume may replace a directory by a symbolic link (CVE-2019-16884, CVE-2021-30465). So a path is walked one component
 * at a time. Each is opened below the directory before it, the mount goes onto the last descriptor, and nothing is
 * looked up twice.
 *
 * - A path below a mount of the plan is walked from the root of that mount.
 * - Only the image's own tree may have symbolic links on the path. In a volume or a kernel file system, a link and ".."
 *   are refused.
 * - A link or a mount never leads into a kernel file system, nor onto the root directory, nor onto the mount of another
 *   step.
 * - A link of the image that belongs to an ordinary user leads only to that user's files: an app may have made it
 * before
 *   its handler runs.
 */

import { closeSync, constants } from "node:fs";
import { errorCode, RktError } from "../shared/errors.ts";
import { LAUNCH_EXIT } from "../shared/contract/stage1-root.ts";
import {
  mkdirat,
  mknodat,
  O_PATH,
  openat2,
  openat2IfThere,
  RESOLVE_BENEATH,
  readlinkat,
  type Status,
  status,
  unlinkat,
} from "../shared/syscall/file.ts";
import { type AppPath, contains } from "./mount-plan.ts";

/** A mount of the plan that has been made. */
export interface PlacedMount {
  /** Its root: a directory, or a file. */
  fd: number;
  /** The kernel's id of the mount (statx(2), stx_mnt_id). */
  id: bigint;
  /** Its target in the plan. */
  target: AppPath;
  /** The image's tree, a kernel file system, or a volume. */
  kind: "image" | "kernel" | "volume";
  /**
   * It is the container's and not a directory of the host's: the launcher may make targets there, and replace files.
   */
  own: boolean;
}

/** The mounts of a root so far, in order; the first is the image's. */
export type AppRoot = PlacedMount[];

/** The file or directory at the end of a path. Disposing of it closes its descriptors. */
export interface Reached extends Disposable {
  /** O_PATH. */
  fd: number;
  status: Status;
  /** The directory that holds it; undefined if it is the root of a mount. */
  parent: number | undefined;
  name: string;
  /** `PlacedMount.own` of the mount that it lies on. */
  own: boolean;
  /** It was missing, and the launcher has made it. */
  made: boolean;
}

/** As many links as the kernel follows in one path (path_resolution(7)). */
const MAX_LINKS = 40;

/** The places of kernel file systems. No link of the image can move them. */
const KERNEL = /^\/(?:proc|sys|dev)(?:\/|$)/;
export const isKernelPath = (path: string): boolean => KERNEL.test(path);

interface Step {
  fd: number;
  status: Status;
}

interface Opened {
  fd: number;
  /** It was missing, and the launcher has made it. */
  made: boolean;
}

/** The state of a walk. */
interface Walk {
  root: AppRoot;
  target: AppPath;
  /** The components that remain. */
  rest: string[];
  /** The directories from the mount's root, which is the first, to the current one. */
  steps: Step[];
  /** The plan's mount that the current directory lies on, perhaps in a further mount below it. */
  mount: PlacedMount;
  own: boolean;
  links: number;
  /** The owner of a link that was followed, if that is an ordinary user. */
  linkOwner: number | undefined;
}

/** Walks to a path. Undefined if a component is missing and `make` is not given. */
export function reach(root: AppRoot, target: AppPath, make?: "directory" | "file"): Reached | undefined {
  const mount = root.findLast((one) => contains(one.target, target));
  if (mount === undefined) throw new Error("an app's root begins with the image's mount");
  const first = { fd: mount.fd, status: status(mount.fd) };
  const rest = components(target.slice(mount.target.length));
  const walk: Walk = { root, target, rest, steps: [first], mount, own: mount.own, links: 0, linkOwner: undefined };
  let made = false;
  let name = "";
  try {
    for (let next = walk.rest.shift(); next !== undefined; next = walk.rest.shift()) {
      if (next === "..") {
        leaveDirectory(walk);
        continue;
      }
      const opened = openNext(walk, next, make);
      if (opened === undefined) return undefined;
      ({ made } = opened);
      name = next;
      enter(walk, opened.fd);
    }
    return arrive(walk, name, made);
  } finally {
    // The first descriptor belongs to its mount.
    for (const { fd } of walk.steps.slice(1)) closeSync(fd);
  }
}

/** As `reach`, but makes missing components: owned by root, directories 0755 (ace.md, "Volume Setup"). */
export function reachOrMake(root: AppRoot, target: AppPath, make: "directory" | "file"): Reached {
  const reached = reach(root, target, make);
  if (reached === undefined) throw new Error(`nothing was made at ${target}`);
  return reached;
}

/** Replaces a file by an empty directory. Disposing of the result closes the file as well. */
export function replaceByDirectory(file: Reached): Reached {
  if (file.parent === undefined) throw conflict("a file is mounted there already");
  if (!file.own) throw foreign();
  unlinkat(file.parent, file.name);
  mkdirat(file.parent, file.name, 0o755);
  const flags = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  const fd = openat2(file.parent, file.name, flags, 0, RESOLVE_BENEATH);
  const dispose = () => {
    closeSync(fd);
    file[Symbol.dispose]();
  };
  return { ...file, fd, status: status(fd), made: true, [Symbol.dispose]: dispose };
}

export function conflict(message: string): RktError {
  return new RktError("mount-conflict", message, { exitCode: LAUNCH_EXIT.mount });
}

export const foreign = (): RktError =>
  conflict("it lies in a volume of the host, and rkt makes nothing there: make it first");

// --- one component -------------------------------------------------------------------

const components = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

function last({ steps }: Walk): Step {
  const step = steps.at(-1);
  if (step === undefined) throw new Error("a walk begins at a mount's root");
  return step;
}

function leaveDirectory(walk: Walk): void {
  if (walk.mount.kind !== "image") throw conflict(`its path leaves ${walk.mount.target} again by ".."`);
  // The parent of the root directory is the root directory.
  if (walk.steps.length > 1) closeSync((walk.steps.pop() as Step).fd);
}

/** Opens the next component; a symbolic link is not followed. */
function openNext(walk: Walk, name: string, make: "directory" | "file" | undefined): Opened | undefined {
  const directory = last(walk);
  const flags = O_PATH | constants.O_NOFOLLOW;
  const found = openat2IfThere(directory.fd, name, flags, 0, RESOLVE_BENEATH);
  if (found !== undefined) return { fd: found, made: false };
  if (make === undefined) return undefined;
  if (!walk.own) throw foreign();
  requireOwner(walk, directory.status);
  let made = true;
  try {
    if (walk.rest.length > 0 || make === "directory") mkdirat(directory.fd, name, 0o755);
    else mknodat(directory.fd, name, constants.S_IFREG | 0o644, 0n);
  } catch (error) {
    // Another process has made it meanwhile, perhaps of another kind.
    if (errorCode(error) !== "EEXIST") throw error;
    made = false;
  }
  return { fd: openat2(directory.fd, name, flags, 0, RESOLVE_BENEATH), made };
}

/** Continues the walk at what was opened; follows it if it is a link. */
function enter(walk: Walk, fd: number): void {
  const next: Step = { fd, status: status(fd) };
  // From here on `reach` closes it.
  walk.steps.push(next);
  if (next.status.isSymbolicLink) followLink(walk, next);
  else if (next.status.mountId !== (walk.steps.at(-2) as Step).status.mountId) crossMount(walk, next);
}

function followLink(walk: Walk, link: Step): void {
  if (isKernelPath(walk.target)) throw conflict("the image has a link in its place");
  if (walk.mount.kind !== "image")
    throw conflict(`a symbolic link is on its way, in what is mounted on ${walk.mount.target}`);
  if (++walk.links > MAX_LINKS) throw conflict("too many symbolic links are on its way");
  const to = readlinkat(link.fd);
  if (link.status.uid !== 0) walk.linkOwner = link.status.uid;
  // Back to the link's directory, or to the root for an absolute link.
  const keep = to.startsWith("/") ? 1 : walk.steps.length - 1;
  for (const { fd } of walk.steps.splice(keep)) closeSync(fd);
  walk.rest.unshift(...components(to));
}

function crossMount(walk: Walk, next: Step): void {
  const placed = walk.root.findLast(({ id }) => id === next.status.mountId);
  if (placed === undefined) {
    // A mount that came with a recursive volume, or with /sys: it counts as a part of that.
    if (walk.mount.kind === "image") throw conflict("it leads onto a mount that is not the container's");
    walk.own = false;
    return;
  }
  if (placed.kind === "kernel" && walk.mount.kind !== "kernel")
    throw conflict(`the image has a link in its place, which leads into ${placed.target}`);
  if (walk.rest.length === 0) throw conflict(`it leads to ${placed.target}, on which something is mounted already`);
  walk.mount = placed;
  walk.own = placed.own;
}

/** An ordinary user's link may lead only to files of that user. */
function requireOwner({ linkOwner }: Walk, { uid }: Status): void {
  if (linkOwner !== undefined && uid !== linkOwner)
    throw conflict(`a symbolic link of user ${linkOwner} is on its way, and leads to a file of user ${uid}`);
}

function arrive(walk: Walk, name: string, made: boolean): Reached {
  const end = last(walk);
  // A link or ".." has led to the root: no step of the plan has it as its target.
  if (walk.mount.kind === "image" && walk.steps.length === 1) throw conflict("it leads to the app's root itself");
  if (!made) requireOwner(walk, end.status);
  const parent = walk.steps.at(-2)?.fd;
  // The last two descriptors stay open for the caller, but a mount's root belongs to its mount.
  const kept = walk.steps.splice(Math.max(1, walk.steps.length - 2));
  const dispose = () => {
    for (const { fd } of kept) closeSync(fd);
  };
  return { fd: end.fd, status: end.status, parent, name, own: walk.own, made, [Symbol.dispose]: dispose };
}
