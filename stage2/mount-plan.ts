/**
 * Plans the mounts of an app's root file system, in order, from the container manifest. Pure; `mount.ts` carries the
 * plan out.
 *
 * A target is a path in the manifest, as the app would use it. `mount.ts` later resolves symbolic links inside the
 * root.
 */

import type { ErrorCode } from "../shared/error-codes.ts";
import { basename } from "node:path";
import { RktError } from "../shared/errors.ts";
import type { HostPath, Stage1Path } from "../shared/contract/paths.ts";
import { LAUNCH_EXIT, STAGE1, SYSLOG_SOCKET } from "../shared/contract/stage1-root.ts";
import { APPS_SLICE } from "../shared/contract/units.ts";
import { CGROUPS, type CgroupView, isUnified } from "./cgroup-views.ts";
import type { App, Mount, Volume } from "../shared/schema/types.ts";
import { ownVolumeKey } from "../shared/volumes.ts";

declare const appBrand: unique symbol;
/** Absolute path in the app's root, without empty and "." components. */
export type AppPath = string & { readonly [appBrand]: true };

export function appPath(path: string): AppPath {
  return `/${path
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/")}` as AppPath;
}

/** A path as the launcher sees it: in the stage1 root, or on the host (`host.ts`). */
export type SourcePath = Stage1Path | HostPath;

const stage1 = (path: string): Stage1Path => path as Stage1Path;
const stage1Device = (name: string): Stage1Path => stage1(`/dev/${name}`);

export type MountAttribute = "read-only" | "nosuid" | "nodev" | "noexec";

export type MountStep =
  /** Makes the app's rootfs a mount. */
  | { kind: "root"; source: SourcePath; attributes: MountAttribute[] }
  /** Mounts a new kernel file system. If the kernel refuses that to a user namespace, binds `otherwise` instead. */
  | {
      kind: "filesystem";
      type: "proc" | "sysfs" | "tmpfs" | "devpts";
      target: AppPath;
      attributes: MountAttribute[];
      options: Readonly<Record<string, string>>;
      otherwise?: SourcePath;
    }
  /** A bind mount; a missing target is made a directory or a file, as the source is. */
  | {
      kind: "bind";
      source: SourcePath;
      target: AppPath;
      attributes: MountAttribute[];
      recursive: boolean;
      /** If the source does not exist, the step does nothing. */
      optional: boolean;
      /** If the target is a file with content, the step does nothing. */
      fallback?: boolean;
      /** The volume's name, for messages. */
      volume?: string;
      /**
       * For a volume from the host's /dev: its path there. It loses "nodev" if it lies in the file system of devices.
       */
      inDev?: AppPath;
      /** It is the sd_notify(3) socket. In fly, its path comes from the environment of rkt's caller. */
      notify?: boolean;
      /** The source is the host's: nothing is created or replaced in it to mount something else there. */
      host?: boolean;
    }
  /** `fallback`: where none can be made, who needs it will say so. */
  | { kind: "directory"; target: AppPath; mode: number; fallback?: boolean }
  /** `fallback`: what is there stays. */
  | { kind: "symlink"; target: AppPath; to: string; fallback?: boolean }
  /** Hides a file or directory, if it exists. */
  | { kind: "mask"; target: AppPath }
  /** Sets attributes of a path that exists already. `recursive` includes the mounts below it. */
  | { kind: "protect"; target: AppPath; attributes: MountAttribute[]; recursive: boolean };

type BindStep = Extract<MountStep, { kind: "bind" }>;

/** The parts of a root that differ between a stage1 root (IN_STAGE1) and fly, on the host (host.ts). */
export interface Surroundings {
  kernelFileSystems(devices: AppDevices): MountStep[];
  /** Sources of files in /etc; undefined: the image's file stays. */
  etc: Record<"resolvConf" | "hosts" | "hostname" | "machineId", SourcePath | undefined>;
  /** The directory of an app's syslog socket, if apps have one. */
  syslog?(app: string): SourcePath;
  /** Keys are those of volumesByKey. */
  emptyVolume(key: string): SourcePath;
  hostVolume(key: string, volume: Volume): SourcePath;
}

