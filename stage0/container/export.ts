/**
 * Makes an image of an app's files, as its ended container has left them, or as they are in a running one.
 *
 * The app's files are not trusted: a running app may replace a directory by a link at any moment. So this process
 * enters the app's root (chroot(2)) before it reads anything, and leaves it when the image is written. Only synchronous
 * calls use that root: the runtime's other threads stay outside.
 */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { resolve } from "node:path";
import type { TreesFile } from "../../shared/contract/trees.ts";
import { readBounded } from "../../shared/bounded-read.ts";
import { MAX_MANIFEST_BYTES } from "../../shared/schema/json.ts";
import { readTree, type Tree } from "../../shared/aci/tree.ts";
import { requireSize } from "../../shared/aci/tree-size.ts";
import { type WrittenAci, writeAciTo } from "../../shared/aci/writer.ts";
import { LEASED } from "../../shared/account-file.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { hostPath } from "../../shared/contract/paths.ts";
import { OutputFile } from "../../shared/output-file.ts";
import { formatImageManifest, parseImageManifest } from "../../shared/schema/image-manifest.ts";
import type { RuntimeApp } from "../../shared/schema/types.ts";
import { O_PATH, openat2, RESOLVE_BENEATH } from "../../shared/syscall/file.ts";
import { MS_PRIVATE, MS_RDONLY, MS_REC, mount } from "../../shared/syscall/mount.ts";
import { CLONE_FS, CLONE_NEWNS, chroot, fchdir, unshare } from "../../shared/syscall/namespace.ts";
import { callersMode } from "../host/caller-mask.ts";
import { IMPORT_LIMITS } from "../store/blob-import.ts";
import { openRunning } from "./entrypoint.ts";
import { readTrees, supervisor } from "./inspect.ts";
import { type ContainerRef, phase } from "./lifecycle.ts";
import { shareLock } from "./lock.ts";
import { lowerDirectories, lowerOption } from "./lower-directories.ts";
import { type PrivateIds, readPrivateIds } from "./private-users.ts";

export interface ExportRequest {
  container: ContainerRef;
  app: RuntimeApp;
  output: string;
  overwrite: boolean;
}

export async function exportApp(request: ExportRequest): Promise<WrittenAci> {
  const { container } = request;
  const lock = shareLock(container.dir);
  const pid = lock === "busy" && container.state === "run" ? supervisor(container.dir) : undefined;
  if (lock === "gone" || (lock === "busy" && pid === undefined)) throw changing(container);
  try {
    return await write(request, pid);
  } finally {
    if (typeof lock === "object") lock.close();
  }
}

const changing = (container: ContainerRef): RktError =>
  new RktError("no-app-root", `container ${container.uuid} is ${phase(container) ?? "gone"}: try again`);

async function write(request: ExportRequest, pid: number | undefined): Promise<WrittenAci> {
  const output = resolve(request.output);
  const trees = readTrees(request.container.dir);
  const manifest = exportManifest(request, trees);
  const file = new OutputFile(output, { mode: callersMode(0o666) });
  // Stored as the app knows them; where the container is mounted, as the host's.
  const mapped = pid === undefined ? undefined : readPrivateIds(request.container.dir);
  const host = openSync("/", O_PATH | constants.O_DIRECTORY);
  const descriptors = openSync("/proc/self/fd", O_PATH | constants.O_DIRECTORY);
  try {
    const stream = file.stream();
    enterRoot(request, trees, pid);
    let written: WrittenAci;
    try {
      written = await writeAciTo(stream, { manifest, rootfs: liveTree(mapped, descriptors) });
    } finally {
      fchdir(host);
      chroot(".");
    }
    file.place({ overwrite: request.overwrite, flush: true });
    return written;
  } catch (error) {
    if (error instanceof RktError) throw error;
    throw new RktError("export-failed", `cannot export app ${request.app.name}: ${errorText(error)}`, { cause: error });
  } finally {
    closeSync(host);
    closeSync(descriptors);
    file.close();
  }
}

/** The image's manifest, without its dependencies: their files become a part of the new image. */
function exportManifest({ container, app }: ExportRequest, { overlay, apps }: TreesFile): string {
  const layout = containerLayout(container.dir);
  const dir = apps[app.name]?.dir ?? "";
  const path = layout.appManifest(dir);
  const text = readBounded(
    overlay ? path.replace(layout.stage1Rootfs, layout.upper("stage1")) : path,
    MAX_MANIFEST_BYTES,
  );
  const manifest = parseImageManifest(text);
  return formatImageManifest({ ...manifest, app: manifest.app ?? app.app, dependencies: [], pathWhitelist: [] });
}

/** Makes the app's root this process's: of a running app through the container's mounts, else mounted for us alone. */
function enterRoot({ container, app }: ExportRequest, trees: TreesFile, pid: number | undefined): void {
  const { overlay, apps } = trees;
  const tree = apps[app.name];
  if (tree === undefined) throw new Error(`no tree for app ${app.name}`);
  const { dir } = tree;
  if (pid !== undefined) {
    unshare(CLONE_FS);
    enterRunning(container, dir);
  } else if (overlay) {
    unshare(CLONE_NEWNS);
    mount("", "/", "", MS_REC | MS_PRIVATE);
    // Relative paths, so that the mount options need no escapes.
    process.chdir(container.dir);
    const here = containerLayout(".");
    const below = lowerDirectories(trees).trees.get(tree.tree) ?? [];
    const target = hostPath(here.appRootfs(dir).replace(here.stage1Rootfs, here.upper("stage1")));
    mount("overlay", target, "overlay", MS_RDONLY, `lowerdir=${here.upper(dir)}:${lowerOption(below)}`);
    chroot(target);
  } else {
    unshare(CLONE_FS);
    chroot(containerLayout(container.dir).appRootfs(dir));
  }
  process.chdir("/");
}

