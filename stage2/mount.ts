/**
 * Builds an app's root file system: carries out the steps of `planAppMounts` in the app's own mount namespace.
 *
 * The image is not trusted, nor are the volumes, to which other apps may write. So `app-root.ts` opens each target, and
 * the mount goes onto that descriptor. Sources are stage 1's own paths.
 */

import { chmodSync, closeSync, constants, readFileSync } from "node:fs";
import { errorCode, errorText, RktError } from "../shared/errors.ts";
import { cloneHostSource } from "../shared/host-source.ts";
import { cloneNotifySocket } from "../shared/notify-socket.ts";
import { LAUNCH_EXIT } from "../shared/contract/stage1-root.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  O_PATH,
  openat2,
  RESOLVE_NO_SYMLINKS,
  status,
  symlinkat,
} from "../shared/syscall/file.ts";
import { SyscallError } from "../shared/syscall/call.ts";
import {
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MS_PRIVATE,
  makeFileSystem,
  mountSetattr,
  moveMountTo,
  OPEN_TREE_CLONE,
  openTree,
} from "../shared/syscall/mount.ts";
import {
  type AppRoot,
  conflict,
  foreign,
  isKernelPath,
  type PlacedMount,
  type Reached,
  reach,
  reachOrMake,
  replaceByDirectory,
} from "./app-root.ts";
import { appPath, describeStep, type MountAttribute, type MountStep } from "./mount-plan.ts";

type Step<K extends MountStep["kind"]> = Extract<MountStep, { kind: K }>;

/** Carries the steps out. Returns a descriptor of the new root. Throws "mount-failed", which names the step. */
export function buildRoot(steps: readonly MountStep[]): number {
  const root: AppRoot = [];
  for (const step of steps) {
    try {
      apply(root, step);
    } catch (error) {
      // Paths below /proc/self/fd mean nothing to a reader; the step names the object.
      const reason = error instanceof SyscallError ? `${error.syscall}: ${error.code}` : errorText(error);
      throw new RktError("mount-failed", `cannot ${describeStep(step)}: ${reason}`, {
        exitCode: LAUNCH_EXIT.mount,
        hint: error instanceof RktError ? error.hint : noPlaceHint(step, error),
        cause: error,
      });
    }
  }
  const [image, ...others] = root;
  if (image === undefined) throw new Error("the plan has no root");
  for (const { fd } of others) closeSync(fd);
  return image.fd;
}

/** Nobody makes a directory in /sys or /proc. */
function noPlaceHint(step: MountStep, error: unknown): string | undefined {
  if (step.kind !== "bind" || !isKernelPath(step.target)) return undefined;
  if (!(error instanceof SyscallError) || error.syscall !== "mkdirat") return undefined;
  const top = step.target.split("/").slice(0, 2).join("/");
  return `${top} has what the kernel has: mount on a directory that is there, or on ${top} as a whole`;
}

function apply(root: AppRoot, step: MountStep): void {
  switch (step.kind) {
    case "root":
      mountRoot(root, step);
      break;
    case "filesystem":
      mountFileSystem(root, step);
      break;
    case "bind":
      bindMount(root, step);
      break;
    case "directory":
      makeDirectory(root, step);
      break;
    case "symlink":
      makeSymlink(root, step);
      break;
    case "mask":
      mask(root, step);
      break;
    case "protect":
      protect(root, step);
      break;
  }
}

/** Attaches a detached mount to a target. Its descriptor stays open until the root is complete. */
function place(root: AppRoot, fd: number, target: Reached, mount: Omit<PlacedMount, "fd" | "id">): void {
  moveMountTo(fd, target.fd);
  root.push({ fd, id: status(fd).mountId, ...mount });
}

// --- steps ------------------------------------------------------------------------

/** Mounts a clone of the rootfs onto the rootfs itself: pivot_root(2) needs a mount point. */
function mountRoot(root: AppRoot, step: Step<"root">): void {
  const tree = openTree(AT_FDCWD, step.source, OPEN_TREE_CLONE);
  mountSetattr(tree, "", attributeFlags(step.attributes), 0);
  using target = held(openat2(AT_FDCWD, step.source, O_PATH | constants.O_DIRECTORY, 0, 0));
  moveMountTo(tree, target.fd);
  root.push({ fd: tree, id: status(tree).mountId, target: appPath("/"), kind: "image", own: true });
}