export const IN_STAGE1: Surroundings = {
  kernelFileSystems,
  etc: STAGE1,
  syslog: STAGE1.appSyslog,
  emptyVolume: STAGE1.emptyVolume,
  hostVolume: STAGE1.hostVolume,
};

/** Which further devices an app has in /dev. */
export interface AppDevices {
  /** The app has the container's terminal. */
  interactive: boolean;
  /** The app can make network interfaces in the container's own network. */
  makesInterfaces: boolean;
}

export interface MountSources extends AppDevices {
  /** IN_STAGE1 by default. */
  surroundings?: Surroundings | undefined;
  rootfs: SourcePath;
  /** The app's name in the container. */
  name: string;
  app: App;
  readOnlyRootFS: boolean;
  /** The working directory is made where it is missing. */
  makesWorkingDirectory?: boolean;
  mounts: readonly Mount[];
  /** The container's volumes; a mount's own `appVolume` comes first (pods.md). */
  volumes: readonly Volume[];
  /** Hide kernel interfaces that tell about the host, and make those that change it read-only. */
  protectPaths: boolean;
  /** The user asked for a particular /etc/hosts. */
  hostsAsked: boolean;
  /** The cgroups that the app sees; undefined in fly, where it sees the host's. */
  cgroups?: readonly CgroupView[] | undefined;
  /** systemd's notification socket, when the app is to say that it is ready. */
  notifySocket?: SourcePath | undefined;
}

/** The notification socket in the app, where a host has it. */
export const NOTIFY_SOCKET = appPath("/run/systemd/notify");

const KERNEL: MountAttribute[] = ["nosuid", "nodev", "noexec"];
const DEVICE: MountAttribute[] = ["read-only", "nosuid", "noexec"];

/**
 * Pseudo-terminals of one app. All containers of a host share 3072 (kernel.pty.max less kernel.pty.reserve,
 * sysctl/kernel.rst): no app may use up all of them.
 */
const MAX_PTYS = 1024;

/** Devices that carry no secret and control nothing (OS-SPEC.md "Devices and File Systems"). */
const DEVICES = ["null", "zero", "full", "random", "urandom", "tty"];

/**
 * Kernel interfaces that tell about the host: those that runc and Docker hide, and files that only root may read,
 * because they show the memory use of all processes (docs/operate/security.md).
 */
