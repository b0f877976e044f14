/**
 * Makes a container directory that stage 1 can start, from a container manifest: `embryo` → `prepare`, and → `prepared`
 * for a container that waits for `run-prepared` (docs/extend/layout.md). It writes nothing outside that directory, and
 * removes it on failure.
 *
 * The container manifest, which stage 0 made, and the store's trees are trusted.
 */

import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { v4 } from "uuid";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { ANNOTATIONS, ENTRYPOINTS, IPC_SUPPORT, PRIVATE_USERS_SUPPORT, stage1Names } from "../../shared/contract/annotations.ts";
import { appDirs, containerLayout } from "../../shared/contract/container-directory.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { type HostPath, hostPath } from "../../shared/contract/paths.ts";
import { STAGE1_INTERFACE_VERSION } from "../../shared/contract/versions.ts";
import { annotation, formatImageManifest } from "../../shared/schema/image-manifest.ts";
import { formatTrees, type TreesFile } from "../../shared/contract/trees.ts";
import { formatPodManifest } from "../../shared/schema/pod-manifest.ts";
import type { ImageManifest, PodManifest, Volume } from "../../shared/schema/types.ts";
import type { Rule } from "../../shared/schema/place.ts";
import { absolutePath } from "../../shared/schema/values.ts";
import { O_PATH, openat2, RESOLVE_IN_ROOT, syncfs } from "../../shared/syscall/file.ts";
import { volumesByKey } from "../../shared/volumes.ts";
import { type Provenance, STAGE1_PROVENANCE } from "../store/provenance.ts";
import { openTree } from "../store/tree-directories.ts";
import type { Store, StoredImage } from "../store/store.ts";
import { requireCopiedSize } from "./copied-size.ts";
import { linkLayers } from "./lower-directories.ts";
import { imageNotes } from "./image-notes.ts";
import { createContainer, type OwnedContainer, transition } from "./lifecycle.ts";
import { wantsPrivateUsers } from "./private-users.ts";
import { abandon } from "./remove.ts";

export interface PrepareRequest {
  data: string;
  store: Store;
  /** Resolved: each app has its `app`, its mounts and the full ID of its image. */
  manifest: PodManifest;
  stage1: StoredImage;
  /** Volumes of kind "empty" that begin as a copy of an app's image's directory, each with that app. */
  implicitVolumes?: ReadonlyMap<string, string>;
  /** The apps' images, in the manifest's order. */
  images: readonly StoredImage[];
  /** The least provenance that the images' dependencies must have. */
  least: Provenance;
  /** false: copies instead of overlay mounts. */
  overlay: boolean;
  /** Bytes that an image and the volumes that begin as its copies may take; undefined: the default limits. */
  maxImageSize?: number | undefined;
  /** Flush to disk before `prepared`: for a container that outlives this process. */
  durable: boolean;
  /** Shows a remark to the user. */
  note(text: string): void;
  uuid?: string | undefined;
}

export async function prepareContainer(request: PrepareRequest): Promise<OwnedContainer> {
  const stage1 = request.store.manifest(request.stage1.key);
  checkInterface(stage1);
  if (wantsPrivateUsers(request.manifest)) requirePrivateUsers(stage1);
  requireIpc(stage1, annotation(request.manifest.annotations, ANNOTATIONS.ipc));
  await request.store.release();
  const uuid = request.uuid ?? newUuid();
  // Rendering comes before anything of the container exists, because it takes long, and fails for a bad image.
  const trees = await renderTrees(request);
  using opened = await openAppTrees(request, trees);
  for (const text of imageNotes(request.manifest, opened.of, request.implicitVolumes)) request.note(text);
  requireVolumesSize(request, opened);
  let container = createContainer(request.data, uuid);
  try {
    container = transition(request.data, container, "prepare");
    await fill(request, container, trees, opened);
    // What is started at once never lies where somebody would take it for his own.
    return request.durable ? transition(request.data, container, "prepared") : container;
  } catch (error) {
    abandon(request.data, container);
    throw error instanceof RktError
      ? error
      : new RktError("prepare-failed", `cannot set up container ${uuid}: ${errorText(error)}`, { cause: error });
  }
}

/** Makes a random UUID (RFC 9562, version 4). It reads urandom(4), because `node:crypto` takes 5 ms to load. */
function newUuid(): string {
  const random = new Uint8Array(16);
  const fd = openSync("/dev/urandom", "r");
  try {
    readSync(fd, random);
  } finally {
    closeSync(fd);
  }
  return v4({ random });
}