function mountFileSystem(root: AppRoot, step: Step<"filesystem">): void {
  using target = reachOrMake(root, step.target, "directory");
  place(root, fileSystem(step), target, { target: step.target, kind: "kernel", own: true });
}

function fileSystem({ type, options, attributes, otherwise }: Step<"filesystem">): number {
  try {
    return makeFileSystem(type, options, attributeFlags(attributes));
  } catch (error) {
    const refused = ["EPERM", "EINVAL"].includes(errorCode(error) ?? "");
    if (!refused || otherwise === undefined) throw error;
    const tree = type === "sysfs" ? cloneAlone(otherwise) : openTree(AT_FDCWD, otherwise, OPEN_TREE_CLONE | AT_RECURSIVE);
    mountSetattr(tree, "", attributeFlags(attributes), 0, { recursive: true });
    return tree;
  }
}

/**
 * Clones a mount without the mounts below it, if the kernel allows that. It refuses (EINVAL) to show a user namespace a
 * directory that a mount from outside covers (mount_namespaces(7)): then these are cloned, too.
 */
function cloneAlone(source: string): number {
  try {
    return openTree(AT_FDCWD, source, OPEN_TREE_CLONE);
  } catch (error) {
    if (errorCode(error) !== "EINVAL") throw error;
    return openTree(AT_FDCWD, source, OPEN_TREE_CLONE | AT_RECURSIVE);
  }
}

function bindMount(root: AppRoot, step: Step<"bind">): void {
  const tree = cloneTree(step);
  if (tree === undefined) return;
  using target = bindTarget(root, step, status(tree).isDirectory);
  if (step.fallback === true && target.status.size > 0n) {
    closeSync(tree);
    return;
  }
  // Private: a file system that is mounted at the source later must not appear here.
  const options = { recursive: step.recursive, propagation: MS_PRIVATE };
  mountSetattr(tree, "", attributeFlags(bindAttributes(step)), 0, options);
  const kind = step.volume === undefined && isKernelPath(step.target) ? "kernel" : "volume";
  place(root, tree, target, { target: step.target, kind, own: step.host !== true });
}

