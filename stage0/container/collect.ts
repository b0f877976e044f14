/**
 * Garbage collection of containers. It needs nothing but files of the container directory. No mount of a container
 * exists in the host's mount namespace, so no file is busy. Each step can be repeated: if a run is killed, the next one
 * goes on.
 */

import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import type { State } from "../../shared/contract/data-directory.ts";
import { networkClaim } from "../../shared/contract/host-state.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { runRelease } from "../../shared/network-claims.ts";
import { signalProcess } from "../../shared/signal-process.ts";
import { refuseRunningWithoutLock } from "./contract-violations.ts";
import { listedCgroups } from "./cgroups.ts";
import { refuseOtherLayout } from "./inspect.ts";
import { type ContainerRef, listContainers, type OwnedContainer, transition } from "./lifecycle.ts";
import { tryLock } from "./lock.ts";
import { removeContainerDirectory } from "./remove.ts";
import { runStage1Gc } from "./stage1-gc.ts";
import { sleep } from "../../shared/sleep.ts";

export interface CollectOptions {
  /** Milliseconds an exited container stays after it was marked. */
  gracePeriod: number;
  /** Milliseconds a prepared container may wait for run-prepared. */
  expirePrepared: number;
  /** Mark containers as garbage, but remove none. */
  markOnly: boolean;
  now: number;
}

export interface Collected {
  marked: string[];
  removed: string[];
  /** Containers that could not be removed, with the reasons. */
  failed: { uuid: string; error: unknown }[];
}

export function collect(data: string, options: CollectOptions): Collected {
  const result: Collected = { marked: [], removed: [], failed: [] };
  for (const ref of listContainers(data)) {
    try {
      collectOne(data, ref, options, result);
    } catch (error) {
      result.failed.push({ uuid: ref.uuid, error });
    }
  }
  return result;
}

function collectOne(data: string, ref: ContainerRef, options: CollectOptions, result: Collected): void {
  const lock = tryLock(ref.dir);
  // "busy": it runs, is being prepared, or another gc works on it. "gone": it has moved to another state.
  if (lock === "busy" || lock === "gone") return;
  try {
    collectOwned(data, { ...ref, lock }, options, result);
  } finally {
    lock.close();
  }
}

function collectOwned(data: string, container: OwnedContainer, options: CollectOptions, result: Collected): void {
  refuseOtherLayout(container);
  const { uuid, state } = container;
  refuseRunningWithoutLock(container);
  let owned = container;
  // Marked just now: its grace period begins.
  const age = state === "run" ? 0 : options.now - stateSince(container.dir);
  if (state === "run") {
    owned = transition(data, owned, "exited-garbage");
    result.marked.push(uuid);
    // Addresses and ports are released without a grace period, because other containers need them.
    releaseNetworks(owned);
  }
  const grace: Record<State, number> = {
    embryo: 0,
    prepare: 0,
    garbage: 0,
    prepared: options.expirePrepared,
    run: options.gracePeriod,
    "exited-garbage": options.gracePeriod,
  };
  if (options.markOnly || age < grace[state]) return;
  removeContainer(data, owned);
  result.removed.push(uuid);
}

/** When the directory came into its state: rename(2) sets the ctime of what is renamed. */
function stateSince(dir: HostPath): number {
  return statSync(dir).ctimeMs;
}

export interface RemoveOptions {
  /** Remove the container even if a release fails; this is told the error. */
  force?: ((error: unknown) => void) | undefined;
}

/** Removes an owned container: runs its stage1's `gc`, releases its networks and cgroups, and removes its directory. */
export function removeContainer(data: string, container: OwnedContainer, { force }: RemoveOptions = {}): void {
  refuseRunningWithoutLock(container);
  for (const release of [runStage1Gc, releaseNetworks, removeCgroups])
    try {
      release(container);
    } catch (error) {
      if (force === undefined) throw error;
      force(error);
      // Otherwise every later gc would try again.
      if (release === releaseNetworks) rmSync(networkClaim(container.uuid).dir, { recursive: true, force: true });
    }
  removeContainerDirectory(data, container);
}

/** Milliseconds that a release may take. */
export const RELEASE_LIMIT = 150_000;

/**
 * Runs the script of stage 1 that releases the container's networks, if it still exists. Usually a waiter has run it at
 * the container's end, but the waiter may have been killed. The script may run repeatedly.
 */
function releaseNetworks({ dir, uuid }: OwnedContainer): void {
  const { netTeardown } = containerLayout(".");
  if (!existsSync(containerLayout(dir).netTeardown)) return;
  const reason = runRelease(netTeardown, dir, RELEASE_LIMIT);
  if (reason === undefined) return;
  throw new RktError("network-busy", `cannot release the networks of container ${uuid}: ${reason}`, {
    hint: `\`sh -x ${netTeardown}\` in ${dir} shows where; \`rkt rm --force ${uuid.slice(0, 8)}\` abandons it`,
  });
}

function removeCgroups(container: OwnedContainer): void {
  for (const dir of listedCgroups(container.dir, container.uuid)) removeCgroup(dir);
}

/** Milliseconds that the last processes of a container may take to end. */
const DYING = 5000;

/**
 * Removes a cgroup and those below it; each must be empty (cgroups(7)). There may still be processes after the
 * container's lock is free, which the kernel is ending or which have joined from outside: they are killed.
 */
function removeCgroup(dir: string): void {
  const end = Date.now() + DYING;
  for (;;) {
    try {
      for (const entry of readdirSync(dir, { withFileTypes: true }))
        if (entry.isDirectory()) removeCgroup(`${dir}/${entry.name}`);
      rmdirSync(dir);
      return;
    } catch (error) {
      const code = errorCode(error);
      if (code === "ENOENT") return;
      if (code !== "EBUSY" || Date.now() > end)
        throw new RktError("cgroup-busy", `cannot remove cgroup ${dir}: ${errorText(error)}`, { cause: error });
    }
    killAll(dir);
    sleep(10);
  }
}

function killAll(cgroup: string): void {
  // 0 stands for a process of another PID namespace.
  for (const pid of readFileSync(`${cgroup}/cgroup.procs`, "utf8").split("\n").map(Number))
    if (pid > 1) signalProcess(pid, ["SIGKILL"], () => isMember(pid, cgroup));
}

/** Whether one of the process's cgroups (cgroups(7), /proc/PID/cgroup) is the one at this path. */
function isMember(pid: number, cgroup: string): boolean {
  try {
    const paths = readFileSync(`/proc/${pid}/cgroup`, "utf8")
      .split("\n")
      .map((line) => line.replace(/^\d+:[^:]*:/, ""));
    return paths.some((path) => path.length > 1 && cgroup.endsWith(path));
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ESRCH") return false;
    throw error;
  }
}
