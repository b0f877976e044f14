/**
 * Writes the systemd units of a container, from its manifest. Pure.
 *
 * The launcher sets up the app (environment, user, mounts, root). A unit says only when the app starts, what happens
 * when it ends, and what its cgroup may use. The fixed units that these refer to are in `stage1/nspawn/rootfs`.
 */

import { execLine, type UnitOption, writeUnit } from "systemd-unit-writer";
import { RktError } from "../../shared/errors.ts";
import { NOTIFY_ANNOTATION, PRE_START_TIMEOUT_ANNOTATION } from "../../shared/contract/annotations.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { ALIVE_UNIT, appUnit } from "../../shared/contract/units.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import type { EventHandler, NameValue, PodManifest, RuntimeApp } from "../../shared/schema/types.ts";
import { FAILURE } from "./failure.ts";
import type { PassedSocket } from "../../shared/passed-sockets.ts";
import type { ResourceLimit } from "../../shared/syscall/process.ts";
import { type StopSettings, stopSettings } from "../../shared/stop.ts";
import type { StdioMode } from "../container/stdio.ts";
import { type Resources, unitProperties } from "./resources.ts";
import { earlySockets, socketDependencies, socketUnits } from "./sockets.ts";

export interface UnitFile {
  name: string;
  text: string;
}

/**
 * Seconds that the container waits for one app to stop, with its post-stop handler and the killing of its processes.
 */
const stopBound = (seconds: number): number => seconds + 20;

/**
 * Seconds after which systemd kills an app, or its post-stop handler. /usr/lib/rkt/ask does so earlier, so this is only
 * for an app that has interfered with that script.
 */
const systemdLimit = (seconds: number): number => Math.max(seconds + 5, 10);

export interface UnitContext {
  /** Of apps, by name. */
  limits?: ReadonlyMap<string, Resources>;
  /** The container's systemd keeps its units in cgroup v1. */
  version1?: boolean;
  /** How many files the apps may have open. */
  openFiles?: ResourceLimit | undefined;
  /** Opened by a service manager, for the apps' ports. */
  sockets?: readonly PassedSocket[];
}

/** All units of the container: one per app, the target that starts them, and the one that keeps the container alive. */
export function containerUnits(
  manifest: PodManifest,
  stdio: StdioMode,
  { limits = new Map(), version1 = false, openFiles, sockets = [] }: UnitContext = {},
): UnitFile[] {
  const units: UnitFile[] = [
    { name: "default.target", text: defaultTarget(manifest) },
    { name: ALIVE_UNIT, text: aliveTarget(manifest) },
  ];
  let previous: string | undefined;
  for (const app of manifest.apps) {
    units.push(...socketUnits(app, appUnit(app.name), sockets), {
      name: appUnit(app.name),
      text: appService(app, stdio, previous, { limits: limits.get(app.name), version1, openFiles }),
    });
    previous = appUnit(app.name);
  }
  return [...units, ...earlySockets(manifest.apps, sockets), ...readyUnits(manifest)];
}

function defaultTarget(manifest: PodManifest): string {
  return writeUnit([
    ["Unit", "Description", "Apps of the container"],
    ["Unit", "DefaultDependencies", "no"],
    ["Unit", "Wants", [...manifest.apps.map((app) => appUnit(app.name)), `${READY}.socket`].join(" ")],
  ]);
}

/**
 * Active while any app is: every app wants this target, and it stops when no unit needs it. Apps are ordered after it,
 * so it stops last, whether the apps ended by themselves or were stopped. systemd then becomes
 * /usr/lib/systemd/systemd-shutdown, which is our script. An app can extend its own time to stop for ever
 * (EXTEND_TIMEOUT_USEC=, sd_notify(3)), but not the time for this target.
 */
function aliveTarget({ apps }: PodManifest): string {
  return writeUnit([
    ["Unit", "Description", "Apps are running"],
    ["Unit", "DefaultDependencies", "no"],
    ["Unit", "StopWhenUnneeded", "yes"],
    ["Unit", "Conflicts", "exit.target"],
    ["Unit", "SuccessAction", "exit-force"],
    ["Unit", "JobTimeoutSec", String(containerBound(apps.map((app) => settings(app).seconds)))],
    ["Unit", "JobTimeoutAction", "exit-force"],
  ]);
}

const settings = ({ name, annotations }: RuntimeApp): StopSettings => stopSettings(name, annotations);

const containerBound = (seconds: readonly number[]): number =>
  seconds.map(stopBound).reduce((sum, bound) => sum + bound, 0);

/** For `rkt stop --time`: drop-in files that give every app this many seconds. */
export function stopTimeDropIns(manifest: PodManifest, seconds: number): UnitFile[] {
  const bound = containerBound(manifest.apps.map(() => seconds));
  const limit = String(systemdLimit(seconds));
  return [
    { name: `${ALIVE_UNIT}.d/stop-time.conf`, text: writeUnit([["Unit", "JobTimeoutSec", String(bound)]]) },
    ...manifest.apps.map(({ name }) => ({
      name: `${appUnit(name)}.d/stop-time.conf`,
      text: writeUnit([["Service", "TimeoutStopSec", limit]]),
    })),
  ];
}

const READY = "rkt-ready";

/**
 * The FIFO STAGE1.ready exists as soon as all apps have been started. A socket unit makes it, because systemd needs no
 * process for that. Nothing ever connects, but a socket unit must have a service.
 */
