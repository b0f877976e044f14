/**
 * `stop --pid=PID [--force]`: asks the container to end, or ends it.
 *
 * The pid is nspawn's. SIGTERM makes it tell the container's systemd to stop
 * the apps in order; after SIGKILL the container's first process, and with it
 * every other, gets SIGKILL from the kernel (see /usr/lib/rkt/pid1).
 */

import { readFileSync, statSync } from "node:fs";
import { RktError } from "../shared/errors.ts";
import { holdsDirectory } from "../shared/holds-directory.ts";
import { signalProcess } from "../shared/signal-process.ts";
import { firstProcess } from "./first-process.ts";

export function stop(args: readonly string[]): void {
  const pid = Number(args.find((arg) => arg.startsWith("--pid="))?.slice("--pid=".length));
  if (!Number.isInteger(pid) || pid <= 1) throw new RktError("usage", "usage: stop --pid=PID [--force]");
  const force = args.includes("--force");
  if (!force) waitUntilListening(pid);
  // The working directory is the container's. A process that a terminal has stopped would not see SIGTERM without SIGCONT.
  signalProcess(pid, force ? ["SIGKILL"] : ["SIGTERM", "SIGCONT"], () => holdsDirectory(pid, statSync(".")));
}

/** Of nspawn's --kill-signal=, SIGRTMIN+3, in the masks of proc_pid_status(5). */
const HALT_SIGNAL = 1n << 36n;
/** Milliseconds that a container may take until it can be stopped in order. */
const START_LIMIT = 10_000;

/** The kernel drops a signal to a PID 1 that does not expect it (pid_namespaces(7)): systemd must have come so far. */
function waitUntilListening(pid: number): void {
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (const end = Date.now() + START_LIMIT; Date.now() < end; Atomics.wait(sleeper, 0, 0, 5)) {
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