/** Checks that a stage1 image names its entrypoints, and has our interface version. */
function checkInterface(manifest: ImageManifest): void {
  const value = (name: string) => annotation(manifest.annotations, name);
  const { entrypoints, interfaceVersion, later } = stage1Names(manifest.annotations);
  if (value(entrypoints.init) === undefined)
    throw new RktError(
      "bad-stage1",
      `${manifest.name} is not a stage1 image: it has no annotation ${ENTRYPOINTS.init}`,
      { hint: "give a stage1 image with --stage1-image" },
    );
  for (const key of Object.values(entrypoints)) {
    const path = value(key);
    const reason = path === undefined ? undefined : entrypointPath(path);
    if (reason !== undefined)
      throw new RktError("bad-stage1", `stage1 image ${manifest.name}: annotation ${key} "${path}": ${reason}`, {
        hint: "an entrypoint is an absolute path of the image",
      });
  }
  const version = value(interfaceVersion) ?? STAGE1_INTERFACE_VERSION;
  if (version !== STAGE1_INTERFACE_VERSION)
    throw new RktError(
      "bad-stage1",
      `stage1 image ${manifest.name} has interface version "${version}", this rkt speaks ${STAGE1_INTERFACE_VERSION}`,
      {
        hint: later
          ? `its ${interfaceVersion} is one of rkt 1.30: that rkt gives the program ${entrypoints.init} arguments, and other directories; use the stage1 image that came with this rkt`
          : "use the stage1 image that came with this rkt",
      },
    );
}

/** A stage1 that does not support private users would silently run the container without. */
function requirePrivateUsers({ name, annotations }: ImageManifest): void {
  if (annotation(annotations, PRIVATE_USERS_SUPPORT) === "true") return;
  throw new RktError("no-private-users", `stage1 image ${name} can't give a container users of its own`, {
    hint: "leave --private-users out, or use the stage1 image that came as rkt's default",
  });
}

/** Likewise. */
function requireIpc({ name, annotations }: ImageManifest, asked: string | undefined): void {
  const modes = annotation(annotations, IPC_SUPPORT)?.split(",") ?? [];
  if (asked === undefined || modes.includes(asked)) return;
  throw new RktError("no-ipc", `stage1 image ${name} can't do --ipc=${asked}`, {
    hint: "leave --ipc out, or use the stage1 image that came as rkt's default",
  });
}

const entrypointPath: Rule = (path) => (path.split("/").includes("..") ? 'must not contain ".."' : absolutePath(path));

async function renderTrees(request: PrepareRequest): Promise<TreesFile> {
  const { store, manifest, stage1, images, overlay } = request;
  const merged = !overlay;
  const dirs = appDirs(manifest.apps);
  const stage1Tree = await store.render(stage1.key, STAGE1_PROVENANCE, { merged });
  const apps: TreesFile["apps"] = Object.create(null);
  for (const [i, app] of manifest.apps.entries()) {
    const image = images[i];
    const dir = dirs.get(app.name);
    if (image === undefined || dir === undefined) throw new Error(`no image for app ${app.name}`);
    apps[app.name] = { dir, image: image.id, tree: (await store.render(image.key, request.least, { merged })).id };
  }
  const users = wantsPrivateUsers(manifest) ? ({ privateUsers: true } as const) : {};
  return { overlay, ...users, stage1: { image: stage1.id, tree: stage1Tree.id }, apps };
}

/** The rendered images of the apps, for this process and those that it starts. */
interface AppTrees extends Disposable {
  of(app: string): HostPath;
}

async function openAppTrees({ data }: PrepareRequest, { apps }: TreesFile): Promise<AppTrees> {
  const layout = dataLayout(data);
  const open = new Map<string, number>();
  const close = () => [...open.values()].forEach(closeSync);
  try {
    for (const { tree } of Object.values(apps)) if (!open.has(tree)) open.set(tree, await openTree(layout, tree));
  } catch (error) {
    close();
    throw error;
  }
  return {
    of(app) {
      const fd = open.get(apps[app]?.tree ?? "");
      if (fd === undefined) throw new Error(`no tree for app ${app}`);
      return hostPath(`/proc/${process.pid}/fd/${fd}/.`);
    },
    [Symbol.dispose]: close,
  };
}

/** The directory of an app's image whose copy an "empty" volume begins as. */
function copied({ manifest, implicitVolumes }: PrepareRequest, key: string): { app: string; path: string } | undefined {
  const app = manifest.apps.find(({ name }) => name === implicitVolumes?.get(key));
  const path = app?.mounts.find((mount) => mount.volume === key)?.path;
  return app === undefined || path === undefined ? undefined : { app: app.name, path };
}

/** Before anything is copied. */
function requireVolumesSize(request: PrepareRequest, trees: AppTrees): void {
  const { manifest, images, implicitVolumes = new Map<string, string>() } = request;
  const sources = [...implicitVolumes.keys()].flatMap((key) => copied(request, key) ?? []);
  for (const [i, { name }] of manifest.apps.entries()) {
    const tree = trees.of(name);
    const found = sources.filter(({ app }) => app === name).flatMap(({ path }) => openInImage(tree, path) ?? []);
    try {
      const directories = found.map((fd) => `/proc/self/fd/${fd}`);
      const volumes = { app: name, tree, imageSize: images[i]?.size ?? 0, directories };
      if (found.length > 0) requireCopiedSize(volumes, request.maxImageSize);
    } finally {
      found.forEach(closeSync);
    }
  }
}

