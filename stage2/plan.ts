/**
 * Plans, from the container manifest, everything that the launcher will do for one process of one app. Pure: all errors
 * of the manifest are found here, before anything has changed.
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
import { allows, isolatorFilter, keepDefaultFilter, type SystemCallFilter, withoutTyping } from "../shared/seccomp.ts";
import type { ResourceLimit } from "../shared/syscall/process.ts";
import { ALL, boundingSet, capabilityNames, DEFAULT_SET, NET_ADMIN } from "./capabilities.ts";
import type { EnvironmentSources } from "./environment.ts";
import type { CgroupView } from "./cgroup-views.ts";
import {
  type MountStep,
  planAppMounts,
  NOTIFY_SOCKET,
  type SourcePath,
  type Surroundings,
  wantsCgroupNamespace,
} from "./mount-plan.ts";

export type EventName = EventHandler["name"];

export interface LaunchPlan {
  app: string;
  /** The program that executes the app's program (STAGE1.exec). */
  helper: SourcePath;
  /** FIFOs that replace the standard streams, if they exist. */
  streams: { fd: 0 | 1 | 2; fifo: SourcePath }[];
  /** The steps that build the app's root; for `enter`, the running app that is joined. */
  root: MountStep[] | RunningApp;
  /** As the manifest has them: the launcher resolves names in the app's root. */
  user: string;
  group: string;
  /**
   * The record of who the app runs as (account-record.ts): the app's launcher writes it, and who comes later goes by it.
   * Undefined for who comes before.
   */
  accountRecord: { path: SourcePath; use: "write" | "read" } | undefined;
  /** Those of the two that are numbers, whatever the app's files call them. */
  numeric: ("user" | "group")[];
  /** As OCI images have users and groups (ACCOUNT_ANNOTATION). */
  account: AccountKind | undefined;
  supplementaryGIDs: number[];
  environment: Omit<EnvironmentSources, "account">;
  workingDirectory: string;
  argv: string[];
  /** The most capabilities that the app can have. */
  bounding: bigint;
  /** Those that the app asked for by name: a warning tells if one is not available. */
  retained: bigint;
  noNewPrivileges: boolean;
  /**
   * In fly: a user other than root, or a root without all capabilities, gains no rights by executing a program. A
   * setuid file would make it the host's root.
   */
  narrowsUsers: boolean;
  /**
   * In fly: the app's user is called root and has all capabilities, so nothing in `/proc` and `/sys` is hidden from it.
   * The launcher checks later, in the app's root, that this user is uid 0.
   */
  rootOfHost: boolean;
  /** The system call filter; "default" for the compiled one in the stage1 image. */
  filter: SystemCallFilter | "default" | undefined;
  /** Resource limits that the app asks for, with their numbers (getrlimit(2)). */
  limits: { name: string; number: number; limit: Rlimit }[];
  /** See proc_pid_oom_score_adj(5). */
  oomScoreAdj: number | undefined;
  /** The app has the container's terminal. */
  interactive: boolean;
  /** Directory of the cgroups that the process joins; undefined for `enter`, which joins the running app's. */
  cgroups: Stage1Path | undefined;
  /** Make a cgroup namespace, whose root is the process's cgroup; false for `enter`, which joins the running app's. */
  cgroupNamespace: boolean;
  /** The container has its own users. */
  privateUsers: boolean;
  /** How many files it may have open; undefined: as many as a systemd service. */
  openFiles: ResourceLimit | undefined;
  /** Number of sockets that it inherits, as descriptors from 3 (sd_listen_fds(3)). */
  listenFds: number;
  /** In fly: the app runs on the host, stays in the session of its caller, and ends with this parent. */
  host: Pick<HostLaunch, "parent"> | undefined;
  /** A Landlock domain, which closes off the processes of other apps, and what else it forbids. */
  separation: Separation | undefined;
}

/** Forbids mounting and unmounting, or signals to processes outside the domain. */
export type Separation = "mounts" | "signals";

/** A running app that `enter` joins. */
export interface RunningApp {
  /** Descriptor of its mount namespace, and the directory that must be the root there. */
  namespace: number;
  rootfs: SourcePath;
  /** Descriptors of the `cgroup.procs` of its cgroups. */
  cgroups: number[];
}

/** What the launcher inherits from its parent, and finds in its surroundings. */
export interface Inherited {
  pid: number;
  /** The capabilities of the container's root. */
  permitted: bigint;
  env: Environment;
  openFiles?: ResourceLimit | undefined;
  /** The cgroups that the app will see. */
  cgroups?: readonly CgroupView[] | undefined;
  /** In fly: the launcher runs on the host. */
  host?: HostLaunch | undefined;
}

export interface HostLaunch {
  helper: HostPath;
  /** The process that waits for this one. */
  parent: number;
  surroundings: Surroundings;
  rootfs(appDir: string): SourcePath;
  account(app: string): SourcePath;
}

export interface Process {
  /** Name of the app in the container. */
  app: string;
  /** The event whose handler runs; undefined: the app itself. */
  event?: EventName | undefined;
  /** The command that `enter` runs in the running app. */
  command?: readonly string[];
}

