/**
 * From the container manifest to everything the launcher is going to do for
 * one process of one app. Pure: what can be refused is refused here, before
 * anything has changed.
 */

import { type AccountKind, accountKind, numericIds } from "./accounts.ts";
import type { Environment } from "../shared/callers-environment.ts";
import { RktError } from "../shared/errors.ts";
import {
  ANNOTATIONS,
  EARLY_IMAGE_ANNOTATION,
  MAKE_WORKING_DIRECTORY_ANNOTATION,
  PROTECTIONS,
  type Protection,
  RLIMITS_ISOLATOR,
} from "../shared/contract/annotations.ts";
import { appDirs } from "../shared/contract/container-directory.ts";
import { ENV_ENTER_FDS } from "../shared/contract/environment.ts";
import { type HostPath, hostPath, type Stage1Path } from "../shared/contract/paths.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import { LAYOUT_VERSION } from "../shared/contract/versions.ts";
import { networkRequest } from "../shared/network-request.ts";
import { parseNotifySocket } from "../shared/notify-socket.ts";
import { annotation } from "../shared/schema/image-manifest.ts";
import { type KnownIsolators, understandIsolators } from "../shared/schema/isolators.ts";
import type { App, EventHandler, PodManifest, RuntimeApp } from "../shared/schema/types.ts";
import { RLIMITS, type Rlimit } from "../shared/schema/rlimits.ts";
import { allows, isolatorFilter, leaveDefault, type SystemCallFilter, withoutTyping } from "../shared/seccomp.ts";
import type { ResourceLimit } from "../shared/syscall/process.ts";
import { ALL, boundingSet, capabilityNames, DEFAULT_SET, NET_ADMIN } from "./capabilities.ts";
import type { EnvironmentSources } from "./environment.ts";
import type { CgroupView } from "./cgroup-views.ts";
import {
  type MountStep,
  mountPlan,
  NOTIFY_SOCKET,
  type SourcePath,
  type Surroundings,
  wantsCgroupNamespace,
} from "./mount-plan.ts";

export type EventName = EventHandler["name"];

export interface LaunchPlan {
  app: string;
  /** The program by which the app's is executed (STAGE1.exec). */
  helper: SourcePath;
  /** FIFOs that replace the standard streams, where they exist. */
  streams: { fd: 0 | 1 | 2; fifo: SourcePath }[];
  /** Steps that make the app's root; for `enter`, where to find the one that is there. */
  root: MountStep[] | RunningApp;
  /** As the manifest has them: names mean something in the app's root only. */
  user: string;
  group: string;
  /** Those of the two that are numbers, whatever the app's files call them. */
  numeric: ("user" | "group")[];
  /** As OCI images have users and groups (ACCOUNT_ANNOTATION). */
  account: AccountKind | undefined;
  supplementaryGIDs: number[];
  environment: Omit<EnvironmentSources, "account">;
  workingDirectory: string;
  argv: string[];
  /** Capabilities that the app can have at most. */
  bounding: bigint;
  /** Of these, the ones asked for by name: it is worth a warning when they can't be had. */
  retained: bigint;
  noNewPrivileges: boolean;
  /**
   * A user other than root, or a root with less than all capabilities, gets no more by executing a program: its setuid
   * files would make it the host's root.
   */
  narrowsUsers: boolean;
  /**
   * The user is called root, and has all capabilities of the host's: of what `/proc` and `/sys` have nothing is kept from it.
   * Whether the image's files agree is known when it is mounted.
   */
  rootOfHost: boolean;
  /** System calls; "default" for the one that stage 1 has compiled. */
  filter: SystemCallFilter | "default" | undefined;
  /** Limits that the app asks for, by their numbers (getrlimit(2)). */
  limits: { name: string; number: number; limit: Rlimit }[];
  /** How much likelier than others the kernel ends it when memory is short (proc_pid_oom_score_adj(5)). */
  oomScoreAdj: number | undefined;
  /** The app has the container's terminal. */
  interactive: boolean;
  /** Directory of the cgroups that the process joins; one that enters has joined the running app's. */
  cgroups: Stage1Path | undefined;
  /** A cgroup namespace, whose root is the cgroup that the process is in; one that enters has joined the running app's. */
  cgroupNamespace: boolean;
  /** The container has users of its own. */
  privateUsers: boolean;
  /** How many files it may have open; undefined: as usual for a service. */
  openFiles: ResourceLimit | undefined;
  /** Sockets passed on, as descriptors from 3 (sd_listen_fds(3)). */
  listenFds: number;
  /** The app is a process among the host's: in the session it was started from, and ended with its parent. */
  host: Pick<HostLaunch, "parent"> | undefined;
  /** A Landlock domain for the process, and what that takes away besides other apps' processes. */
  separation: Separation | undefined;
}