function cloneTree({ source, recursive, optional, host, notify }: Step<"bind">): number | undefined {
  const depth = recursive ? AT_RECURSIVE : 0;
  if (notify === true) return cloneNotifySocket(source);
  try {
    // In fly the source is a path of the host.
    return host === true ? cloneHostSource(source, depth) : openTree(AT_FDCWD, source, OPEN_TREE_CLONE | depth);
  } catch (error) {
    if (optional && errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function bindAttributes({ attributes, inDev, source }: Step<"bind">): MountAttribute[] {
  if (inDev === undefined || !isOfDevices(source, inDev)) return attributes;
  return attributes.filter((name) => name !== "nodev");
}

/**
 * Whether a source lies in the host's file system of devices, and not in another one that is mounted below /dev, such
 * as /dev/shm: there, another app with CAP_MKNOD may have made a device. If the host's /dev is a tmpfs, as in a
 * container, the source must have the same path in the tmpfs as in /dev (proc_pid_mountinfo(5)).
 */
function isOfDevices(source: string, inDev: string): boolean {
  using opened = held(openat2(AT_FDCWD, source, O_PATH, 0, RESOLVE_NO_SYMLINKS));
  const { mountId } = status(opened.fd);
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  const mount = mounts.find((line) => line.startsWith(`${mountId} `)) ?? "";
  const [own = "", ofFileSystem = ""] = mount.split(" - ");
  const [, , , root] = own.split(" ");
  const type = ofFileSystem.split(" ")[0];
  return type === "devtmpfs" || type === "devpts" || (type === "tmpfs" && isSamePlace(root ?? "", source, inDev, own));
}

/**
 * Whether the source's path in its file system is `inDev`: the mount's root there, and the path below the mount point.
 */
function isSamePlace(root: string, source: string, inDev: string, mount: string): boolean {
  const target = mount.split(" ")[4] ?? "";
  const below = appPath(source).slice(target === "/" ? 0 : target.length);
  return appPath(`${root}/${below}`) === inDev;
}

/** Finds or makes a target of the source's kind. A file is replaced by a directory (ace.md, "Volume Setup"). */
function bindTarget(root: AppRoot, step: Step<"bind">, directory: boolean): Reached {
  const target = reachOrMake(root, step.target, directory ? "directory" : "file");
  if (target.status.isDirectory === directory) return target;
  if (!directory) throw conflict("it is a directory, and what is to be mounted a file");
  return replaceByDirectory(target);
}

/** Makes a directory. One that exists is not changed. */
function makeDirectory(root: AppRoot, step: Step<"directory">): void {
  try {
    using directory = reachOrMake(root, step.target, "directory");
    // mkdir(2) heeds the umask, which would take the sticky directory's write permissions.
    if (directory.made) chmodSync(fdPath(directory.fd), step.mode);
  } catch (error) {
    if (step.fallback !== true || !(error instanceof RktError || error instanceof SyscallError)) throw error;
  }
}

function makeSymlink(root: AppRoot, step: Step<"symlink">): void {
  const at = step.target.lastIndexOf("/");
  using parent = reachOrMake(root, appPath(step.target.slice(0, at)), "directory");
  if (!parent.own) {
    if (step.fallback === true) return;
    throw foreign();
  }
  try {
    symlinkat(step.to, parent.fd, step.target.slice(at + 1));
  } catch (error) {
    if (step.fallback !== true || errorCode(error) !== "EEXIST") throw error;
  }
}

function mask(root: AppRoot, step: Step<"mask">): void {
  using target = reach(root, step.target);
  if (target === undefined) return;
  using nothing = held(
    target.status.isDirectory
      ? makeFileSystem("tmpfs", { mode: "0555" }, attributeFlags(["read-only", "nosuid", "nodev", "noexec"]))
      : openTree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE),
  );
  // Read-only, so that nobody changes the mode of /dev/null, which all share.
  mountSetattr(nothing.fd, "", MOUNT_ATTR_RDONLY, 0);
  moveMountTo(nothing.fd, target.fd);
}

function protect(root: AppRoot, step: Step<"protect">): void {
  const [image] = root;
  if (step.target === "/" && image !== undefined) {
    mountSetattr(image.fd, "", attributeFlags(step.attributes), 0, { recursive: step.recursive });
    return;
  }
  // A mount of an earlier step, which is complete by now.
  const made = root.findLast((one) => one.target === step.target && one.kind === "kernel" && one.own);
  if (made !== undefined) {
    mountSetattr(made.fd, "", attributeFlags(step.attributes), 0, { recursive: step.recursive });
    return;
  }
  using target = reach(root, step.target);
  if (target === undefined) return;
  const flags = OPEN_TREE_CLONE | AT_EMPTY_PATH | (step.recursive ? AT_RECURSIVE : 0);
  using tree = held(openTree(target.fd, "", flags));
  mountSetattr(tree.fd, "", attributeFlags(step.attributes), 0, { recursive: step.recursive });
  moveMountTo(tree.fd, target.fd);
}

/** A path for calls that take no descriptor. /proc is still stage 1's. */
const fdPath = (fd: number): string => `/proc/self/fd/${fd}`;

interface Held extends Disposable {
  fd: number;
}

/** A descriptor that is closed at the end of its scope. */
function held(fd: number): Held {
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

// --- flags ----------------------------------------------------------------------------

const FLAGS: Record<MountAttribute, number> = {
  "read-only": MOUNT_ATTR_RDONLY,
  nosuid: MOUNT_ATTR_NOSUID,
  nodev: MOUNT_ATTR_NODEV,
  noexec: MOUNT_ATTR_NOEXEC,
};

function attributeFlags(attributes: readonly MountAttribute[]): number {
  return attributes.reduce((flags, name) => flags | FLAGS[name], 0);
}
