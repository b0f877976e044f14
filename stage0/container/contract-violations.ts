/**
 * Finds violations of the contract between rkt and a stage1 (docs/extend/stage1-guide.md) in a container's directory.
 * They are only shown to the user, with one exception: a container is not removed while processes of it still run.
 */

import { lstatSync, statSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { ENV_LOCK_FD } from "../../shared/contract/environment.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { type ContainerFacts, MAX_PID, readNumber, stage1Name, supervisor } from "./inspect.ts";
import type { ContainerRef } from "./lifecycle.ts";

/** The violations, as sentences about the stage1 image. */
export function contractViolations(ref: ContainerRef, facts: ContainerFacts): string[] {
  const layout = containerLayout(ref.dir);
  const image = `stage1 image ${facts.stage1 ?? "(unknown)"}`;
  if (facts.phase === "running") {
    if (supervisor(ref.dir) === undefined && exists(layout.pid))
      return [`${image}: the file pid must name a process that holds the container's lock, and does not`];
    return [];
  }
  if (!facts.phase.startsWith("exited")) return [];
  const found: string[] = [];
  const without = runsWithoutLock(ref.dir);
  if (without !== undefined)
    found.push(`${image}: process ${without} must hold the lock (${ENV_LOCK_FD}), and does not`);
  if (!exists(layout.pid)) found.push(`${image}: init must write the file pid, and has not`);
  for (const app of facts.apps) {
    if (app.exitCode !== undefined) continue;
    const rule = `status/${app.name} must be a number from 0 to 255`;
    if (exists(layout.appStatus(app.name))) found.push(`${image}: ${rule}, and is not`);
    else if (without === undefined) found.push(`${image}: ${rule}, and was not written; was the container killed?`);
  }
  return found;
}

function exists(path: HostPath): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** The process that the file `pid` names, if it still works in the container directory though the lock is free. */
function runsWithoutLock(dir: HostPath): number | undefined {
  const pid = readNumber(containerLayout(dir).pid, MAX_PID);
  if (pid === undefined) return undefined;
  try {
    const [cwd, own] = [statSync(`/proc/${pid}/cwd`), statSync(dir)];
    return cwd.ino === own.ino && cwd.dev === own.dev ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Throws if processes of a container still run although its lock is free: it must not be removed then. */
export function refuseRunningWithoutLock({ uuid, dir }: ContainerRef): void {
  const pid = runsWithoutLock(dir);
  if (pid === undefined) return;
  const image = stage1Name(containerLayout(dir).stage1Manifest) ?? "(unknown)";
  throw new RktError(
    "bad-stage1",
    `container ${uuid} still runs, though its lock is free: process ${pid} of stage1 image ${image} must hold it (${ENV_LOCK_FD})`,
    { hint: `end it: kill ${pid}` },
  );
}