/** Mounting and unmounting; or signals to processes that are not below it. */
export type Separation = "mounts" | "signals";

/** An app that runs, for who enters it. */
export interface RunningApp {
  /** Descriptor of its mount namespace, and what has to be the root there. */
  namespace: number;
  rootfs: SourcePath;
  /** Descriptors of the `cgroup.procs` of its cgroups. */
  cgroups: number[];
}

/** What the launcher was given. */
export interface Inherited {
  pid: number;
  /** The capabilities of the container's root. */
  permitted: bigint;
  env: Environment;
  openFiles?: ResourceLimit | undefined;
  /** What stage 1 has of cgroups for the app. */
  cgroups?: readonly CgroupView[] | undefined;
  /** On the host instead of in a stage1 root. */
  host?: HostLaunch | undefined;
}

export interface HostLaunch {
  helper: HostPath;
  /** The process that waits for this one. */
  parent: number;
  surroundings: Surroundings;
  rootfs(appDir: string): SourcePath;
}

export interface Process {
  /** Name of the app in the container. */
  app: string;
  /** An event handler's; the app itself without. */
  event?: EventName | undefined;
  /** What enters the app while it runs. */
  command?: readonly string[];
}

/** Which directory of stage 1 holds an app: its rootfs and its image's manifest. */
export function appDirectory(manifest: PodManifest, app: string): string {
  const dir = appDirs(manifest.apps).get(app);
  if (dir === undefined) throw new RktError("no-such-app", "the container manifest has no app of that name");
  return dir;
}