const MASKED = [
  "/proc/acpi",
  "/proc/allocinfo",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/kpagecgroup",
  "/proc/kpagecount",
  "/proc/kpageflags",
  "/proc/latency_stats",
  "/proc/pagetypeinfo",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/slabinfo",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/vmallocinfo",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
  "/sys/kernel/irq",
  "/sys/kernel/mm/page_idle",
  "/sys/kernel/slab",
  "/sys/kernel/vmcoreinfo",
];
/** Kernel interfaces that change the host. */
const READ_ONLY = ["/proc/bus", "/proc/dynamic_debug", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const PROTECTED: readonly MountStep[] = [
  ...MASKED.map((path): MountStep => ({ kind: "mask", target: appPath(path) })),
  ...READ_ONLY.map(
    (path): MountStep => ({
      kind: "protect",
      target: appPath(path),
      attributes: ["read-only", ...KERNEL],
      recursive: true,
    }),
  ),
];

/** In fly /sys is the host's, and writable. */
const readOnlySys: MountStep = {
  kind: "protect",
  target: appPath("/sys"),
  attributes: ["read-only"],
  recursive: true,
};

/** The mounts of an app's root, in order. Throws "mount-conflict" and "no-such-volume". */
export function planAppMounts(sources: MountSources): MountStep[] {
  const { surroundings = IN_STAGE1 } = sources;
  const volumes = volumeMounts(sources, surroundings);
  return [
    // Without nodev, an app could open the host's disks: CAP_MKNOD is in the default set.
    { kind: "root", source: sources.rootfs, attributes: ["nodev"] },
    ...surroundings.kernelFileSystems(sources),
    ...cgroupMounts(sources.cgroups ?? []),
    ...(sources.protectPaths ? PROTECTED : []),
    ...(sources.protectPaths && surroundings !== IN_STAGE1 ? [readOnlySys] : []),
    // On disk, not a tmpfs: an event handler has its own mounts, and shares /tmp with its app.
    { kind: "directory", target: appPath("/tmp"), mode: 0o1777 },
    ...etcFiles(surroundings.etc, volumes, sources.hostsAsked),
    ...(volumes.some(({ target }) => contains(target, MTAB.target)) ? [] : [MTAB]),
    ...volumes,
    ...syslog(sources.name, surroundings, volumes),
    ...(sources.notifySocket === undefined ? [] : [{ ...bind(sources.notifySocket, NOTIFY_SOCKET), notify: true }]),
    ...workingDirectory(sources),
    ...(sources.readOnlyRootFS ? [readOnlyRoot] : []),
  ];
}

/** As Docker has it, root's; in a volume it is the volume's. */
function workingDirectory({ app, makesWorkingDirectory }: MountSources): MountStep[] {
  const target = appPath(app.workingDirectory ?? "/");
  if (makesWorkingDirectory !== true || target === "/") return [];
  return [{ kind: "directory", target, mode: 0o755, fallback: true }];
}

/** Where syslog(3) leads to, as on a host with systemd. */
const JOURNAL = appPath("/run/systemd/journal");

/**
 * Binds the directory and not the socket, because the relay may make the socket a moment later. If a volume of the
 * host's covers the place, the app gets what that has there.
 */
function syslog(app: string, surroundings: Surroundings, volumes: readonly BindStep[]): MountStep[] {
  const covered = volumes.some(({ host, target }) => host === true && contains(target, JOURNAL));
  if (surroundings.syslog === undefined || covered) return [];
  return [optionalBind(surroundings.syslog(app), JOURNAL, ["read-only", ...KERNEL])];
}

/** Some programs read the list of mounts from here (Docker makes it, too). */
const MTAB: Extract<MountStep, { kind: "symlink" }> = {
  kind: "symlink",
  target: appPath("/etc/mtab"),
  to: "/proc/self/mounts",
  fallback: true,
};

/** The last step, after all mount points were made. Volumes and kernel file systems keep their own attributes. */
const readOnlyRoot: MountStep = {
  kind: "protect",
  target: appPath("/"),
  attributes: ["read-only"],
  recursive: false,
};

export function bind(source: SourcePath, target: AppPath, attributes: MountAttribute[] = []): BindStep {
  return { kind: "bind", source, target, attributes, recursive: false, optional: false };
}

function optionalBind(source: SourcePath, target: AppPath, attributes: MountAttribute[] = []): BindStep {
  return { ...bind(source, target, attributes), optional: true };
}

/** Mounts each hierarchy where a host has it. The app's own cgroup is its root, so that other apps' are not visible. */
function cgroupMounts(views: readonly CgroupView[]): MountStep[] {
  if (views.length === 0) return [];
  const target = appPath(CGROUPS);
  const attributes: MountAttribute[] = ["read-only", ...KERNEL];
  const mounts = views.flatMap(({ source, mountPoint, controllers, shared }): MountStep[] => [
    bind(source, appPath(mountPoint), attributes),
    ...(shared ? [{ kind: "mask", target: appPath(`${mountPoint}/${APPS_SLICE}`) } as const] : []),
    ...(controllers.length > 1
      ? controllers.map(
          (name) => ({ kind: "symlink", target: appPath(`${CGROUPS}/${name}`), to: basename(mountPoint) }) as const,
        )
      : []),
  ]);
  // v2 alone: the one hierarchy is mounted at CGROUPS itself.
  if (views.some(({ mountPoint }) => mountPoint === CGROUPS)) return mounts;
  return [
    { kind: "filesystem", type: "tmpfs", target, attributes: KERNEL, options: { mode: "0755", size: "64k" } },
    ...mounts,
    { kind: "protect", target, attributes, recursive: false },
  ];
}

/** Whether an app gets a cgroup namespace: on v2, where its launcher starts in the app's cgroup. */
export const wantsCgroupNamespace = (views: readonly CgroupView[]): boolean => views.some(isUnified);

function kernelFileSystems({ interactive, makesInterfaces }: AppDevices): MountStep[] {
  const symlink = (target: string, to: string): MountStep => ({ kind: "symlink", target: appPath(target), to });
  const device = (name: string) => appPath(`/dev/${name}`);
  return [
    {
      kind: "filesystem",
      type: "proc",
      target: appPath("/proc"),
      attributes: KERNEL,
      options: {},
      otherwise: stage1("/proc"),
    },
    // A new sysfs shows the container's network, and does not have stage 1's mounts of cgroups.
    {
      kind: "filesystem",
      type: "sysfs",
      target: appPath("/sys"),
      attributes: ["read-only", ...KERNEL],
      options: {},
      otherwise: stage1("/sys"),
    },
    {
      kind: "filesystem",
      type: "tmpfs",
      target: appPath("/dev"),
      attributes: KERNEL,
      options: { mode: "0755", size: "64k" },
    },
    // Bind mounts, because a device cgroup or user namespace may refuse mknod(2). A device on a read-only mount can
    // still be written to, but the mode and owner of stage 1's file can't be changed.
    ...DEVICES.map((name) => bind(stage1Device(name), device(name), DEVICE)),
    // Only for apps that can make interfaces: with it a process attaches to any interface without an owner, and needs
    // no capability for that.
    ...(makesInterfaces ? [optionalBind(stage1Device("net/tun"), device("net/tun"), DEVICE)] : []),
    { kind: "directory", target: appPath("/dev/pts"), mode: 0o755 },
    {
      kind: "filesystem",
      type: "devpts",
      target: appPath("/dev/pts"),
      attributes: ["nosuid", "noexec"],
      options: { ptmxmode: "0666", mode: "0620", gid: "5", max: String(MAX_PTYS) },
      otherwise: stage1Device("pts"),
    },
    symlink("/dev/ptmx", "pts/ptmx"),
    symlink("/dev/fd", "/proc/self/fd"),
    symlink("/dev/stdin", "/proc/self/fd/0"),
    symlink("/dev/stdout", "/proc/self/fd/1"),
    symlink("/dev/stderr", "/proc/self/fd/2"),
    symlink("/dev/log", `${JOURNAL}/${SYSLOG_SOCKET}`),
    // The apps of a container share these, as they share its IPC namespace (pods.md).
    bind(stage1Device("shm"), appPath("/dev/shm"), KERNEL),
    optionalBind(stage1Device("mqueue"), appPath("/dev/mqueue"), KERNEL),
    // /dev/console must exist (OS-SPEC.md). It is the terminal for an interactive app, and null for others.
    bind(stage1Device("null"), device("console"), DEVICE),
    ...(interactive ? [optionalBind(STAGE1.terminal, device("console"))] : []),
  ];
}

/**
 * Mounts the files that stage 1 has written for names and addresses. An image's own /etc/hosts stays, except when the
 * user asked for another (OS-SPEC.md, "Common Files"). A file that a volume covers is left out.
 */
function etcFiles(etc: Surroundings["etc"], volumes: readonly { target: AppPath }[], hostsAsked: boolean): MountStep[] {
  const files: { source: SourcePath | undefined; target: AppPath; fallback: boolean }[] = [
    { source: etc.resolvConf, target: appPath("/etc/resolv.conf"), fallback: false },
    { source: etc.hosts, target: appPath("/etc/hosts"), fallback: !hostsAsked },
    { source: etc.hostname, target: appPath("/etc/hostname"), fallback: false },
    // An image's machine-id would be the same in all its containers.
    { source: etc.machineId, target: appPath("/etc/machine-id"), fallback: false },
  ];
  return files
    .filter(({ target }) => !volumes.some((volume) => contains(volume.target, target)))
    .flatMap(({ source, target, fallback }) =>
      source === undefined ? [] : { ...optionalBind(source, target, ["read-only", ...KERNEL]), fallback },
    );
}

/** Whether `inner` is `outer` or lies below it. */
export function contains(outer: AppPath, inner: AppPath): boolean {
  return outer === "/" || inner === outer || inner.startsWith(`${outer}/`);
}

/** The mounts of volumes, outer ones before those inside them. */
function volumeMounts(sources: MountSources, { hostVolume, emptyVolume }: Surroundings): BindStep[] {
  const planned: BindStep[] = [];
  for (const [i, mount] of sources.mounts.entries()) {
    const target = appPath(mount.path);
    const volume = mount.appVolume ?? sources.volumes.find(({ name }) => name === mount.volume);
    if (volume === undefined)
      throw failure("no-such-volume", `the mount on ${target} wants volume "${mount.volume}", which does not exist`);
    if (target === "/") throw failure("mount-conflict", `volume "${mount.volume}" cannot be mounted on the app's root`);
    const other = planned.find((step) => step.target === target)?.volume;
    if (other !== undefined)
      throw failure("mount-conflict", `volumes "${other}" and "${mount.volume}" are both to be mounted on ${target}`);
    const host = volume.kind === "host";
    const key = mount.appVolume === undefined ? volume.name : ownVolumeKey(sources.name, i);
    const step: BindStep = {
      kind: "bind",
      source: host ? hostVolume(key, volume) : emptyVolume(key),
      target,
      attributes: ["nodev"],
      recursive: host && (volume.recursive ?? true),
      optional: false,
      volume: mount.volume,
      host,
      ...inDev(volume),
    };
    // The volume decides whether it is read-only; if it does not say, the image does.
    const point = sources.app.mountPoints.find(({ path }) => appPath(path) === target);
    if (volume.readOnly ?? point?.readOnly === true) step.attributes.unshift("read-only");
    planned.push(step);
  }
  return planned.sort((a, b) => depth(a.target) - depth(b.target));
}

const depth = (path: AppPath): number => path.split("/").length;

/** A volume from the host's /dev may be meant to give the app devices. */
function inDev({ kind, source }: Volume): Pick<BindStep, "inDev"> {
  const dev = appPath("/dev");
  if (kind !== "host" || source === undefined || !contains(dev, appPath(source))) return {};
  return { inDev: appPath(appPath(source).slice(dev.length)) };
}

function failure(code: ErrorCode, message: string): RktError {
  return new RktError(code, message, { exitCode: LAUNCH_EXIT.mount });
}

/** Describes a step for messages: `cannot ${describeStep(step)}: …`. */
export function describeStep(step: MountStep): string {
  switch (step.kind) {
    case "root":
      return `mount ${step.source} as the app's root`;
    case "filesystem":
      return `mount ${step.type} on ${step.target}`;
    case "bind":
      return `mount ${step.volume === undefined ? step.source : `volume "${step.volume}"`} on ${step.target}`;
    case "directory":
      return `make directory ${step.target}`;
    case "symlink":
      return `link ${step.target} to ${step.to}`;
    case "mask":
      return `hide ${step.target}`;
    case "protect":
      return `remount ${step.target}`;
  }
}
