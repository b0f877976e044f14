/**
 * What a person should know of an app's rendered image before the app starts:
 * which of its volumes hide files of the image (ace.md, "Volume Setup": the
 * user should be warned), and that a system manager is no app. Notes alone:
 * whether the app can start is for the launcher to say, which sees the app's
 * root as it really is.
 *
 * Nothing of the image is trusted: the kernel resolves paths inside the root
 * (openat2(2), RESOLVE_IN_ROOT), and nothing but a directory's first name is read.
 */

import { closeSync, constants, fstatSync, opendirSync, openSync, readlinkSync } from "node:fs";
import { posix } from "node:path";
import type { HostPath } from "../../shared/contract/paths.ts";
import type { PodManifest, RuntimeApp } from "../../shared/schema/types.ts";
import { O_PATH, openat2, RESOLVE_IN_ROOT } from "../../shared/syscall/file.ts";

/** `rootfs` is the rendered tree of an app; `implicitVolumes` begin as a copy of what the image of their app has. */
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

/** In every app the kernel's file systems are mounted there, whatever the image has. */
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
    // Below another mount the image's file is hidden already.
    const others = places.flatMap((other, j) => (j === i || other === undefined ? [] : [other.path]));
    if ([...ALWAYS_HIDDEN, ...others].some((above) => place.path.startsWith(`${above}/`))) return [];
    return [`app ${name}: volume "${volume}" hides what the image has at ${posix.resolve("/", path)}`];
  });
}

function hasSomething(fd: number): boolean {
  if (!fstatSync(fd).isDirectory()) return true;
  using directory = opendirSync(fdPath(fd), { bufferSize: 1 });
  return directory.readSync() !== null;
}

/** A program that is systemd, perhaps by a link such as the /sbin/init of a distribution's image. */
function systemManager({ name, app }: RuntimeApp, root: number): string[] {
  const program = app?.exec[0] ?? "";
  if (!program.startsWith("/") || find(root, program, ({ path }) => posix.basename(path)) !== "systemd") return [];
  return [
    `warning: app ${name}: its program is systemd, which manages a system only as the first process of a container; that is stage 1's, so it will end at once. Run the image's services as apps, each with --exec`,
  ];
}

/** What `look` sees of a path's end; undefined where the image has nothing. `path` is the end's own, without links, from the root. */
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
