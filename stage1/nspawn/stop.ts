/**
 * `stop --pid=PID [--force]`: asks the container to end, or kills it.
 *
 * The pid is nspawn's. At SIGTERM, nspawn tells the container's systemd to stop the apps in order. At SIGKILL, the
 * kernel kills the container's first process, and with it all others (see /usr/lib/rkt/pid1).
 */

import { closeSync, constants, existsSync, fchownSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { MAX_LIST_BYTES, readBounded } from "../../shared/bounded-read.ts";
import { errorCode, RktError } from "../../shared/errors.ts";
import { holdsDirectory } from "../../shared/holds-directory.ts";
import { signalProcess } from "../../shared/signal-process.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { ENV_STOP_TIME } from "../../shared/contract/environment.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { stopSeconds, stopSettings } from "../../shared/stop.ts";
import {
  fchownat,
  mkdirat,
  O_PATH,
  openat2,
  openat2IfThere,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
  renameat,
} from "../../shared/syscall/file.ts";
import { readContainer } from "../container/container.ts";
import { firstProcess } from "../container/first-process.ts";
import { stopTimeDropIns } from "../units/units.ts";
import type { Users } from "../container/users.ts";
import { sleep } from "../../shared/sleep.ts";

export function stop(args: readonly string[]): void {
  const pid = Number(args.find((arg) => arg.startsWith("--pid="))?.slice("--pid=".length));
  if (!Number.isInteger(pid) || pid <= 1) throw new RktError("usage", "usage: stop --pid=PID [--force]");
  const force = args.includes("--force");
  const time = stopSeconds(callersEnvironment()[ENV_STOP_TIME] ?? "");
  // Another process may have got this pid. The container's has the container directory as its working directory.
  const isContainers = () => holdsDirectory(pid, statSync("."));
  if (!force) {
    // A terminal may have stopped nspawn before the container's systemd has started.
    signalProcess(pid, ["SIGCONT"], isContainers);
    waitUntilListening(pid);
    if (time !== undefined) setStopTime(pid, time);
  }
  // A process that a terminal has stopped would not see SIGTERM without SIGCONT.
  signalProcess(pid, force ? ["SIGKILL"] : ["SIGTERM", "SIGCONT"], isContainers);
  if (force) thaw();
}

/**
 * Thaws the container's cgroups: frozen processes of v1 do not even die of SIGKILL. An app that may make namespaces can
 * have frozen them.
 */
function thaw(): void {
  const list = containerLayout(".").cgroups;
  if (!existsSync(list)) return;
  const directories = readBounded(list, MAX_LIST_BYTES).split("\n").filter(Boolean);
  const visit = (directory: string): void => {
    try {
      writeFileSync(`${directory}/freezer.state`, "THAWED", { flag: "r+" });
      for (const entry of readdirSync(directory, { withFileTypes: true }))
        if (entry.isDirectory()) visit(`${directory}/${entry.name}`);
    } catch (error) {
      // Another hierarchy, or the container has ended.
      if (!["ENOENT", "ENODEV"].includes(errorCode(error) ?? "")) throw error;
    }
  };
  for (const directory of directories) visit(directory);
}

/**
 * Sets the seconds that each app has to stop. `ask` reads them from a file. If they are more than before, systemd's own
 * limits, which are for an app that resists, are raised too, and SIGHUP makes systemd read its units again. It does so
 * before it stops, because it handles signals in the order of their numbers.
 */
function setStopTime(pid: number, seconds: number): void {
  const { manifest, users } = readContainer();
  const root = openSync(containerLayout(".").stage1Rootfs, O_PATH | constants.O_DIRECTORY);
  try {
    replaceInside(root, STAGE1.stopTimeout, `${seconds}\n`, users);
    if (manifest.apps.every((app) => seconds <= stopSettings(app.name, app.annotations).seconds)) return;
    for (const { name, text } of stopTimeDropIns(manifest, seconds))
      replaceInside(root, `${STAGE1.units}/${name}`, text, users);
  } finally {
    closeSync(root);
  }
  try {
    const first = firstProcess(pid);
    signalProcess(first, ["SIGHUP"], () => firstProcess(pid) === first);
  } catch (error) {
    // It has ended.
    if (!(error instanceof RktError && error.code === "not-running")) throw error;
  }
}

/**
 * Replaces a file in the running container's stage1 root. The container's root may have changed anything there: so no
 * symbolic link is followed, and the new file is written and given to its owner through its descriptor.
 */
function replaceInside(root: number, path: string, text: string, users: Users | undefined): void {
  const inside = (directory: string) => {
    const flags = O_PATH | constants.O_DIRECTORY;
    return openat2IfThere(root, directory.slice(1), flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  };
  const parent = dirname(path);
  let directory = inside(parent);
  if (directory === undefined) {
    const above = inside(dirname(parent));
    if (above === undefined) throw new RktError("bad-layout", `the container's stage1 has no ${dirname(parent)}`);
    mkdirat(above, basename(parent), 0o755);
    if (users !== undefined) fchownat(above, basename(parent), users.first, users.first);
    closeSync(above);
    directory = openat2(root, parent.slice(1), O_PATH | constants.O_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
  }
  try {
    const temporary = `.${basename(path)}.${process.pid}`;
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = openat2(directory, temporary, flags, 0o644, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    try {
      writeFileSync(file, text);
      if (users !== undefined) fchownSync(file, users.first, users.first);
    } finally {
      closeSync(file);
    }
    renameat(directory, temporary, directory, basename(path));
  } finally {
    closeSync(directory);
  }
}

/** The bit of SIGRTMIN+3, nspawn's --kill-signal=, in the masks of proc_pid_status(5). */
const HALT_SIGNAL = 1n << 36n;
/** Milliseconds to wait until the container can be stopped in order. */
const START_LIMIT = 10_000;

/**
 * Waits until the container's systemd listens for signals: the kernel drops those that a PID 1 does not expect
 * (pid_namespaces(7)).
 */
function waitUntilListening(pid: number): void {
  for (const end = Date.now() + START_LIMIT; Date.now() < end; sleep(5)) {
    let status: string;
    try {
      status = readFileSync(`/proc/${firstProcess(pid)}/status`, "utf8");
    } catch (error) {
      if (error instanceof RktError && error.code === "not-running") continue;
      // It has ended.
      return;
    }
    // systemd reads its signals from a descriptor (signalfd(2)), and blocks them for that.
    if ((BigInt(`0x${/^SigBlk:\t(\w+)$/m.exec(status)?.[1] ?? 0}`) & HALT_SIGNAL) !== 0n) return;
  }
}
