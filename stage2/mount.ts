/**
 * Builds an app's root file system: carries out the steps of `mountPlan`, in a
 * mount namespace of the app's own.
 *
 * The image is not trusted. Each target is found by openat2(2) with
 * RESOLVE_IN_ROOT, so that the kernel reads every link as the app would, and
 * what was found is held by a descriptor until something is mounted on it: no
 * path is looked up twice. Sources are stage 1's own paths.
 *
 * A link may also lead into what is mounted already, a directory of the host's
 * among it. So before anything is made or taken away, the kernel says on which
 * mount that would be (proc_pid_fdinfo(5)); it must be one of those that are the
 * container's.
 */

import { chmodSync, closeSync, constants, fstatSync, readFileSync, readlinkSync } from "node:fs";
import { basename, dirname } from "node:path";
import { errorCode, errorText, RktError } from "../shared/errors.ts";
import { cloneHostSource } from "../shared/host-source.ts";
import { LAUNCH_EXIT } from "../shared/layout.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_PRIVATE,
  MS_RDONLY,
  mkdirat,
  mknodat,
  mount,
  mountSetattr,
  moveMountTo,
  O_PATH,
  OPEN_TREE_CLONE,
  openat2,
  openat2IfThere,
  openTree,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
  SyscallError,
  symlinkat,
  unlinkat,
} from "../shared/syscall/linux.ts";
import { type AppPath, describeStep, type MountAttribute, type MountStep } from "./mount-plan.ts";

/** As many links as the kernel follows in one path (path_resolution(7)). */
const MAX_LINKS = 40;

/** A root in the making. */
interface Root {
  fd: number;
  /** Mount IDs: the image's own root, the kernel's file systems, empty volumes. */
  own: Set<number>;
}

type Step<K extends MountStep["kind"]> = Extract<MountStep, { kind: K }>;

/** Carries the steps out; answers a descriptor of the new root. Throws "mount-failed", naming the step. */
export function buildRoot(steps: readonly MountStep[]): number {
  const root: Root = { fd: -1, own: new Set() };
  for (const step of steps) {
    try {
      if (step.kind === "root") mountRoot(root, step);
      else apply(root, step);
    } catch (error) {
      // Paths below /proc/self/fd mean nothing to a reader; the step names the object.
      const reason = error instanceof SyscallError ? `${error.syscall}: ${error.code}` : errorText(error);
      throw new RktError("mount-failed", `cannot ${describeStep(step)}: ${reason}`, {
        exitCode: LAUNCH_EXIT.mount,
        cause: error,
      });
    }
  }
  return root.fd;
}