/** `imageApp` stands in for a manifest without an app section of its own (pods.md, "app"). */
export function launchPlan(
  manifest: PodManifest,
  process: Process,
  inherited: Inherited,
  imageApp?: App | undefined,
): LaunchPlan {
  const version = annotation(manifest.annotations, ANNOTATIONS.layoutVersion) ?? LAYOUT_VERSION;
  if (version !== LAYOUT_VERSION)
    throw new RktError(
      "bad-layout",
      `the container has layout version "${version}", this launcher speaks ${LAYOUT_VERSION}`,
    );
  const dir = appDirectory(manifest, process.app);
  const index = manifest.apps.findIndex(({ name }) => name === process.app);
  const runtime = manifest.apps[index] as RuntimeApp;
  const app = runtime.app ?? imageApp;
  if (app === undefined) throw new RktError("no-app", "neither the container manifest nor the image says what to run");

  const { known } = understandIsolators(app.isolators, {
    object: "container manifest",
    path: `apps[${index}].app.isolators`,
  });
  const { host } = inherited;
  const rootfs = host === undefined ? STAGE1.appRootfs(dir) : host.rootfs(dir);
  const unprotected = unprotectedBy(manifest);
  const bounding = unprotected.has("capabilities") ? ALL : boundingSet(known, host === undefined ? DEFAULT_SET : ALL);
  const namesCapabilities = known["os/linux/capabilities-retain-set"] !== undefined && !unprotected.has("capabilities");
  const filter = unprotected.has("seccomp") ? undefined : systemCalls(known, bounding, host === undefined);
  const onHost = host !== undefined;
  const rootOfHost = onHost && bounding === ALL && ["0", "root"].includes(app.user);
  const interactive = annotation(manifest.annotations, ANNOTATIONS.interactive) === "true";
  const privateUsers = annotation(manifest.annotations, ANNOTATIONS.privateUsers) === "true";
  const capabilities = bounding & inherited.permitted;
  const passed = passedOn(inherited);
  return {
    app: process.app,
    helper: host === undefined ? STAGE1.exec : host.helper,
    streams: host === undefined ? streams(process) : hostStreams(process, interactive),
    root:
      process.command === undefined
        ? mountPlan({
            surroundings: host?.surroundings,
            rootfs,
            name: process.app,
            app,
            readOnlyRootFS: runtime.readOnlyRootFS,
            makesWorkingDirectory: annotation(runtime.annotations, MAKE_WORKING_DIRECTORY_ANNOTATION) === "true",
            mounts: runtime.mounts,
            volumes: manifest.volumes,
            interactive,
            // A network is owned by the host's users, so one of the container's own users has no right to it.
            makesInterfaces: !privateUsers && networkRequest(manifest) !== "host" && (capabilities & NET_ADMIN) !== 0n,
            protectPaths: !rootOfHost && !unprotected.has("paths"),
            hostsAsked: annotation(manifest.annotations, ANNOTATIONS.hosts) !== undefined,
            notifySocket: passed.notifySocket,
            cgroups: inherited.cgroups,
          })
        : { ...enterFds(inherited), rootfs },
    user: app.user,
    group: app.group,
    numeric: numericIds(runtime.annotations),
    account: accountKind(runtime.annotations),
    supplementaryGIDs: app.supplementaryGIDs,
    environment: {
      app: process.app,
      environment: app.environment,
      metadataUrl: annotation(manifest.annotations, ANNOTATIONS.metadataUrl),
      early: early(runtime),
      // Who enters brings a terminal of his own, or none and no TERM.
      terminal: interactive || process.command !== undefined ? inherited.env["TERM"] : undefined,
      passed: passed.env,
    },
    workingDirectory: app.workingDirectory ?? "/",
    argv: command(app, process),
    bounding,
    retained: namesCapabilities ? bounding : 0n,
    noNewPrivileges: known["os/linux/no-new-privileges"] ?? false,
    narrowsUsers: onHost && !unprotected.has("capabilities"),
    rootOfHost,
    filter,
    separation: host === undefined && !unprotected.has("seccomp") ? separation(filter) : undefined,
    limits: limits(known, manifest.apps.length),
    oomScoreAdj: known["os/linux/oom-score-adj"],
    // On the host the terminal has its name in the app's root too.
    interactive: interactive && process.command === undefined && host === undefined,
    cgroups: process.command === undefined && host === undefined ? STAGE1.appCgroups(process.app) : undefined,
    cgroupNamespace: process.command === undefined && wantsCgroupNamespace(inherited.cgroups ?? []),
    privateUsers,
    openFiles: inherited.openFiles,
    listenFds: passed.listenFds,
    host: host,
  };
}

/**
 * A core has the memory of a process. Beside others an app has none unless it asks: root of another one may set its soft
 * limit (prlimit(2)) and send it SIGQUIT, but can't raise a hard limit.
 */
function limits(known: KnownIsolators, apps: number): LaunchPlan["limits"] {
  const asked = new Map(known[RLIMITS_ISOLATOR] ?? []);
  if (apps > 1 && !asked.has("core")) asked.set("core", { soft: 0n, hard: 0n });
  return [...asked].map(([name, limit]) => ({ name, number: (RLIMITS as readonly string[]).indexOf(name), limit }));
}

function early({ image, annotations }: RuntimeApp): LaunchPlan["environment"]["early"] {
  const acVersion = annotation(annotations, EARLY_IMAGE_ANNOTATION);
  return acVersion === undefined || image.name === undefined ? undefined : { image: image.name, acVersion };
}

function unprotectedBy({ annotations }: PodManifest): Set<Protection> {
  const words = annotation(annotations, ANNOTATIONS.insecure)?.split(",") ?? [];
  return new Set(
    words.map((word) => {
      const protection = PROTECTIONS.find((name) => name === word);
      if (protection === undefined) throw new RktError("bad-layout", `there is no protection "${word}" to do without`);
      return protection;
    }),
  );
}