/** Enters a running app's root by the descriptor that `openRunning` has found and checked. */
function enterRunning(container: ContainerRef, dir: string): void {
  const found = openRunning(container.dir);
  if (found === undefined) throw changing(container);
  try {
    const flags = O_PATH | constants.O_DIRECTORY;
    const root = openat2(found.directory, containerLayout(".").appRootfs(dir), flags, 0, RESOLVE_BENEATH);
    fchdir(root);
    closeSync(root);
    chroot(".");
  } finally {
    closeSync(found.directory);
  }
}

const CHUNK = 1 << 20;

/** The container's own number for an id of the host. */
function ownId(id: number, mapped: PrivateIds | undefined): number {
  return mapped !== undefined && id >= mapped.first && id < mapped.first + mapped.count ? id - mapped.first : id;
}

/** Maps the ids that are in extended attributes (access control lists, file capabilities) to the container's own. */
function ownAttributes(attributes: ReadonlyMap<string, Buffer>, mapped: PrivateIds): Map<string, Buffer> {
  return new Map(
    [...attributes].map(([name, value]) => {
      if (/^system\.posix_acl_(access|default)$/.test(name)) return [name, ownList(value, mapped)];
      return [name, name === "security.capability" ? ownCapabilities(value, mapped) : value];
    }),
  );
}

/**
 * linux/posix_acl_xattr.h: a version, then entries of tag, permissions and id. Only entries of a named user or group
 * have an id.
 */
function ownList(value: Buffer, mapped: PrivateIds): Buffer {
  const [ACL_USER, ACL_GROUP] = [0x02, 0x08];
  const own = Buffer.from(value);
  for (let at = 4; at + 8 <= own.length; at += 8)
    if ([ACL_USER, ACL_GROUP].includes(own.readUInt16LE(at)))
      own.writeUInt32LE(ownId(own.readUInt32LE(at + 4), mapped), at + 4);
  return own;
}

/**
 * capabilities(7): version 3 ends with the host's id of the root user of a user namespace, in which alone it is valid.
 * For the container's own root it becomes version 2, which is valid everywhere.
 */
function ownCapabilities(value: Buffer, mapped: PrivateIds): Buffer {
  const [VERSION, VERSION_2, VERSION_3] = [0xff000000, 0x02000000, 0x03000000];
  const magic = value.length === 24 ? value.readUInt32LE(0) : 0;
  if ((magic & VERSION) !== VERSION_3) return value;
  const root = ownId(value.readUInt32LE(20), mapped);
  const own = Buffer.from(value);
  own.writeUInt32LE(root, 20);
  if (root !== 0) return own;
  own.writeUInt32LE((magic & ~VERSION) | VERSION_2, 0);
  return own.subarray(0, 20);
}

/** Describes the root. The contents of files are read later, when the image is written. */
function liveTree(mapped: PrivateIds | undefined, descriptors: number): Tree {
  // The /proc that is not in this root.
  fchdir(descriptors);
  const tree = readTree("/", { live: true, descriptors: "." });
  requireSize(tree, IMPORT_LIMITS.archiveSize, (path) => `/${path}`);
  for (const entry of tree.values()) {
    entry.uid = ownId(entry.uid, mapped);
    entry.gid = ownId(entry.gid, mapped);
    if (mapped !== undefined && entry.xattrs !== undefined) entry.xattrs = ownAttributes(entry.xattrs, mapped);
    if (entry.type === "file" && "path" in entry.content) {
      const { content } = entry;
      // The path is made when it is asked for.
      entry.content = Object.assign(content, {
        chunks: () => fileChunks(content.path, content.size, descriptors),
      });
    }
  }
  return tree;
}

/** Reads exactly `size` bytes: zeros replace what the app has cut off since, and what it has added is left out. */
function* fileChunks(path: string, size: number, descriptors: number): Generator<Buffer> {
  const fd = openFile(path, descriptors);
  try {
    for (let at = 0; at < size; ) {
      const chunk = Buffer.alloc(Math.min(CHUNK, size - at));
      const read = fd === undefined ? 0 : readSync(fd, chunk, 0, chunk.length, at);
      const length = read > 0 ? read : chunk.length;
      yield chunk.subarray(0, length);
      at += length;
    }
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Opens a file; undefined if it is no regular file any more. It is checked by an O_PATH descriptor first, because
 * opening a device has effects (a watchdog starts). Then this descriptor is opened for reading, by the /proc outside
 * this root.
 */
function openFile(path: string, descriptors: number): number | undefined {
  try {
    const found = openSync(path, O_PATH | constants.O_NOFOLLOW);
    try {
      if (!fstatSync(found).isFile()) return undefined;
      return openat2(descriptors, String(found), constants.O_RDONLY | constants.O_NONBLOCK, 0, 0);
    } finally {
      closeSync(found);
    }
  } catch (error) {
    // EAGAIN: an app has a lease on the file. Without O_NONBLOCK, the kernel would wait for 45 seconds.
    if (errorCode(error) === "EAGAIN")
      throw new RktError("busy-file", `${path} ${LEASED}`, { hint: "try again; meanwhile the kernel takes the lease away" });
    if (!["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "")) throw error;
  }
  return undefined;
}
