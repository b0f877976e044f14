/**
 * Running an entrypoint of a running container's stage1. Its root file system
 * is mounted in the container's own mount namespace only; the magic link
 * `/proc/PID/root` of the lock's holder leads there without joining it.
 */

import { existsSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import {
  containerLayout,
  type Entrypoint,
  ENTRYPOINTS,
  type HostPath,
  hostPath,
  RUNTIME_OPTIONS,
} from "../../shared/layout.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { readManifest, readStage1Manifest, requireLayout, supervisor } from "./inspect.ts";
import { type ContainerRef, phase } from "./lifecycle.ts";

/** Code of the error that a container is about to run. */
export const STARTING = "starting";

export interface RunningEntrypoint {
  /** Of the process that holds the lock. */
  pid: number;
  /** The container directory in the container's mount namespace: the entrypoint's working directory. */
  cwd: HostPath;
  /** Below `cwd`. */
  path: HostPath;
  env: Record<string, string>;
}

/** Throws when the container does not run or its stage1 has no such entrypoint. */
export function runningEntrypoint(ref: ContainerRef, name: Entrypoint): RunningEntrypoint {
  const now = phase(ref);
  const pid = now === "running" ? supervisor(ref.dir) : undefined;
  if (pid === undefined) {
    if (now === "running" && existsSync(containerLayout(ref.dir).pid))
      throw new RktError(
        "bad-stage1",
        `container ${ref.uuid} cannot be reached: its stage1 image ${readStage1Manifest(ref.dir).name} must name a process that holds the lock in the file pid, and does not`,
        { hint: "that process has ended, or let go of the lock; who holds it: `fuser DIRECTORY`, `lslocks`" },
      );
    const starting = now === "running";
    const state = now === undefined ? "" : `: it is ${starting ? "starting" : now}`;
    throw new RktError(starting ? STARTING : "not-running", `container ${ref.uuid} is not running${state}`, {
      hint: "`rkt list` shows the containers and their states",
    });
  }
  requireLayout(ref.uuid, readManifest(ref.dir));
  const manifest = readStage1Manifest(ref.dir);
  const inside = annotation(manifest.annotations, ENTRYPOINTS[name]);
  if (inside === undefined)
    throw new RktError("no-entrypoint", `stage1 ${manifest.name} of container ${ref.uuid} has no "${name}"`, {
      hint: `its image manifest would name one with the annotation ${ENTRYPOINTS[name]}`,
    });
  const cwd = hostPath(`/proc/${pid}/root${ref.dir}`);
  return { pid, cwd, path: containerLayout(cwd).inStage1(inside), env: environment() };
}

/** Nothing of the caller's environment but what kind of terminal it is. */
function environment(): Record<string, string> {
  const term = process.env["TERM"];
  return {
    PATH: "/usr/bin:/bin",
    // The real path of what lies behind the magic link is one of another mount namespace.
    NODE_PRESERVE_SYMLINKS_MAIN: "1",
    NODE_OPTIONS: RUNTIME_OPTIONS,
    ...(term === undefined ? {} : { TERM: term }),
  };
}
