/**
 * An image of an app as its container has left it, or as it is at the moment.
 *
 * What an app can write is not trusted: it may put a link where a directory
 * was a moment ago. So this process goes into the app's root (chroot(2))
 * before it looks at anything, and comes back when the image is written. From
 * here on only synchronous calls see that root: Node.js's other threads stay
 * outside.
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
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { type HostPath, hostPath } from "../../shared/contract/paths.ts";
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

/** The image's own, less the images below it: their files are among those of the new one. */
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
function enterRoot({ container, app }: ExportRequest, { overlay, apps }: TreesFile, pid: number | undefined): void {
  const tree = apps[app.name];
  if (tree === undefined) throw new Error(`no tree for app ${app.name}`);
  const { dir } = tree;
  if (pid !== undefined) {
    unshare(CLONE_FS);
    enterRunning(container, dir);
  } else if (overlay) {
    unshare(CLONE_NEWNS);
    mount("", "/", "", MS_REC | MS_PRIVATE);
    // Relative paths: there is nothing to escape in the options.
    process.chdir(container.dir);
    const here = containerLayout(".");
    const lower: HostPath[] = [here.upper(dir), dataLayout("../../..").treeRootfs(tree.tree)];
    const target = hostPath(here.appRootfs(dir).replace(here.stage1Rootfs, here.upper("stage1")));
    mount("overlay", target, "overlay", MS_RDONLY, `lowerdir=${lower.join(":")}`);
    chroot(target);
  } else {
    unshare(CLONE_FS);
    chroot(containerLayout(container.dir).appRootfs(dir));
  }
  process.chdir("/");
}

/** By the container's own mounts: found once, by a process that is then looked at again, and gone into by what was found. */
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

/** What a container with users of its own calls an id of the host's. */
function ownId(id: number, mapped: PrivateIds | undefined): number {
  return mapped !== undefined && id >= mapped.first && id < mapped.first + mapped.count ? id - mapped.first : id;
}

/** Attributes with the ids that are in them, as the container has these: access control lists and file capabilities. */
function ownAttributes(attributes: ReadonlyMap<string, Buffer>, mapped: PrivateIds): Map<string, Buffer> {
  return new Map(
    [...attributes].map(([name, value]) => {
      if (/^system\.posix_acl_(access|default)$/.test(name)) return [name, ownList(value, mapped)];
      return [name, name === "security.capability" ? ownCapabilities(value, mapped) : value];
    }),
  );
}

/** linux/posix_acl_xattr.h: a version, and entries of tag, permissions and id; an id means something for a named user or group. */
function ownList(value: Buffer, mapped: PrivateIds): Buffer {
  const [ACL_USER, ACL_GROUP] = [0x02, 0x08];
  const own = Buffer.from(value);
  for (let at = 4; at + 8 <= own.length; at += 8)
    if ([ACL_USER, ACL_GROUP].includes(own.readUInt16LE(at)))
      own.writeUInt32LE(ownId(own.readUInt32LE(at + 4), mapped), at + 4);
  return own;
}

/** capabilities(7): version 3 ends with the id of the user who is root where they hold; those of version 2 hold everywhere. */
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

/** The root as it is, file contents read when their turn comes. */
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
      const { path, size } = entry.content;
      entry.content = { path, size, chunks: () => fileChunks(path, size, descriptors) };
    }
  }
  return tree;
}

/** As many bytes as were announced: what an app has taken away since is zeros, what it has added is left out. */
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
 * Undefined for what is no longer a file. What is there is looked at before it is opened, for opening a device does
 * something (a watchdog starts); then exactly that is opened, by the /proc that is not in this root.
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
    // The kernel would wait, for 45 seconds for each file.
    if (errorCode(error) === "EAGAIN")
      throw new RktError("busy-file", `${path} ${LEASED}`, { hint: "try again; meanwhile the kernel takes the lease away" });
    if (!["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "")) throw error;
  }
  return undefined;
}