/** The name of the directory with the app's rootfs and its image's manifest. */
export function appDirectory(manifest: PodManifest, app: string): string {
  const dir = appDirs(manifest.apps).get(app);
  if (dir === undefined) throw new RktError("no-such-app", "the container manifest has no app of that name");
  return dir;
}

/** Makes the plan. `imageApp` is for a container manifest without an app section (pods.md, "app"). */
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
        ? planAppMounts({
            surroundings: host?.surroundings,
            rootfs,
            name: process.app,
            app,
            readOnlyRootFS: runtime.readOnlyRootFS,
            makesWorkingDirectory: annotation(runtime.annotations, MAKE_WORKING_DIRECTORY_ANNOTATION) === "true",
            mounts: runtime.mounts,
            volumes: manifest.volumes,
            interactive,
            // Not with private users: the host's user namespace owns the network, so they have no rights to it.
            makesInterfaces: !privateUsers && networkRequest(manifest) !== "host" && (capabilities & NET_ADMIN) !== 0n,
            protectPaths: !rootOfHost && !unprotected.has("paths"),
            hostsAsked: annotation(manifest.annotations, ANNOTATIONS.hosts) !== undefined,
            notifySocket: passed.notifySocket,
            cgroups: inherited.cgroups,
          })
        : { ...enterFds(inherited), rootfs },
    user: app.user,
    group: app.group,
    accountRecord: accountRecord(process, host),
    numeric: numericIds(runtime.annotations),
    account: accountKind(runtime.annotations),
    supplementaryGIDs: app.supplementaryGIDs,
    environment: {
      app: process.app,
      environment: app.environment,
      metadataUrl: annotation(manifest.annotations, ANNOTATIONS.metadataUrl),
      early: early(runtime),
      // `enter` sets TERM if it has made a terminal.
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
    // In fly the terminal has the same name in the app's root: it need not be opened again.
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
 * The app's resource limits. If the container has other apps, an app may leave no core, unless it asks for that: a core
 * holds its memory, and the root of another app could raise its soft limit (prlimit(2)) and send it SIGQUIT. The hard
 * limit can't be raised.
 */
function limits(known: KnownIsolators, apps: number): LaunchPlan["limits"] {
  const asked = new Map(known[RLIMITS_ISOLATOR] ?? []);
  if (apps > 1 && !asked.has("core")) asked.set("core", { soft: 0n, hard: 0n });
  return [...asked].map(([name, limit]) => ({ name, number: (RLIMITS as readonly string[]).indexOf(name), limit }));
}

function accountRecord({ app, event, command }: Process, host: HostLaunch | undefined): LaunchPlan["accountRecord"] {
  if (event === "pre-start") return undefined;
  const path = host === undefined ? STAGE1.appAccount(app) : host.account(app);
  return { path, use: event === undefined && command === undefined ? "write" : "read" };
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
      if (protection === undefined) throw new RktError("bad-layout", `there is no protection "${word}" to switch off`);
      return protection;
    }),
  );
}

/** The system call filter. In fly there is no default one, but no app may type on its caller's terminal (TIOCSTI). */
function systemCalls(isolators: KnownIsolators, bounding: bigint, byDefault: boolean): LaunchPlan["filter"] {
  const own = "os/linux/seccomp-retain-set" in isolators || "os/linux/seccomp-remove-set" in isolators;
  const capabilities = capabilityNames(bounding);
  if (!byDefault) return withoutTyping(own ? isolatorFilter(isolators, capabilities) : undefined);
  return own || !keepDefaultFilter(capabilities) ? isolatorFilter(isolators, capabilities) : "default";
}

/** A domain that handles files also forbids mounting (landlock(7)): it is used if the filter forbids that anyway. */
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

/** A handler has its app's output, but not its input. A command of `enter` has its own streams. */
function streams({ app, event, command }: Process): LaunchPlan["streams"] {
  if (command !== undefined) return [];
  const output: LaunchPlan["streams"] = [
    { fd: 1, fifo: STAGE1.appStdout(app) },
    { fd: 2, fifo: STAGE1.appStderr(app) },
  ];
  return event === undefined ? [{ fd: 0, fifo: STAGE1.appStdin(app) }, ...output] : output;
}

/** In fly, stage 1's `streams` has made the streams. Only an interactive app reads its input; others get /dev/null. */
function hostStreams({ command, event }: Process, interactive: boolean): LaunchPlan["streams"] {
  if (command !== undefined || (interactive && event === undefined)) return [];
  return [{ fd: 0, fifo: hostPath("/dev/null") }];
}

/** The variables that the app inherits: those of sd_listen_fds(3) and sd_notify(3), if they are meant for it. */
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
  // An abstract socket belongs to the network namespace, so its name is the same in the app's root.
  if (socket !== undefined) passed["NOTIFY_SOCKET"] = socket.kind === "file" ? NOTIFY_SOCKET : socket.name;
  return { env: passed, listenFds, notifySocket: socket?.kind === "file" ? (socket.path as SourcePath) : undefined };
}
