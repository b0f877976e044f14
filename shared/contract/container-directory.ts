/** A container directory as processes of the host see it (docs/extend/layout.md). */

import { shortId } from "./image-ids.ts";
import { STREAM_SUFFIX, type Stream } from "./logs.ts";
import { type HostPath, hostPath, join } from "./paths.ts";

/** Where apps live in the stage1 root file system. */
export const STAGE2 = "opt/stage2";

/** Names directly below the container directory. */
export const CONTAINER_ENTRIES = {
  manifest: "container",
  stage1: "stage1",
  overlay: "overlay",
  layers: "l",
  status: "status",
  volumes: "volumes",
  log: "log",
  net: "net",
  pid: "pid",
} as const;

export interface ContainerLayout {
  dir: HostPath;
  /** The container manifest. */
  manifest: HostPath;
  stage1Manifest: HostPath;
  stage1Rootfs: HostPath;
  /** An absolute path of the stage1 root (an entrypoint, the runtime) as the host sees it. */
  inStage1(path: string): HostPath;
  /** `opt/stage2`: one directory per app. */
  stage2: HostPath;
  app(appDir: string): HostPath;
  appManifest(appDir: string): HostPath;
  appRootfs(appDir: string): HostPath;
  overlay: HostPath;
  /** The rendered trees below stage1 and each app (trees.ts). */
  trees: HostPath;
  /** Upper and work directories: of "stage1", or of an app's directory name. */
  upper(of: string): HostPath;
  work(of: string): HostPath;
  /** Links to extracted layers, which apps' overlays are made of: short, for mount(2) takes a page of options. */
  layers: HostPath;
  layer(n: number): HostPath;
  status: HostPath;
  appStatus(app: string): HostPath;
  /**
   * Exists as soon as all apps have been started, and those that report their readiness are ready. No app can have that
   * name.
   */
  ready: HostPath;
  /** Directories behind volumes of kind "empty". */
  volumes: HostPath;
  emptyVolume(name: string): HostPath;
  log: HostPath;
  /** The latest output of an app to a stream; `.1` is the file before (ADR 4). */
  appLog(app: string, stream: Stream): HostPath;
  net: HostPath;
  /**
   * Shell script that releases the networks. It runs in the container directory, may run repeatedly, and removes itself
   * at the end.
   */
  netTeardown: HostPath;
  /** The container's networks: JSON, a list of `{name, interface, addresses, ports}`. */
  networks: HostPath;
  /** Pid of the process that `init` became and that holds the lock: the container's PID 1, or its parent (ADR 1). */
  pid: HostPath;
  /** The cgroup directories made for the container, one a line. */
  cgroups: HostPath;
  /** `FIRST COUNT`: the range of the host's ids, for users and groups, that are 0 and following in the container. */
  users: HostPath;
  /** The user namespace (nsfs) for id-mapped mounts (ADR 6). It is there only in the container's mount namespace. */
  userNamespace: HostPath;
}

/** Paths of one container directory. `dir` is "." for a stage that has it as its working directory. */
export function containerLayout(dir: string): ContainerLayout {
  const e = CONTAINER_ENTRIES;
  const stage1Rootfs = join(dir, e.stage1, "rootfs");
  const stage2 = join(stage1Rootfs, STAGE2);
  return {
    dir: hostPath(dir),
    manifest: join(dir, e.manifest),
    stage1Manifest: join(dir, e.stage1, "manifest"),
    stage1Rootfs,
    inStage1: (path) => join(stage1Rootfs, path.replace(/^\/+/, "")),
    stage2,
    app: (appDir) => join(stage2, appDir),
    appManifest: (appDir) => join(stage2, appDir, "manifest"),
    appRootfs: (appDir) => join(stage2, appDir, "rootfs"),
    overlay: join(dir, e.overlay),
    trees: join(dir, "trees"),
    upper: (of) => join(dir, e.overlay, of, "upper"),
    work: (of) => join(dir, e.overlay, of, "work"),
    layers: join(dir, e.layers),
    layer: (n) => join(dir, e.layers, String(n)),
    status: join(dir, e.status),
    appStatus: (app) => join(dir, e.status, app),
    ready: join(dir, e.status, "_ready"),
    volumes: join(dir, e.volumes),
    emptyVolume: (name) => join(dir, e.volumes, name),
    log: join(dir, e.log),
    appLog: (app, stream) => join(dir, e.log, `${app}${STREAM_SUFFIX[stream]}`),
    net: join(dir, e.net),
    netTeardown: join(dir, e.net, "teardown"),
    networks: join(dir, e.net, "networks"),
    pid: join(dir, e.pid),
    cgroups: join(dir, "cgroups"),
    users: join(dir, "users"),
    userNamespace: join(dir, "user-namespace"),
  };
}

/**
 * The directory name of each app, in the manifest's order: `sha512-` and 32 hex digits; a second app of the same image
 * gets `-2`, and so on. Every stage derives the same names from the container manifest.
 */
export function appDirs(apps: readonly { name: string; image: { id: string } }[]): Map<string, string> {
  const used = new Map<string, number>();
  const dirs = new Map<string, string>();
  for (const app of apps) {
    const base = shortId(app.image.id);
    const n = (used.get(base) ?? 0) + 1;
    used.set(base, n);
    dirs.set(app.name, n === 1 ? base : `${base}-${n}`);
  }
  return dirs;
}
