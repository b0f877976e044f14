/**
 * Releases the networks of ended containers whose waiter was killed, or is not done. Any `rkt` can do that for
 * containers of any data directory: it just runs the scripts that stage 1 has left (`networkClaim`). These are trusted,
 * because only root can write to their directory.
 */

import { closeSync, existsSync, fstatSync, lstatSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import { errorCode, errorText, RktError } from "./errors.ts";
import { isUuid } from "./contract/data-directory.ts";
import { NETWORK_STATE, type NetworkClaim, networkClaim } from "./contract/host-state.ts";
import { HOST_ENVIRONMENT } from "./program.ts";
import { makeRuntimeDirectory, openRuntimeFile } from "./runtime-directory.ts";
import { flock, LOCK_EX, LOCK_NB, LOCK_SH } from "./syscall/descriptor.ts";
import { sleep } from "./sleep.ts";

export interface ReleaseOptions {
  /** Milliseconds that the release of one container may take. */
  limit: number;
  /** Try again, too, where a release has failed before. */
  again: boolean;
}

export interface UnreleasedNetworks {
  uuid: string;
  error: RktError;
}

/**
 * Releases the networks of all ended containers. If another process does that already, waits for it. Returns those that
 * could not be released.
 */
export function releaseDeadNetworks(options: ReleaseOptions): UnreleasedNetworks[] {
  let uuids: string[];
  try {
    uuids = readdirSync(NETWORK_STATE.claims).filter(isUuid);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
  if (uuids.length > 0) makeRuntimeDirectory(NETWORK_STATE.claims);
  return uuids.flatMap((uuid) => {
    const claim = networkClaim(uuid);
    if (!options.again && existsSync(claim.failed)) return [];
    const reason = hasEnded(claim) ? releaseClaim(uuid, options.limit) : undefined;
    if (reason === undefined) return [];
    const error = new RktError("network-busy", `cannot release the networks of container ${uuid}: ${reason}`, {
      hint: `\`sh -x ${claim.teardown}\` shows where; \`rm -r ${claim.dir}\` abandons what is left`,
    });
    return [{ uuid, error }];
  });
}

/** Runs the remaining steps of a release. Returns the reason if it fails. */
export function releaseClaim(uuid: string, limit: number): string | undefined {
  const claim = networkClaim(uuid);
  if (!existsSync(claim.teardown)) {
    // Stage 1 was killed before it wrote the script, or the release is done.
    removeUnused(claim);
    return undefined;
  }
  return runRelease(claim.teardown, "/", limit);
}

/** Runs a release script of stage 1, for `limit` milliseconds at most. Returns the reason if it fails. */
export function runRelease(script: string, cwd: string, limit: number): string | undefined {
  const { spawnSync } = process.getBuiltinModule("node:child_process");
  const done = spawnSync("sh", [script], {
    cwd,
    env: HOST_ENVIRONMENT,
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    timeout: limit,
    // The script ignores the other signals.
    killSignal: "SIGKILL",
  });
  // Another process may have done the release, and removed the script before sh could open it.
  if (done.status === 0 || !existsSync(resolve(cwd, script))) return undefined;
  return done.error === undefined ? done.stderr.trim().replaceAll(/\s*\n\s*/g, " ") : errorText(done.error);
}

/** Makes the claim of a new container. Returns the descriptor that holds its lock. */
export function makeClaim(uuid: string): number {
  const claim = networkClaim(uuid);
  for (;;) {
    const fd = openNewLock(claim);
    if (fd === undefined) continue;
    if (!lockWithin(CLAIM_LIMIT, fd)) {
      closeSync(fd);
      throw new RktError("busy", `somebody works on the networks of container ${uuid}`, {
        hint: "a release of its networks has not ended yet: try again",
      });
    }
    // A release may have removed the file while it held the lock: then another file must be made.
    if (isLockFile(fd, claim)) return fd;
    closeSync(fd);
  }
}

/** Undefined if another process, which took the directory for unused, has removed it meanwhile. */
function openNewLock(claim: NetworkClaim): number | undefined {
  try {
    makeRuntimeDirectory(claim.dir);
    return openRuntimeFile(claim.lock);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Milliseconds. A process that looks for ended containers holds each lock for a moment. */
const CLAIM_LIMIT = 5000;

function lockWithin(limit: number, fd: number): boolean {
  const end = Date.now() + limit;
  while (!flock(fd, LOCK_EX | LOCK_NB)) {
    if (Date.now() > end) return false;
    sleep(10);
  }
  return true;
}

function hasEnded(claim: NetworkClaim): boolean {
  const fd = openIfThere(claim);
  if (fd === undefined) {
    removeEmpty(claim);
    return false;
  }
  try {
    return flock(fd, LOCK_SH | LOCK_NB);
  } finally {
    closeSync(fd);
  }
}

/**
 * Removes an empty directory: a process left it that was killed before it made the lock. If a process is just about to
 * make the lock, it makes the directory again.
 */
function removeEmpty(claim: NetworkClaim): void {
  try {
    rmdirSync(claim.dir);
  } catch (error) {
    if (!["ENOENT", "ENOTEMPTY"].includes(errorCode(error) ?? "")) throw error;
  }
}

function openIfThere(claim: NetworkClaim): number | undefined {
  try {
    return openRuntimeFile(claim.lock);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Whether the descriptor is of the file that has the lock's name now. */
function isLockFile(fd: number, claim: NetworkClaim): boolean {
  try {
    return lstatSync(claim.lock).ino === fstatSync(fd).ino;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** Removes a claim without a script: it holds nothing of the host. */
function removeUnused(claim: NetworkClaim): void {
  const fd = openIfThere(claim);
  if (fd === undefined) return;
  try {
    if (!flock(fd, LOCK_EX | LOCK_NB) || existsSync(claim.teardown)) return;
    for (const path of [claim.steps, claim.temporary, claim.releasing, claim.failed, claim.lock])
      rmSync(path, { recursive: true, force: true });
    rmdirSync(claim.dir);
  } catch (error) {
    // Another process does the same.
    if (!["ENOENT", "ENOTEMPTY"].includes(errorCode(error) ?? "")) throw error;
  } finally {
    closeSync(fd);
  }
}
