/**
 * What an app's root file system is made of: the list of mounts, in order,
 * from the container manifest. Pure; `mount.ts` carries it out.
 *
 * Paths in the app's root come from the manifest and mean what the app would
 * see: links in the image are resolved later, by the kernel, inside that root.
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
  /** The app's rootfs becomes a mount of its own. */
  | { kind: "root"; source: SourcePath; attributes: MountAttribute[] }
  /** A new instance of a kernel file system; where the kernel refuses one to a user namespace, a bind of `otherwise`. */
  | {
      kind: "filesystem";
      type: "proc" | "sysfs" | "tmpfs" | "devpts";
      target: AppPath;
      attributes: MountAttribute[];
      options: Readonly<Record<string, string>>;
      otherwise?: SourcePath;
    }
  /** A bind mount; the target becomes what the source is, a directory or a file. */
  | {
      kind: "bind";
      source: SourcePath;
      target: AppPath;
      attributes: MountAttribute[];
      recursive: boolean;
      /** Without the source there is nothing to do. */
      optional: boolean;
      /** A file of the app's own that says something stays. */
      fallback?: boolean;
      /** The volume behind it, for messages. */
      volume?: string;
      /** Of a volume from the host's /dev the place there: without "nodev" where the file system is the one of devices. */
      inDev?: AppPath;
      /** The socket to notify, by a name that on the host comes from the environment of rkt's caller. */
      notify?: boolean;
      /** A directory or file of the host's: nothing is created or replaced there when another is mounted in it. */
      host?: boolean;
    }
  /** `fallback`: where none can be made, who needs it will say so. */
  | { kind: "directory"; target: AppPath; mode: number; fallback?: boolean }
  /** `fallback`: what is there stays. */
  | { kind: "symlink"; target: AppPath; to: string; fallback?: boolean }
  /** Hides a file or directory, where there is one. */
  | { kind: "mask"; target: AppPath }
  /** Protects what is mounted already, where there is something. `recursive` reaches the mounts below. */
  | { kind: "protect"; target: AppPath; attributes: MountAttribute[]; recursive: boolean };

type BindStep = Extract<MountStep, { kind: "bind" }>;

/** What a root is put together from, wherever the launcher works. */
export interface Surroundings {
  kernelFileSystems(devices: AppDevices): MountStep[];
  /** What the files of /etc become; undefined: they stay the image's. */
  etc: Record<"resolvConf" | "hosts" | "hostname" | "machineId", SourcePath | undefined>;
  /** The directory of an app's syslog socket, where it has one of its own. */
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

/** What an app finds in /dev beyond what all have. */
export interface AppDevices {
  /** The app has the container's terminal. */
  interactive: boolean;
  /** It can make network interfaces, in a network of the container's own. */
  makesInterfaces: boolean;
}

export interface MountSources extends AppDevices {
  /** IN_STAGE1 unless told. */
  surroundings?: Surroundings | undefined;
  rootfs: SourcePath;
  /** Of the app in the container. */
  name: string;
  app: App;
  readOnlyRootFS: boolean;
  /** The working directory is made where it is missing. */
  makesWorkingDirectory?: boolean;
  mounts: readonly Mount[];
  /** The container's; a mount's own `appVolume` comes first (pods.md). */
  volumes: readonly Volume[];
  /** Hide what tells about the host, and keep what changes it read-only. */
  protectPaths: boolean;
  /** The user asked for an /etc/hosts of his own. */
  hostsAsked: boolean;
  /** What the app sees of cgroups; none on the host, whose own it sees. */
  cgroups?: readonly CgroupView[] | undefined;
  /** systemd's notification socket, when the app is to say that it is ready. */
  notifySocket?: SourcePath | undefined;
}

/** Where an app finds the notification socket, as on a host. */
export const NOTIFY_SOCKET = appPath("/run/systemd/notify");

const KERNEL: MountAttribute[] = ["nosuid", "nodev", "noexec"];
const DEVICE: MountAttribute[] = ["read-only", "nosuid", "noexec"];

/**
 * Pseudo-terminals of one app. The kernel has 3072 for all that is not in the host's own mount namespace
 * (kernel.pty.max less kernel.pty.reserve, sysctl/kernel.rst): no app may have all of them.
 */
const MAX_PTYS = 1024;

/** Devices that carry no secret and control nothing (OS-SPEC.md "Devices and File Systems"). */
const DEVICES = ["null", "zero", "full", "random", "urandom", "tty"];

/**
 * Kernel interfaces that tell about the host or change it: the lists of runc and Docker, and what root alone may read
 * there, which tells of the memory of everybody (docs/operate/security.md).
 */
const MASKED = [
  "/proc/acpi",
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
  "/sys/kernel/vmcoreinfo",
];
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

/** For the host's own, which no surroundings of ours have made so. */
const readOnlySys: MountStep = {
  kind: "protect",
  target: appPath("/sys"),
  attributes: ["read-only"],
  recursive: true,
};

/** Throws "mount-conflict" and "no-such-volume". */
export function mountPlan(sources: MountSources): MountStep[] {
  const { surroundings = IN_STAGE1 } = sources;
  const volumes = volumeMounts(sources, surroundings);
  return [
    // Without nodev, CAP_MKNOD of the default set would be enough to open the host's disks.
    { kind: "root", source: sources.rootfs, attributes: ["nodev"] },
    ...surroundings.kernelFileSystems(sources),
    ...cgroupMounts(sources.cgroups ?? []),
    ...(sources.protectPaths ? PROTECTED : []),
    ...(sources.protectPaths && surroundings !== IN_STAGE1 ? [readOnlySys] : []),
    // On disk, not a tmpfs: event handlers are processes with mounts of their own, and share it with the app.
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

/** A directory, because its socket may come a moment after it. A volume of the host's has its own in that place, or none. */
function syslog(app: string, surroundings: Surroundings, volumes: readonly BindStep[]): MountStep[] {
  const covered = volumes.some(({ host, target }) => host === true && contains(target, JOURNAL));
  if (surroundings.syslog === undefined || covered) return [];
  return [optionalBind(surroundings.syslog(app), JOURNAL, ["read-only", ...KERNEL])];
}

/** For programs that read it where the kernel's list of mounts is meant (docker makes it, too). */
const MTAB: Extract<MountStep, { kind: "symlink" }> = {
  kind: "symlink",
  target: appPath("/etc/mtab"),
  to: "/proc/self/mounts",
  fallback: true,
};

/** Last, when all mount points exist; volumes and the kernel's file systems keep their own attributes. */
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

/** Each hierarchy where a host has it, and of the app's own cgroup on; of another app's nothing is seen. */
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
  // v2 alone is mounted there itself.
  if (views.some(({ mountPoint }) => mountPoint === CGROUPS)) return mounts;
  return [
    { kind: "filesystem", type: "tmpfs", target, attributes: KERNEL, options: { mode: "0755", size: "64k" } },
    ...mounts,
    { kind: "protect", target, attributes, recursive: false },
  ];
}

/** Whether an app has a cgroup namespace: its launcher is in its cgroup of v2 from the first. */
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
    // Of the container's network, and without the cgroups of stage 1.
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
    // Binds rather than mknod(2), which a device cgroup or user namespace may refuse. A read-only mount does not
    // keep anyone from writing to a device, only from changing the mode and owner of stage 1's file.
    ...DEVICES.map((name) => bind(stage1Device(name), device(name), DEVICE)),
    // Whoever has it open attaches to each interface of the network that has no owner, and needs no capability for that.
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
    // Shared by the apps of a container, as their IPC namespace is (pods.md).
    bind(stage1Device("shm"), appPath("/dev/shm"), KERNEL),
    optionalBind(stage1Device("mqueue"), appPath("/dev/mqueue"), KERNEL),
    // There must be one (OS-SPEC.md); only who has the terminal, where there is a terminal, gets what it leads to.
    bind(stage1Device("null"), device("console"), DEVICE),
    ...(interactive ? [optionalBind(stage1Device("console"), device("console"))] : []),
  ];
}

