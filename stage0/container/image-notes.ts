/**
 * Looks at the rendered images before their apps start, to warn the user: about volumes that hide files of the image
 * (ace.md, "Volume Setup"), and about a system manager as an app. It refuses nothing: the launcher, which sees the
 * app's real root, decides whether the app can start.
 *
 * The image is not trusted: the kernel resolves paths inside its root (openat2(2), RESOLVE_IN_ROOT), and only the first
 * name in a directory is read.
 */

import { closeSync, constants, fstatSync, openSync, readlinkSync } from "node:fs";
import { posix } from "node:path";
import type { HostPath } from "../../shared/contract/paths.ts";
import type { PodManifest, RuntimeApp } from "../../shared/schema/types.ts";
import { directoryEntries, O_PATH, openat2, RESOLVE_IN_ROOT } from "../../shared/syscall/file.ts";

/** `rootfs` returns an app's rendered tree; `implicitVolumes` begin as copies of the image's directories. */
export function imageNotes(
  { apps }: PodManifest,
  rootfs: (app: string) => HostPath,
  implicitVolumes: ReadonlyMap<string, string> = new Map(),
): string[] {
  return apps.flatMap((app) => {
    const root = openSync(rootfs(app.name), O_PATH | constants.O_DIRECTORY);
    try {
      return [...hiddenByVolumes(app, root, implicitVolumes), ...systemManager(app, root)];
    } finally {
      closeSync(root);
    }
  });
}

/** Kernel file systems are mounted on these in every app. */
const ALWAYS_HIDDEN = ["/dev", "/proc", "/sys"];

function hiddenByVolumes(
  { name, mounts }: RuntimeApp,
  root: number,
  implicitVolumes: ReadonlyMap<string, string>,
): string[] {
  const places = mounts.map(({ path }) => find(root, path, ({ fd, path }) => ({ path, filled: hasSomething(fd) })));
  return mounts.flatMap(({ volume, path }, i) => {
    const place = places[i];
    // A volume that begins as a copy of the image's directory hides nothing.
    if (place === undefined || !place.filled || implicitVolumes.get(volume) === name) return [];
    // Below another mount, the image's files are hidden anyway.
    const others = places.flatMap((other, j) => (j === i || other === undefined ? [] : [other.path]));
    if ([...ALWAYS_HIDDEN, ...others].some((above) => place.path.startsWith(`${above}/`))) return [];
    return [`app ${name}: volume "${volume}" hides what the image has at ${posix.resolve("/", path)}`];
  });
}

function hasSomething(fd: number): boolean {
  if (!fstatSync(fd).isDirectory()) return true;
  const directory = openSync(fdPath(fd), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return directoryEntries(directory).next().done !== true;
  } finally {
    closeSync(directory);
  }
}

/** Warns if the app's program is systemd, perhaps through a link such as /sbin/init in a distribution's image. */
function systemManager({ name, app }: RuntimeApp, root: number): string[] {
  const program = app?.exec[0] ?? "";
  if (!program.startsWith("/") || find(root, program, ({ path }) => posix.basename(path)) !== "systemd") return [];
  return [
    `warning: app ${name}: its program is systemd, which manages a system only as the first process of a container; that is stage 1's, so it will end at once. Run the image's services as apps, each with --exec`,
  ];
}

/**
 * Opens a path in the root and calls `look` with it, and with its path without links. Undefined if the image has
 * nothing there.
 */
function find<T>(root: number, path: string, look: (end: { fd: number; path: string }) => T): T | undefined {
  let fd: number;
  try {
    fd = openat2(root, path, O_PATH, 0, RESOLVE_IN_ROOT);
  } catch {
    return undefined;
  }
  try {
    const top = readlinkSync(fdPath(root));
    return look({ fd, path: `/${posix.relative(top, readlinkSync(fdPath(fd)))}` });
  } finally {
    closeSync(fd);
  }
}

const fdPath = (fd: number): string => `/proc/self/fd/${fd}`;
