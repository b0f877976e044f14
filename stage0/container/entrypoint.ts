/**
 * Finds an entrypoint of a running container's stage1, for a caller that runs it. The stage1's root is mounted only in
 * the container's mount namespace. The magic link `/proc/PID/root` of the lock's holder leads there without entering
 * the namespace. The link is followed once, and then the process is checked again: if the pid were an app's by then,
 * the path would be the app's, too.
 */

import { closeSync, constants, existsSync, openSync } from "node:fs";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { errorCode, RktError } from "../../shared/errors.ts";
import { type Entrypoint, stage1Names } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { O_PATH } from "../../shared/syscall/file.ts";
import { readManifest, readStage1Manifest, requireLayout, supervisor } from "./inspect.ts";
import { type ContainerRef, phase } from "./lifecycle.ts";

/** Code of the error that a container is starting. */
const STARTING = "starting";

export interface RunningEntrypoint {
  /** The process that holds the lock. */
  pid: number;
  /** Descriptor of the container directory in the container's mount namespace: the entrypoint's working directory. */
  directory: number;
  /** The entrypoint's path, below the working directory. */
  path: HostPath;
  env: Record<string, string>;
}

/**
 * Waits for a container that is starting, until `end` (milliseconds since the epoch). Use the result without an await in
 * between: the pid is right only for a moment.
 */
export async function whenRunning(ref: ContainerRef, name: Entrypoint, end: number): Promise<RunningEntrypoint> {
  for (;;) {
    try {
      return runningEntrypoint(ref, name);
    } catch (error) {
      if (errorCode(error) !== STARTING || Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** Throws if the container does not run, or its stage1 has no such entrypoint. */
function runningEntrypoint(ref: ContainerRef, name: Entrypoint): RunningEntrypoint {
  const now = phase(ref);
  const found = now === "running" ? openRunning(ref.dir) : undefined;
  if (found === undefined) {
    if (now === "running" && existsSync(containerLayout(ref.dir).pid))
      throw new RktError(
        "bad-stage1",
        `container ${ref.uuid} cannot be reached: its stage1 image ${readStage1Manifest(ref.dir).name} must name a process that holds the lock in the file pid, and does not`,
        { hint: "that process has ended or released the lock; `fuser DIRECTORY` and `lslocks` show its holder" },
      );
    const starting = now === "running";
    const state = now === undefined ? "" : `: it is ${starting ? "starting" : now}`;
    throw new RktError(starting ? STARTING : "not-running", `container ${ref.uuid} is not running${state}`, {
      hint: "`rkt list` shows the containers and their states",
    });
  }
  try {
    return { ...found, path: entrypointPath(ref, name), env: environment() };
  } catch (error) {
    closeSync(found.directory);
    throw error;
  }
}

/** The lock's holder, and the container directory in its mount namespace. Undefined if nobody holds the lock. */
export function openRunning(dir: HostPath): Pick<RunningEntrypoint, "pid" | "directory"> | undefined {
  const pid = supervisor(dir);
  if (pid === undefined) return undefined;
  let directory: number;
  try {
    directory = openSync(`/proc/${pid}/root${dir}`, O_PATH | constants.O_DIRECTORY);
  } catch (error) {
    if (["ENOENT", "ESRCH", "ENOTDIR"].includes(errorCode(error) ?? "")) return undefined;
    throw error;
  }
  if (supervisor(dir) === pid) return { pid, directory };
  closeSync(directory);
  return undefined;
}

function entrypointPath(ref: ContainerRef, name: Entrypoint): HostPath {
  requireLayout(ref.uuid, readManifest(ref.dir));
  const manifest = readStage1Manifest(ref.dir);
  const { entrypoints } = stage1Names(manifest.annotations);
  const inside = annotation(manifest.annotations, entrypoints[name]);
  if (inside === undefined)
    throw new RktError("no-entrypoint", `stage1 ${manifest.name} of container ${ref.uuid} has no "${name}"`, {
      hint: `its image manifest would name one with the annotation ${entrypoints[name]}`,
    });
  return containerLayout("/proc/self/cwd").inStage1(inside);
}

/** The entrypoint's environment. Of the caller's it has only TERM. */
function environment(): Record<string, string> {
  const term = callersEnvironment()["TERM"];
  return {
    PATH: "/usr/bin:/bin",
    ...(term === undefined ? {} : { TERM: term }),
  };
}
