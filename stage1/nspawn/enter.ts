/**
 * `enter --pid=PID --app=NAME -- COMMAND…`: runs a command in an app of a running container. The launcher starts the
 * command as it starts the app, so the command has the app's cgroup, root, user, capabilities and seccomp filter. This
 * process becomes a program that waits for the command and ends with its exit status.
 *
 * Only programs of the stage1 image run with the caller's rights: nsenter, script, streams, the launcher. No program of
 * the app runs before the launcher has dropped all rights that the app has not. The command gets none of the caller's
 * open files: a relay copies between them and the command's own streams.
 */

import { closeSync, openSync, readFileSync, readlinkSync } from "node:fs";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { hierarchies, ownCgroup } from "../../shared/cgroup-hierarchies.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { execve } from "../../shared/exec.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { ENV_ENTER_FDS } from "../../shared/contract/environment.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { appUnitCgroup } from "../../shared/contract/units.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { closeOnExecFrom, isTerminal } from "../../shared/syscall/descriptor.ts";
import { belongsToUsers } from "../../shared/syscall/namespace.ts";
import { PR_CAPBSET_DROP, prctl } from "../../shared/syscall/process.ts";
import { firstProcess } from "../container/first-process.ts";
import { readContainer } from "../container/container.ts";
import { loaderCommand } from "./nspawn-args.ts";
import { ownsTerminal } from "../container/terminal.ts";
import type { Users } from "../container/users.ts";

export interface EnterRequest {
  /** The process that holds the container's lock. */
  pid: number;
  app: string;
  command: readonly string[];
}

export function parseEnter(args: readonly string[]): EnterRequest {
  const end = args.indexOf("--");
  const options = new Map(
    args.slice(0, end < 0 ? undefined : end).map((arg) => arg.replace(/^--/, "").split("=", 2) as [string, string]),
  );
  const pid = Number(options.get("pid"));
  const app = options.get("app");
  const command = end < 0 ? [] : args.slice(end + 1);
  if (!Number.isInteger(pid) || pid <= 1 || app === undefined || command.length === 0)
    throw new RktError("usage", "usage: enter --pid=PID --app=NAME -- COMMAND [ARGUMENT…]");
  return { pid, app, command };
}

export function enter(args: readonly string[]): never {
  const { pid, app, command } = parseEnter(args);
  const { manifest, users } = readContainer();
  const first = firstProcess(pid);
  const { fds, cgroupNamespace } = appDescriptors(first, app, manifest);
  const namespaces = { first, cgroupNamespace };
  const terminal = ownsTerminal(0) && isTerminal(1);
  const launcher = [STAGE1.launcher, app, "enter", ...command];
  const argv = terminal ? nsenter(namespaces, onPty(launcher)) : onOwnStreams(nsenter(namespaces, launcher), users);

  const term = callersEnvironment()["TERM"];
  const env = {
    PATH: "/usr/bin",
    SHELL: "/usr/bin/sh",
    [ENV_ENTER_FDS]: fds.join(),
    ...(terminal && term !== undefined ? { TERM: term } : {}),
  };
  limitCapabilities(first);
  // Closes, too, the files that the caller of `rkt enter` had open.
  closeOnExecFrom(3);
  const [path = ""] = argv;
  execve(path, argv, env, [...fds, cgroupNamespace]);
}

// --- the container's processes ----------------------------------------------------

interface AppDescriptors {
  /** For the launcher (ENV_ENTER_FDS). */
  fds: number[];
  /** For nsenter. */
  cgroupNamespace: number;
}

/**
 * Opens the namespaces of an app and its cgroups. The app's processes are those in the cgroup of its unit: an app
 * can neither leave that cgroup nor enter another's.
 */
function appDescriptors(first: number, app: string, manifest: PodManifest): AppDescriptors {
  if (!manifest.apps.some(({ name }) => name === app))
    throw new RktError("no-such-app", `the container has no app "${app}"`, {
      hint: `there are: ${manifest.apps.map(({ name }) => name).join(", ")}`,
    });
  const stage1Mounts = readlinkSync(`/proc/${first}/ns/mnt`);
  const users = `/proc/${first}/ns/user`;
  for (const process of appProcesses(first, app)) {
    const namespaces = openNamespaces(process, app, { stage1Mounts, users });
    if (namespaces === undefined) continue;
    return { fds: [namespaces.mounts, ...openCgroups(process, app)], cgroupNamespace: namespaces.cgroups };
  }
  throw new RktError("not-running", `app "${app}" is not running`, {
    hint: "it is starting, or has ended, or has moved into namespaces of its own: `rkt status` shows its exit status",
  });
}

/** The processes of the app's unit, the longest running first. systemd makes the unit's cgroup beside PID 1's own. */
function appProcesses(first: number, app: string): number[] {
  const cgroupFile = readFileSync(`/proc/${first}/cgroup`, "utf8");
  const pids = new Set<number>();
  for (const hierarchy of mountedHierarchies()) {
    const path = ownCgroup(cgroupFile, hierarchy)?.replace(/\/init\.scope$/, "");
    const procs = `${hierarchy.mountPoint}${path}/${appUnitCgroup(app)}/cgroup.procs`;
    try {
      for (const line of readFileSync(procs, "utf8").split("\n")) if (/^[1-9]\d*$/.test(line)) pids.add(Number(line));
    } catch (error) {
      // A hierarchy that systemd does not use for units.
      if (errorCode(error) !== "ENOENT") throw error;
    }
  }
  return [...pids]
    .map((pid) => ({ pid, start: startTime(pid) }))
    .sort((a, b) => a.start - b.start)
    .map(({ pid }) => pid);
}

