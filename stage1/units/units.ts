/**
 * systemd units of a container, from its manifest. Pure.
 *
 * What an app is (environment, user, mounts, root) is the launcher's business:
 * a unit says only when it starts, what happens when it ends, and what its
 * cgroup may use. The fixed units that they refer to are in `stage1/nspawn/rootfs`.
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

/** Seconds for one app to stop in, its handler and whatever has to be killed included, before the container ends without it. */
const stopBound = (seconds: number): number => seconds + 20;

/**
 * Seconds after which systemd itself kills an app (or its post-stop handler): only one that has done something to
 * /usr/lib/rkt/ask, which does so earlier.
 */
const systemdLimit = (seconds: number): number => Math.max(seconds + 5, 10);

export interface UnitContext {
  /** Of apps, by name. */
  limits?: ReadonlyMap<string, Resources>;
  /** systemd has its units in a hierarchy of cgroup v1. */
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
 * Active while any app is, since every app wants it and it stops when unneeded. Apps are ordered after it, so
 * whether they ended or were told to, it is the last to stop: systemd then becomes /usr/lib/systemd/systemd-shutdown,
 * which is ours. An app can have its own time to stop extended for ever (EXTEND_TIMEOUT_USEC=, sd_notify(3)), but not
 * the time for this.
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

/** What the units say when each app has this many seconds, as files beside them: for `rkt stop --time`. */
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
 * The mark that all apps have been started. A socket unit, because systemd makes
 * its FIFO without a process; nobody is expected at the other end, but a socket
 * must have a service.
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
    // Started in the manifest's order, and so stopped in the reverse.
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
    // Of an app that has not said yet that it is ready, or of its pre-start handler: these are not asked by `ask`.
    ["Service", "KillSignal", String(signal)],
    // Of v1, the first process alone: what it leaves behind, `record` ends (/usr/lib/rkt/left-over).
    ["Service", "KillMode", version1 === true ? "process" : "mixed"],
    ["Service", "SendSIGKILL", "yes"],
  ];
  if (openFiles !== undefined) options.push(["Service", "LimitNOFILE", `${openFiles.soft}:${openFiles.hard}`]);
  options.push(...streams(stdio), ...unitProperties(limits ?? {}));
  return writeUnit(options);
}

/** The process that says so need not be the first: many an image starts its server by a script. */
function readiness({ annotations }: RuntimeApp): UnitOption[] {
  if (annotation(annotations, NOTIFY_ANNOTATION) !== "true") return [["Service", "Type", "simple"]];
  return [
    ["Service", "Type", "notify"],
    ["Service", "NotifyAccess", "all"],
  ];
}

/** Seconds that a pre-start handler may take: it may have a lot to fetch or to migrate, but not for ever. */
const PRE_START = 300;
/** Less than systemdLimit, after which systemd would call the stopping itself a failure. */
const POST_STOP = 8;

/** The status is recorded the moment the app ends, before its post-stop handler, which a failure must not keep from running. */
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

/** The launcher connects the output FIFOs itself; only a terminal needs systemd, which makes it the controlling one. */
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