/** On the host there is no default but that an app does not type on its caller's terminal. */
function systemCalls(isolators: KnownIsolators, bounding: bigint, byDefault: boolean): LaunchPlan["filter"] {
  const own = "os/linux/seccomp-retain-set" in isolators || "os/linux/seccomp-remove-set" in isolators;
  const capabilities = capabilityNames(bounding);
  if (!byDefault) return withoutTyping(own ? isolatorFilter(isolators, capabilities) : undefined);
  return own || !leaveDefault(capabilities) ? isolatorFilter(isolators, capabilities) : "default";
}

/** A domain that handles files keeps from mounting (landlock(7)), which is no loss where the filter does so anyway. */
function separation(filter: LaunchPlan["filter"]): Separation {
  const mounts = (allowed: SystemCallFilter) => MOUNTING.some((call) => allows(allowed, call) !== "no");
  return filter === undefined || (filter !== "default" && mounts(filter)) ? "signals" : "mounts";
}

const MOUNTING = ["mount", "umount", "umount2", "move_mount", "pivot_root"];

function enterFds({ env }: Inherited): Pick<RunningApp, "namespace" | "cgroups"> {
  const [namespace, ...cgroups] = (env[ENV_ENTER_FDS] ?? "")
    .split(",")
    .map((text) => (/^\d+$/.test(text) ? +text : -1));
  if (namespace === undefined || [namespace, ...cgroups].some((fd) => fd < 3))
    throw new RktError("usage", `${ENV_ENTER_FDS} names no descriptors: an app is entered by \`rkt enter\``);
  return { namespace, cgroups };
}

function command(app: App, process: Process): string[] {
  if (process.command !== undefined) return [...process.command];
  const exec =
    process.event === undefined ? app.exec : app.eventHandlers.find(({ name }) => name === process.event)?.exec;
  if (exec === undefined) throw new RktError("no-such-handler", `it has no ${process.event} handler`);
  if (exec.length === 0) throw new RktError("no-exec", "it does not say what to execute");
  return exec;
}

/** A handler writes where its app does, but does not eat the app's input. Who enters has streams of his own. */
function streams({ app, event, command }: Process): LaunchPlan["streams"] {
  if (command !== undefined) return [];
  const output: LaunchPlan["streams"] = [
    { fd: 1, fifo: STAGE1.appStdout(app) },
    { fd: 2, fifo: STAGE1.appStderr(app) },
  ];
  return event === undefined ? [{ fd: 0, fifo: STAGE1.appStdin(app) }, ...output] : output;
}

/** `streams` has made those that there are; one for input is read if asked to. */
function hostStreams({ command, event }: Process, interactive: boolean): LaunchPlan["streams"] {
  if (command !== undefined || (interactive && event === undefined)) return [];
  return [{ fd: 0, fifo: hostPath("/dev/null") }];
}

/** Of the launcher's own environment an app gets what two of systemd's protocols need, and only if meant for it. */
function passedOn({ pid, env }: Inherited): {
  env: Record<string, string>;
  listenFds: number;
  notifySocket: SourcePath | undefined;
} {
  const passed: Record<string, string> = {};
  const count = env["LISTEN_PID"] === String(pid) ? Number(env["LISTEN_FDS"] ?? 0) : 0;
  const listenFds = Number.isInteger(count) && count > 0 ? count : 0;
  if (listenFds > 0) {
    passed["LISTEN_PID"] = String(pid);
    passed["LISTEN_FDS"] = String(listenFds);
    if (env["LISTEN_FDNAMES"] !== undefined) passed["LISTEN_FDNAMES"] = env["LISTEN_FDNAMES"];
  }
  const socket = parseNotifySocket(env["NOTIFY_SOCKET"]);
  // An abstract socket belongs to the network namespace, not to a root.
  if (socket !== undefined) passed["NOTIFY_SOCKET"] = socket.kind === "file" ? NOTIFY_SOCKET : socket.name;
  return { env: passed, listenFds, notifySocket: socket?.kind === "file" ? (socket.path as SourcePath) : undefined };
}
