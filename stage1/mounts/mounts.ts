/**
 * Stage 1 mounts below the stage1 root, before nspawn starts: the parts of the container directory that systemd and the
 * launcher use, and the sources of the volumes. All this happens in the container's own mount namespace.
 *
 * The plan is pure; `applyMounts` carries it out in order. A source lies in the container directory, or is a volume
 * that the administrator names. The targets lie on a fresh tmpfs, so that no link of an image can lead elsewhere.
 */

import { closeSync, constants, copyFileSync, existsSync, fstatSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { cloneHostSource } from "../../shared/host-source.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { machineId } from "../../shared/contract/data-directory.ts";
import { type HostPath, hostPath, type Stage1Path } from "../../shared/contract/paths.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { NETWORK_PARAMETERS, sysctlSettings } from "../../shared/schema/sysctl.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { volumesByKey } from "../../shared/volumes.ts";
import type { AppCgroup } from "../cgroups/cgroups.ts";
import { AT_FDCWD, AT_RECURSIVE, O_PATH } from "../../shared/syscall/file.ts";
import {
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MS_NODEV,
  MS_NOSUID,
  MS_PRIVATE,
  makeFileSystem,
  mount,
  mountSetattr,
  openTree,
  moveMountTo,
  OPEN_TREE_CLONE,
} from "../../shared/syscall/mount.ts";
import { inNamespace } from "../network/namespace.ts";
import { giveToContainerRoot, mapMount, type Users } from "../container/users.ts";

export type ContainerMountStep =
  | { kind: "tmpfs"; target: HostPath; mode: string }
  | { kind: "directory"; target: HostPath }
  /**
   * A bind mount; the target is made a directory or a file, as the source is. `mapped`: its files belong to the
   * container's users, not the host's. `volume`: the source is on the host, where others may have made symbolic links.
   */
  | {
      kind: "bind";
      source: HostPath;
      target: HostPath;
      readOnly: boolean;
      recursive: boolean;
      mapped: boolean;
      volume: boolean;
    }
  /** sysfs shows the interfaces of the network namespace in which it was mounted: it is mounted in the container's. */
  | { kind: "sysfs"; target: HostPath; namespace: number }
  /** Copies the first source that exists. */
  | { kind: "copy"; sources: readonly HostPath[]; target: HostPath }
  | { kind: "text"; target: HostPath; text: string }
  /** Makes the target read-only in this mount namespace. */
  | { kind: "freeze"; target: HostPath };

/** The mounts of a container, in order. */
export function planContainerMounts(
  manifest: PodManifest,
  uuid: string,
  network: NetworkNames = HOST_NETWORK,
  cgroups: readonly AppCgroup[] = [],
): ContainerMountStep[] {
  const here = containerLayout(".");
  const inside = (path: Stage1Path) => here.inStage1(path);
  const part = (source: HostPath, target: Stage1Path, { readOnly = false, mapped = true } = {}): ContainerMountStep => ({
    kind: "bind",
    source,
    target: inside(target),
    readOnly,
    recursive: false,
    mapped,
    volume: false,
  });
  const hostname = containerHostname(manifest, uuid);
  const plan: ContainerMountStep[] = [
    // Read-only, because the host executes some of these programs, and an app can reach the launcher by /proc/self/exe.
    { kind: "freeze", target: inside(STAGE1.programs) },
    // nspawn would mount it from the host's network, but leaves it alone when it is mounted already.
    ...(network.namespace === undefined
      ? []
      : [{ kind: "sysfs", target: inside(STAGE1.sys), namespace: network.namespace } as const]),
    { kind: "tmpfs", target: inside(STAGE1.base), mode: "0755" },
    part(here.manifest, STAGE1.manifest, { readOnly: true }),
    part(here.status, STAGE1.status),
    part(here.log, STAGE1.log),
    part(here.volumes, STAGE1.volumes),
    { kind: "directory", target: inside(STAGE1.stdio) },
    { kind: "directory", target: inside(STAGE1.accounts) },
    { kind: "directory", target: inside(STAGE1.etc) },
    ...resolvConf(annotation(manifest.annotations, ANNOTATIONS.resolvConf), network, inside(STAGE1.resolvConf)),
    { kind: "text", target: inside(STAGE1.hostname), text: `${hostname}\n` },
    { kind: "text", target: inside(STAGE1.machineId), text: `${machineId(uuid)}\n` },
    hosts(annotation(manifest.annotations, ANNOTATIONS.hosts), hostname, network, inside(STAGE1.hosts)),
    { kind: "directory", target: inside(STAGE1.hostVolumes) },
    ...sysctl(
      sysctlSettings(manifest, network.namespace !== undefined),
      inside(STAGE1.sysctl),
      annotation(manifest.annotations, ANNOTATIONS.privateUsers) === "true",
    ),
    { kind: "directory", target: inside(STAGE1.cgroups) },
    ...[...new Set(cgroups.map(({ app }) => app))].map(
      (app): ContainerMountStep => ({ kind: "directory", target: inside(STAGE1.appCgroups(app)) }),
    ),
    ...cgroups.map(({ app, controller, dir }) => part(dir, STAGE1.appCgroup(app, controller), { mapped: false })),
  ];
  const mapped = annotation(manifest.annotations, ANNOTATIONS.mappedVolumes)?.split(",");
  for (const [key, volume] of volumeSources(manifest))
    plan.push({
      kind: "bind",
      source: volume.source,
      target: inside(STAGE1.hostVolume(key)),
      readOnly: volume.readOnly,
      recursive: volume.recursive,
      mapped: mapped?.includes(key) === true,
      volume: true,
    });
  return plan;
}

/**
 * The kernel limits these by user, and counts what a user namespace uses for its creator, the host's root, too
 * (user_namespaces(7), namespaces(7)). So each container with its own users gets a share of what root may have.
 */
const USER_LIMITS: readonly [path: string, value: string][] = [
  ["user/max_inotify_instances", "1024"],
  ["user/max_inotify_watches", "65536"],
  ["user/max_user_namespaces", "256"],
  ["user/max_mnt_namespaces", "1024"],
  ["user/max_net_namespaces", "256"],
];

function sysctl(parameters: ReadonlyMap<string, string>, target: HostPath, privateUsers: boolean): ContainerMountStep[] {
  // With its own users, those of the network are set from outside.
  const settings = [...parameters].filter(([path]) => !(privateUsers && path.startsWith(NETWORK_PARAMETERS)));
  if (privateUsers) settings.push(...USER_LIMITS);
  if (settings.length === 0) return [];
  return [{ kind: "text", target, text: settings.map((setting) => `${setting.join(" ")}\n`).join("") }];
}

/** Volumes of kind "host", by key; the spec's default is a recursive mount (pods.md). */
function volumeSources(
  manifest: PodManifest,
): Map<string, { source: HostPath; readOnly: boolean; recursive: boolean }> {
  const sources = new Map<string, { source: HostPath; readOnly: boolean; recursive: boolean }>();
  for (const [key, volume] of volumesByKey(manifest))
    if (volume.kind === "host" && volume.source !== undefined)
      sources.set(key, {
        source: volume.source as HostPath,
        readOnly: volume.readOnly === true,
        recursive: volume.recursive ?? true,
      });
  return sources;
}

/** The container's hostname(7): the one that stage 0 chose, else one made of the UUID. */
export function containerHostname(manifest: PodManifest, uuid: string): string {
  return annotation(manifest.annotations, ANNOTATIONS.hostname) ?? `rkt-${uuid}`;
}

/** What the container's networks contribute to its hosts(5) and resolv.conf(5). */
export interface NetworkNames {
  /** Undefined: the host's network. */
  namespace: number | undefined;
  /** The container's addresses, without prefix lengths. */
  addresses: readonly string[];
  nameServers: readonly string[];
}

const HOST_NETWORK: NetworkNames = { namespace: undefined, addresses: [], nameServers: [] };

/**
 * The servers behind systemd-resolved: a container can't reach its stub on 127.0.0.53 (systemd-resolved.service(8)).
 */
const UPLINK_RESOLV_CONF = "/run/systemd/resolve/resolv.conf";
const HOST_RESOLV_CONF = "/etc/resolv.conf";

/** resolv.conf(5) of the apps: as asked for, else the networks' servers, else the host's. */
function resolvConf(asked: string | undefined, network: NetworkNames, target: HostPath): ContainerMountStep[] {
  if (asked === "none") return [];
  if (asked !== undefined && asked !== "host") return [{ kind: "text", target, text: asked }];
  if (asked === undefined && network.nameServers.length > 0)
    return [{ kind: "text", target, text: network.nameServers.map((server) => `nameserver ${server}\n`).join("") }];
  const ownNetwork = asked === undefined && network.namespace !== undefined;
  return [
    { kind: "copy", sources: [...(ownNetwork ? [UPLINK_RESOLV_CONF] : []), HOST_RESOLV_CONF].map(hostPath), target },
  ];
}

/** hosts(5) of the apps: the host's, or one with the container's addresses and the lines that the user asked for. */
function hosts(asked: string | undefined, hostname: string, { addresses }: NetworkNames, target: HostPath): ContainerMountStep {
  if (asked === "host") return { kind: "copy", sources: [hostPath("/etc/hosts")], target };
  const own = addresses.length === 0 ? ["127.0.1.1"] : addresses;
  const lines = [
    "127.0.0.1\tlocalhost",
    ...own.map((address) => `${address}\t${hostname}`),
    "::1\tlocalhost ip6-localhost ip6-loopback",
  ];
  return { kind: "text", target, text: `${lines.join("\n")}\n${asked ?? ""}` };
}

export function applyMounts(plan: readonly ContainerMountStep[], users?: Users): void {
  for (const step of plan) {
    try {
      apply(step, users);
      if (!["bind", "freeze", "sysfs"].includes(step.kind) && existsSync(step.target)) giveToContainerRoot(step.target, users);
    } catch (error) {
      if (error instanceof RktError) throw error;
      const source = step.kind === "bind" ? step.source : step.target;
      throw new RktError("mount-failed", `cannot mount ${source}: ${errorText(error)}`, { cause: error });
    }
  }
}

function apply(step: ContainerMountStep, users: Users | undefined): void {
  switch (step.kind) {
    case "tmpfs":
      mkdirSync(step.target, { recursive: true });
      mount("tmpfs", step.target, "tmpfs", MS_NOSUID | MS_NODEV, `mode=${step.mode}`);
      break;
    case "sysfs":
      mountSysfs(step);
      break;
    case "directory":
      mkdirSync(step.target, { mode: 0o755 });
      break;
    case "text":
      writeFileSync(step.target, step.text, { mode: 0o644, flag: "wx" });
      break;
    case "copy":
      copyFirst(step.sources, step.target);
      break;
    case "bind":
      bind(step, users);
      break;
    case "freeze":
      freeze(step.target);
      break;
  }
}

function mountSysfs({ target, namespace }: Extract<ContainerMountStep, { kind: "sysfs" }>): void {
  const attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  let sysfs: number;
  try {
    sysfs = inNamespace(namespace, () => makeFileSystem("sysfs", {}, attributes));
  } catch (error) {
    throw new RktError("mount-failed", `cannot mount sysfs for the container's own network: ${errorText(error)}`, {
      hint: "does rkt run in a container that may not mount sysfs? of rkt's stage1 images, only fly works without it",
      cause: error,
    });
  }
  try {
    mkdirSync(target, { recursive: true });
    moveOnto(sysfs, target);
  } finally {
    closeSync(sysfs);
  }
}

/** If no source exists (a host without a resolv.conf), the app keeps its image's file. */
function copyFirst(sources: readonly HostPath[], target: HostPath): void {
  for (const source of sources) {
    try {
      copyFileSync(source, target, constants.COPYFILE_EXCL);
      return;
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
    }
  }
}

function freeze(target: HostPath): void {
  const tree = openTree(AT_FDCWD, target, OPEN_TREE_CLONE);
  try {
    mountSetattr(tree, "", MOUNT_ATTR_RDONLY, 0, { propagation: MS_PRIVATE });
    moveOnto(tree, target);
  } finally {
    closeSync(tree);
  }
}

/** Attaches a detached mount to the target. A symbolic link there is not followed. */
function moveOnto(tree: number, target: string): void {
  const fd = openSync(target, O_PATH | constants.O_NOFOLLOW);
  try {
    moveMountTo(tree, fd);
  } finally {
    closeSync(fd);
  }
}

/** Opens the source once, so that the object that is checked is the one that is mounted. */
function bind(step: Extract<ContainerMountStep, { kind: "bind" }>, users: Users | undefined): void {
  const depth = step.recursive ? AT_RECURSIVE : 0;
  const tree = step.volume
    ? cloneHostSource(step.source, depth)
    : openTree(AT_FDCWD, step.source, OPEN_TREE_CLONE | depth);
  try {
    if (fstatSync(tree).isDirectory()) mkdirSync(step.target, { mode: 0o755 });
    else writeFileSync(step.target, "", { flag: "wx" });
    if (step.mapped && users !== undefined) mapMount(tree, step);
    // Private: a file system that is mounted on the host later must not appear in the container, where it would be
    // writable.
    mountSetattr(tree, "", step.readOnly ? MOUNT_ATTR_RDONLY : 0, 0, {
      recursive: step.recursive,
      propagation: MS_PRIVATE,
    });
    moveOnto(tree, step.target);
  } finally {
    closeSync(tree);
  }
}

/** Where nspawn finds the sd_notify(3) socket, in its private /run. */
const NOTIFY_SOCKET = "/run/notify";

/**
 * Mounts a private /run: nspawn keeps its sockets and locks there, and insists on a tmpfs. Called after the volumes are
 * mounted, because their sources may lie in the host's /run. `notify` is a clone of the socket that nspawn shall notify
 * (cloneNotifySocket); returns the socket's new path.
 */
export function privateRun(notify: number | undefined): string | undefined {
  mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
  if (notify === undefined) return undefined;
  writeFileSync(NOTIFY_SOCKET, "", { flag: "wx" });
  mountSetattr(notify, "", 0, 0, { propagation: MS_PRIVATE });
  moveOnto(notify, NOTIFY_SOCKET);
  closeSync(notify);
  return NOTIFY_SOCKET;
}