/**
 * Names and addresses as stage 1 chose them. An app's own /etc/hosts stays
 * unless the user asked for another (OS-SPEC.md, "Common Files"); whoever mounts a
 * volume over one of the files brings his own.
 */
function etcFiles(etc: Surroundings["etc"], volumes: readonly { target: AppPath }[], hostsAsked: boolean): MountStep[] {
  const files: { source: SourcePath | undefined; target: AppPath; fallback: boolean }[] = [
    { source: etc.resolvConf, target: appPath("/etc/resolv.conf"), fallback: false },
    { source: etc.hosts, target: appPath("/etc/hosts"), fallback: !hostsAsked },
    { source: etc.hostname, target: appPath("/etc/hostname"), fallback: false },
    // The image's would be the same in all containers.
    { source: etc.machineId, target: appPath("/etc/machine-id"), fallback: false },
  ];
  return files
    .filter(({ target }) => !volumes.some((volume) => contains(volume.target, target)))
    .flatMap(({ source, target, fallback }) =>
      source === undefined ? [] : { ...optionalBind(source, target, ["read-only", ...KERNEL]), fallback },
    );
}

/** Whether a path is the other or lies below it. */
export function contains(outer: AppPath, inner: AppPath): boolean {
  return outer === "/" || inner === outer || inner.startsWith(`${outer}/`);
}

/** The volumes, outer mounts before those inside them. */
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
    // Whoever gave the volume decides; who says nothing leaves it to the image.
    const point = sources.app.mountPoints.find(({ path }) => appPath(path) === target);
    if (volume.readOnly ?? point?.readOnly === true) step.attributes.unshift("read-only");
    planned.push(step);
  }
  return planned.sort((a, b) => depth(a.target) - depth(b.target));
}

const depth = (path: AppPath): number => path.split("/").length;

/** A volume from the host's /dev may be there for its devices. */
function inDev({ kind, source }: Volume): Pick<BindStep, "inDev"> {
  const dev = appPath("/dev");
  if (kind !== "host" || source === undefined || !contains(dev, appPath(source))) return {};
  return { inDev: appPath(appPath(source).slice(dev.length)) };
}

function failure(code: ErrorCode, message: string): RktError {
  return new RktError(code, message, { exitCode: LAUNCH_EXIT.mount });
}

/** What a step does, for messages: `cannot ${describeStep(step)}: …`. */
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