async function fill(
  request: PrepareRequest,
  container: OwnedContainer,
  trees: TreesFile,
  opened: AppTrees,
): Promise<void> {
  const { store, manifest, stage1 } = request;
  const layout = containerLayout(container.dir);
  const data = dataLayout(request.data);
  const writeText = (path: string, text: string, mode = 0o640) => writeFile(path, text, mode, request.durable);

  mkdirSync(layout.stage1Rootfs, { recursive: true, mode: 0o755 });
  mkdirSync(layout.status, { mode: 0o755 });
  mkdirSync(layout.log, { mode: 0o750 });
  mkdirSync(layout.volumes, { mode: 0o755 });
  writeText(layout.stage1Manifest, formatImageManifest(store.manifest(stage1.key)));
  for (const [key, volume] of volumesByKey(manifest))
    if (volume.kind === "empty") {
      const source = copied(request, key);
      const target = layout.emptyVolume(key);
      if (source !== undefined && (await copyFromImage(opened.of(source.app), source.path, target))) continue;
      makeEmptyVolume(layout.emptyVolume(key), volume);
    }

  // With an overlay, files for the stage1 root are written to its upper directory, before the mount.
  let root: string = layout.stage1Rootfs;
  if (request.overlay) {
    linkLayers(container.dir, trees, request.data);
    for (const of of ["stage1", ...Object.values(trees.apps).map((app) => app.dir)]) {
      mkdirSync(layout.upper(of), { recursive: true, mode: 0o755 });
      mkdirSync(layout.work(of), { recursive: true, mode: 0o755 });
    }
    root = layout.upper("stage1");
  } else {
    const { copyTree } = await import("../archive/copy-tree.ts");
    rmSync(layout.stage1Rootfs, { recursive: true });
    await copyTree(data.treeRootfs(trees.stage1.tree), layout.stage1Rootfs);
  }
  for (const [i, app] of manifest.apps.entries()) {
    const tree = trees.apps[app.name];
    const image = request.images[i];
    if (tree === undefined || image === undefined) throw new Error(`no tree for app ${app.name}`);
    const appDir = layout.app(tree.dir).replace(layout.stage1Rootfs, root);
    mkdirSync(appDir, { recursive: true, mode: 0o755 });
    writeText(`${appDir}/manifest`, formatImageManifest(store.manifest(image.key)));
    if (request.overlay) mkdirSync(`${appDir}/rootfs`, { mode: 0o755 });
    else {
      const { copyTree } = await import("../archive/copy-tree.ts");
      await copyTree(data.treeRootfs(tree.tree), layout.appRootfs(tree.dir));
    }
  }
  // Copies must be on disk before the file that lists them.
  if (request.durable && !request.overlay) flush(container.dir);
  writeText(layout.trees, formatTrees(trees));
  writeText(layout.manifest, formatPodManifest(manifest));
}

function flush(dir: HostPath): void {
  const fd = openSync(dir, "r");
  try {
    syncfs(fd);
  } finally {
    closeSync(fd);
  }
}

/** pods.md: mode, uid and gid of a volume of kind "empty" default to 0755, 0, 0. */
function makeEmptyVolume(dir: HostPath, volume: Volume): void {
  mkdirSync(dir);
  chownSync(dir, volume.uid ?? 0, volume.gid ?? 0);
  chmodSync(dir, Number.parseInt(volume.mode ?? "0755", 8));
}

/** Opens a directory of an image, if it exists. Links are resolved inside the image. */
function openInImage(rootfs: HostPath, path: string): number | undefined {
  const root = openSync(rootfs, O_PATH | constants.O_DIRECTORY);
  try {
    return openat2(root, path, O_PATH | constants.O_DIRECTORY, 0, RESOLVE_IN_ROOT);
  } catch (error) {
    if (!["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error) ?? "")) throw error;
    return undefined;
  } finally {
    closeSync(root);
  }
}

/** Copies a directory of an image. False if the image has none there. */
async function copyFromImage(rootfs: HostPath, path: string, to: HostPath): Promise<boolean> {
  const directory = openInImage(rootfs, path);
  if (directory === undefined) return false;
  try {
    const { copyTree } = await import("../archive/copy-tree.ts");
    await copyTree(hostPath(`/proc/${process.pid}/fd/${directory}/.`), to);
    return true;
  } finally {
    closeSync(directory);
  }
}

/**
 * Writes a new file. If it must be durable, it is flushed and then renamed, so that it is complete even after a crash.
 */
function writeFile(path: string, text: string, mode: number, durable: boolean): void {
  if (!durable) {
    writeFileSync(path, text, { mode, flag: "wx" });
    return;
  }
  const temporary = `${path}.tmp`;
  const fd = openSync(temporary, "wx", mode);
  try {
    // writeFileSync writes all of it; a single write(2) may write less.
    writeFileSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
}