/** proc_pid_stat(5), field 22. Field 2, the name, may hold any character. */
function startTime(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")")).split(" ")[20]);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/**
 * A process that has stage 1's own is not yet the app, or is systemd's helper. What is the root there, the launcher
 * checks.
 */
function openNamespaces(
  pid: number,
  app: string,
  { stage1Mounts, users }: { stage1Mounts: string; users: string },
): { mounts: number; cgroups: number } | undefined {
  const opened: number[] = [];
  try {
    for (const name of ["mnt", "cgroup"]) opened.push(openSync(`/proc/${pid}/ns/${name}`, "r"));
    const [mounts = -1, cgroups = -1] = opened;
    const fits =
      readlinkSync(`/proc/self/fd/${mounts}`) !== stage1Mounts &&
      opened.every((namespace) => belongsToUsers(namespace, users)) &&
      // Still the process it was, and no other of the same number.
      readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(`/${appUnitCgroup(app)}\n`);
    if (fits) return { mounts, cgroups };
  } catch (error) {
    if (!["ENOENT", "ESRCH"].includes(errorCode(error) ?? "")) throw error;
  }
  opened.forEach(closeSync);
  return undefined;
}

/**
 * The launcher joins these cgroups only when it is inside the container's PID namespace. A process outside would have
 * no pid there, and systemd takes such a process in the unit's cgroup for an error when it stops the unit.
 */
function openCgroups(pid: number, app: string): number[] {
  try {
    const cgroupFile = readFileSync(`/proc/${pid}/cgroup`, "utf8");
    return mountedHierarchies().flatMap((hierarchy) => {
      const path = ownCgroup(cgroupFile, hierarchy);
      return path === undefined ? [] : [openSync(`${hierarchy.mountPoint}${path}/cgroup.procs`, "r+")];
    });
  } catch (error) {
    throw new RktError("not-running", `cannot find the cgroups of app "${app}": ${errorText(error)}`, { cause: error });
  }
}

const mountedHierarchies = () => hierarchies(readFileSync("/proc/self/mountinfo", "utf8"));

// --- the command line that enters -----------------------------------------------------

/** The namespaces to enter: all of the container's first process, except that of cgroups, which is the app's. */
interface Namespaces {
  first: number;
  cgroupNamespace: number;
}

function nsenter({ first, cgroupNamespace }: Namespaces, command: readonly string[]): string[] {
  const cgroups = `--cgroup=/proc/self/fd/${cgroupNamespace}`;
  const options = [`--target=${first}`, "--mount", "--uts", "--ipc", "--net", "--pid", cgroups];
  if (!hasOwnUsers(first)) return loaderCommand("/usr/bin/nsenter", [...options, "--", ...command]).argv;
  // A process that joins a user namespace gets all capabilities there: setpriv drops those that the container has not.
  const dropped = missingCapabilities(first).map((number) => `-cap_${number}`);
  const limited =
    dropped.length === 0 ? command : [STAGE1.setpriv, `--bounding-set=${dropped.join()}`, "--", ...command];
  return loaderCommand("/usr/bin/nsenter", [...options, "--user", "--", ...limited]).argv;
}

/** script(1) gives the command a pty of the container's, and copies between it and the caller's terminal. */
function onPty(command: readonly string[]): string[] {
  const line = `exec ${command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ")}`;
  return [STAGE1.setpriv, "--pdeathsig", "KILL", "--", "/usr/bin/script", "--quiet", "--return", "--command", line, "/dev/null"];
}

/** `/usr/lib/rkt/streams` gives the command pipes, and copies on the host between these and the caller's streams. */
function onOwnStreams(command: readonly string[], users: Users | undefined): string[] {
  // `streams` gives the pipes to the container's root from outside: inside, nobody may change an owner that is not
  // mapped.
  const owner = users === undefined ? "-" : `${users.first}:${users.first}`;
  const script = containerLayout(".").inStage1(STAGE1.streams);
  return loaderCommand("/usr/bin/luajit", [script, "enter", "pipe", owner, ...command]).argv;
}

function hasOwnUsers(first: number): boolean {
  return readlinkSync(`/proc/${first}/ns/user`) !== readlinkSync("/proc/self/ns/user");
}

/** Drops from the bounding set all that the container's first process may not have, before anything is entered. */
function limitCapabilities(first: number): void {
  for (const number of missingCapabilities(first)) prctl(PR_CAPBSET_DROP, BigInt(number));
}

/** Numbers of the kernel's capabilities that are not in the process's bounding set. */
function missingCapabilities(pid: number): number[] {
  const [, hex] = /^CapBnd:\t([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  if (hex === undefined) throw new Error(`no CapBnd in /proc/${pid}/status`);
  const bounding = BigInt(`0x${hex}`);
  const last = Number(readFileSync("/proc/sys/kernel/cap_last_cap", "utf8"));
  return Array.from({ length: last + 1 }, (_, number) => number).filter(
    (number) => !((bounding >> BigInt(number)) & 1n),
  );
}
