/**
 * Networks of containers that have ended without having been released: their
 * waiter was killed, or still works. Any `rkt` can release them, whatever data
 * directory they were of, and without knowing how (`networkClaim`): the scripts
 * are those that root's stage 1 has left in a directory that only root can write to.
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
  /** Also what has failed before. */
  again: boolean;
}

export interface UnreleasedNetworks {
  uuid: string;
  error: RktError;
}

/**
 * Releases the networks of all containers that have ended; when another
 * process is at it, waits for that. Gives what could not be released.
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

/** Runs what is left of a release; gives the reason when it fails. */
export function releaseClaim(uuid: string, limit: number): string | undefined {
  const claim = networkClaim(uuid);
  if (!existsSync(claim.teardown)) {
    // Killed before it was written, or after the release.
    removeUnused(claim);
    return undefined;
  }
  return runRelease(claim.teardown, "/", limit);
}

/** Runs a script that stage 1 has left for a release, within milliseconds; gives the reason when it fails. */
export function runRelease(script: string, cwd: string, limit: number): string | undefined {
  const { spawnSync } = process.getBuiltinModule("node:child_process");
  const done = spawnSync("sh", [script], {
    cwd,
    env: HOST_ENVIRONMENT,
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    timeout: limit,
    // It ignores the others.
    killSignal: "SIGKILL",
  });
  // Another process may have done it, and taken the script away before sh could open it.
  if (done.status === 0 || !existsSync(resolve(cwd, script))) return undefined;
  return done.error === undefined ? done.stderr.trim().replaceAll(/\s*\n\s*/g, " ") : errorText(done.error);
}

/** Takes the claim of a container that has none: gives the descriptor that holds its lock. */
export function makeClaim(uuid: string): number {
  const claim = networkClaim(uuid);
  for (;;) {
    const fd = makeIfLeft(claim);
    if (fd === undefined) continue;
    if (!lockWithin(CLAIM_LIMIT, fd)) {
      closeSync(fd);
      throw new RktError("busy", `somebody works on the networks of container ${uuid}`, {
        hint: "a release of its networks has not ended yet: try again",
      });
    }
    // A release removes the file while it holds the lock: then this one is nobody's.
    if (isThere(fd, claim)) return fd;
    closeSync(fd);
  }
}

/** Undefined when another process, which has found it unused, has removed the directory meanwhile. */
function makeIfLeft(claim: NetworkClaim): number | undefined {
  try {
    makeRuntimeDirectory(claim.dir);
    return openRuntimeFile(claim.lock);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Milliseconds. Whoever looks for ended containers holds each lock for a moment. */
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

/** Whoever was killed before it had a lock has left an empty directory. Whoever is about to lock it makes it again. */
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

function isThere(fd: number, claim: NetworkClaim): boolean {
  try {
    return lstatSync(claim.lock).ino === fstatSync(fd).ino;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** A claim without a script holds nothing of the host. */
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