function readyUnits({ apps }: PodManifest): UnitFile[] {
  const services = apps.map((app) => appUnit(app.name)).join(" ");
  const socket = writeUnit([
    ["Unit", "Description", "All apps are ready"],
    ["Unit", "DefaultDependencies", "no"],
    ["Unit", "Requires", services],
    ["Unit", "After", services],
    ["Unit", "Conflicts", "exit.target"],
    ["Socket", "ListenFIFO", STAGE1.ready],
    ["Socket", "SocketMode", "0400"],
  ]);
  const service = writeUnit([
    ["Unit", "Description", "Nothing"],
    ["Unit", "DefaultDependencies", "no"],
    ["Service", "Type", "oneshot"],
    ["Service", "ExecStart", "/usr/bin/true"],
  ]);
  return [
    { name: `${READY}.socket`, text: socket },
    { name: `${READY}.service`, text: service },
  ];
}

function appService(
  app: RuntimeApp,
  stdio: StdioMode,
  previous: string | undefined,
  { limits, version1, openFiles }: { limits: Resources | undefined } & Pick<UnitContext, "version1" | "openFiles">,
): string {
  const { signal, seconds } = settings(app);
  const options: UnitOption[] = [
    ["Unit", "Description", `Application ${app.name}`],
    ["Unit", "DefaultDependencies", "no"],
    // Apps start in the manifest's order, and stop in the reverse order.
    ["Unit", "After", previous === undefined ? ALIVE_UNIT : `${ALIVE_UNIT} ${previous}`],
    ["Unit", "Conflicts", "exit.target"],
    // While any app wants it, the container lives; a failing app ends it at once.
    ["Unit", "Wants", ALIVE_UNIT],
    ...FAILURE,
    ...socketDependencies(app),
    ...readiness(app),
    ["Service", "ExecStart", execLine([STAGE1.launcher, app.name])],
    // Also runs when the app has ended by itself, and then does nothing.
    ["Service", "ExecStop", execLine([STAGE1.ask, app.name, String(signal), String(seconds)], { prefixes: ["-"] })],
    ...eventHandlers(app),
    // A pre-start handler has a limit of its own.
    ["Service", "TimeoutStartSec", "infinity"],
    ["Service", "TimeoutStopSec", String(systemdLimit(seconds))],
    // For an app that is not ready yet, and for its pre-start handler: `ask` does not stop these.
    ["Service", "KillSignal", String(signal)],
    // On v1 systemd stops the first process alone; `record` ends the processes that it leaves (/usr/lib/rkt/left-over).
    ["Service", "KillMode", version1 === true ? "process" : "mixed"],
    ["Service", "SendSIGKILL", "yes"],
  ];
  if (openFiles !== undefined) options.push(["Service", "LimitNOFILE", `${openFiles.soft}:${openFiles.hard}`]);
  options.push(...streams(stdio), ...unitProperties(limits ?? {}));
  return writeUnit(options);
}

/** Any process of the app may say that it is ready: many images start their server by a script. */
function readiness({ annotations }: RuntimeApp): UnitOption[] {
  if (annotation(annotations, NOTIFY_ANNOTATION) !== "true") return [["Service", "Type", "simple"]];
  return [
    ["Service", "Type", "notify"],
    ["Service", "NotifyAccess", "all"],
  ];
}

/** Seconds that a pre-start handler may take by default: enough to fetch or migrate a lot. */
const PRE_START = 300;
/** Seconds of a post-stop handler. Less than systemdLimit, after which systemd would report a failed stop. */
const POST_STOP = 8;

/**
 * `record` runs as soon as the app ends, before its post-stop handler. The handler runs even if `record` fails ("-").
 */
function eventHandlers({ name, app, annotations }: RuntimeApp): UnitOption[] {
  const has = (event: EventHandler["name"]) => app?.eventHandlers.some((handler) => handler.name === event) === true;
  const line = (event: EventHandler["name"], seconds: number) =>
    execLine([STAGE1.handler, name, event, String(seconds)]);
  const record = [STAGE1.record, name];
  const options: UnitOption[] = [];
  if (has("pre-start"))
    options.push(["Service", "ExecStartPre", line("pre-start", preStartTimeout(name, annotations))]);
  if (has("post-stop"))
    options.push(
      ["Service", "ExecStopPost", execLine(record, { prefixes: ["-"] })],
      ["Service", "ExecStopPost", line("post-stop", POST_STOP)],
    );
  else options.push(["Service", "ExecStopPost", execLine(record)]);
  return options;
}

function preStartTimeout(app: string, annotations: readonly NameValue[]): number {
  const text = annotation(annotations, PRE_START_TIMEOUT_ANNOTATION);
  if (text === undefined) return PRE_START;
  if (/^[1-9][0-9]{0,5}$/.test(text)) return Number(text);
  throw new RktError(
    "bad-annotation",
    `app ${app}: the annotation ${PRE_START_TIMEOUT_ANNOTATION} is no number of seconds`,
    {
      hint: `--annotation=${PRE_START_TIMEOUT_ANNOTATION}=${PRE_START}`,
    },
  );
}

/**
 * The launcher opens the output FIFOs itself. Only a terminal needs systemd, which makes it the controlling terminal.
 */
function streams(stdio: StdioMode): UnitOption[] {
  if (stdio !== "interactive")
    return [
      ["Service", "StandardInput", "null"],
      ["Service", "StandardOutput", "null"],
      ["Service", "StandardError", "null"],
    ];
  return [
    ["Service", "StandardInput", "tty-force"],
    ["Service", "StandardOutput", "tty"],
    ["Service", "StandardError", "tty"],
    ["Service", "TTYPath", STAGE1.terminal],
    ["Service", "PassEnvironment", "TERM"],
  ];
}