function apply(root: Root, step: Exclude<MountStep, { kind: "root" }>): void {
  switch (step.kind) {
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

// --- steps ------------------------------------------------------------------------

/** The clone is attached where the rootfs lies: pivot_root(2) wants a mount point. */
function mountRoot(root: Root, step: Step<"root">): void {
  const tree = openTree(AT_FDCWD, step.source, OPEN_TREE_CLONE);
  mountSetattr(tree, "", attributeFlags(step.attributes), 0);
  using target = held(openat2(AT_FDCWD, step.source, O_PATH | constants.O_DIRECTORY, 0, 0));
  moveMountTo(tree, target.fd);
  root.fd = tree;
  root.own.add(mountId(tree));
}

function mountFileSystem(root: Root, step: Step<"filesystem">): void {
  using target = held(makeTarget(root, step.target, "directory"));
  try {
    mount(step.type, fdPath(target.fd), step.type, mountFlags(step.attributes), step.options);
    using mounted = held(open(root, step.target));
    root.own.add(mountId(mounted.fd));
  } catch (error) {
    const refused = ["EPERM", "EINVAL"].includes(errorCode(error) ?? "");
    if (!refused || step.otherwise === undefined) throw error;
    using tree = held(openTree(AT_FDCWD, step.otherwise, OPEN_TREE_CLONE | AT_RECURSIVE));
    mountSetattr(tree.fd, "", attributeFlags(step.attributes), 0, { recursive: true });
    moveMountTo(tree.fd, target.fd);
  }
}

function bindMount(root: Root, step: Step<"bind">): void {
  using tree = cloneTree(step);
  if (tree === undefined) return;
  using target = bindTarget(root, step, fstatSync(tree.fd).isDirectory());
  if (step.fallback === true && fstatSync(target.fd).size > 0) return;
  // What is mounted at its source from now on does not belong here.
  const options = { recursive: step.recursive, propagation: MS_PRIVATE };
  mountSetattr(tree.fd, "", attributeFlags(step.attributes), 0, options);
  moveMountTo(tree.fd, target.fd);
  if (step.host !== true) root.own.add(mountId(tree.fd));
}

function cloneTree({ source, recursive, optional, host }: Step<"bind">): Held | undefined {
  const depth = recursive ? AT_RECURSIVE : 0;
  try {
    // In a stage1 without a root of its own it is the host's own path.
    if (host === true) return held(cloneHostSource(source, depth));
    return held(openTree(AT_FDCWD, source, OPEN_TREE_CLONE | depth));
  } catch (error) {
    if (optional && errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** A target of the source's kind: made where it is missing, a file replaced by a directory (ace.md, "Volume Setup"). */
function bindTarget(root: Root, step: Step<"bind">, directory: boolean): Held {
  const target = held(makeTarget(root, step.target, directory ? "directory" : "file"));
  if (fstatSync(target.fd).isDirectory() === directory) return target;
  target[Symbol.dispose]();
  if (!directory) throw conflict("it is a directory, and what is to be mounted a file");
  using parent = held(open(root, dirname(step.target)));
  requireOwn(root, parent.fd);
  unlinkat(parent.fd, basename(step.target));
  mkdirat(parent.fd, basename(step.target), 0o755);
  return held(open(root, step.target));
}

function requireOwn({ own }: Root, fd: number): void {
  if (!own.has(mountId(fd)))
    throw conflict("it leads into a volume of the host, and rkt makes nothing there: have it there before");
}

function mountId(fd: number): number {
  const [, id] = /^mnt_id:\t(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1")) ?? [];
  if (id === undefined) throw new Error(`no mnt_id in /proc/self/fdinfo/${fd}`);
  return Number(id);
}

function conflict(message: string): RktError {
  return new RktError("mount-conflict", message, { exitCode: LAUNCH_EXIT.mount });
}

/** One that is there stays as it is. */
function makeDirectory(root: Root, step: Step<"directory">): void {
  const found = find(root, step.target);
  using made = held(found ?? makeTarget(root, step.target, "directory"));
  // mkdir(2) heeds the umask.
  if (found === undefined) chmodSync(fdPath(made.fd), step.mode);
}

function makeSymlink(root: Root, step: Step<"symlink">): void {
  using parent = held(makeTarget(root, dirname(step.target), "directory"));
  requireOwn(root, parent.fd);
  try {
    symlinkat(step.to, parent.fd, basename(step.target));
  } catch (error) {
    if (step.fallback !== true || errorCode(error) !== "EEXIST") throw error;
  }
}

function mask(root: Root, step: Step<"mask">): void {
  const found = find(root, step.target);
  if (found === undefined) return;
  using target = held(found);
  if (fstatSync(target.fd).isDirectory()) {
    mount("tmpfs", fdPath(target.fd), "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0555");
    return;
  }
  using nothing = held(openTree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE));
  // Its mode is everybody's.
  mountSetattr(nothing.fd, "", MOUNT_ATTR_RDONLY, 0);
  moveMountTo(nothing.fd, target.fd);
}

function protect(root: Root, step: Step<"protect">): void {
  if (step.target === "/") {
    mountSetattr(root.fd, "", attributeFlags(step.attributes), 0, { recursive: step.recursive });
    return;
  }
  const found = find(root, step.target);
  if (found === undefined) return;
  using target = held(found);
  const flags = OPEN_TREE_CLONE | AT_EMPTY_PATH | (step.recursive ? AT_RECURSIVE : 0);
  using tree = held(openTree(target.fd, "", flags));
  mountSetattr(tree.fd, "", attributeFlags(step.attributes), 0, { recursive: step.recursive });
  moveMountTo(tree.fd, target.fd);
}

// --- paths inside the root ----------------------------------------------------------

/** Where the kernel's file systems are: no link of the image may put them, or what hides parts of them, elsewhere. */
const KERNEL = /^\/(?:proc|sys|dev)(?:\/|$)/;
const rules = (path: string): number => RESOLVE_IN_ROOT | (KERNEL.test(path) ? RESOLVE_NO_SYMLINKS : 0);

/** What a path of the app leads to, links followed inside the root; undefined when nothing is there. */
function find(root: Root, path: string): number | undefined {
  try {
    return openat2IfThere(root.fd, path, O_PATH, 0, rules(path));
  } catch (error) {
    if (errorCode(error) === "ELOOP" && KERNEL.test(path)) throw conflict("the image has a link in its place");
    throw error;
  }
}

function open(root: Root, path: string): number {
  return openat2(root.fd, path, O_PATH, 0, rules(path));
}

/**
 * Opens a path of the app, made where it is missing, with its parents: owned
 * by root, directories 0755 (ace.md, "Volume Setup"). A dangling link leads to
 * what it names, inside the root.
 */
function makeTarget(root: Root, path: AppPath | string, type: "directory" | "file", links = 0): number {
  const found = find(root, path);
  if (found !== undefined) return found;
  using parent = held(makeTarget(root, dirname(path), "directory", links));
  const name = basename(path);
  requireOwn(root, parent.fd);
  try {
    if (type === "directory") mkdirat(parent.fd, name, 0o755);
    else mknodat(parent.fd, name, constants.S_IFREG | 0o644, 0n);
  } catch (error) {
    if (errorCode(error) !== "EEXIST" || links === MAX_LINKS) throw error;
    const link = readlinkSync(`${fdPath(parent.fd)}/${name}`);
    return makeTarget(root, link.startsWith("/") ? link : `${dirname(path)}/${link}`, type, links + 1);
  }
  return open(root, path);
}

/** A path for calls that take no descriptor, by the /proc of stage 1. */
const fdPath = (fd: number): string => `/proc/self/fd/${fd}`;

interface Held extends Disposable {
  fd: number;
}

/** A descriptor that is closed at the end of its scope. */
function held(fd: number): Held {
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

// --- flags ----------------------------------------------------------------------------

/** The same attributes, as mount_setattr(2) and as mount(2) number them. */
const FLAGS: Record<MountAttribute, { attribute: number; mount: number }> = {
  "read-only": { attribute: MOUNT_ATTR_RDONLY, mount: MS_RDONLY },
  nosuid: { attribute: MOUNT_ATTR_NOSUID, mount: MS_NOSUID },
  nodev: { attribute: MOUNT_ATTR_NODEV, mount: MS_NODEV },
  noexec: { attribute: MOUNT_ATTR_NOEXEC, mount: MS_NOEXEC },
};

function attributeFlags(attributes: readonly MountAttribute[]): number {
  return attributes.reduce((flags, name) => flags | FLAGS[name].attribute, 0);
}

function mountFlags(attributes: readonly MountAttribute[]): number {
  return attributes.reduce((flags, name) => flags | FLAGS[name].mount, 0);
}
