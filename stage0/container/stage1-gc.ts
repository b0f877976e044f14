/**
 * Runs the entrypoint `gc` of a container's stage1, which releases what the container had outside its directory. Most
 * stage1 images have none.
 *
 * The program is trusted like the same image's `init`, but it may hang: so its time is limited.
 */

import type { SpawnSyncOptions } from "node:child_process";
import { errorText, RktError } from "../../shared/errors.ts";
import { stage1Names } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import type { ImageManifest } from "../../shared/schema/types.ts";
import { MNT_DETACH, umount } from "../../shared/syscall/mount.ts";
import { readStage1Manifest, readTrees } from "./inspect.ts";
import type { OwnedContainer } from "./lifecycle.ts";
import { mountStage1, separateMounts } from "./mounts.ts";

/** Milliseconds. */
const LIMIT = 10_000;

/** Does nothing for a container that never ran, or whose stage1 has no `gc`. */
export function runStage1Gc(container: OwnedContainer): void {
  if (container.state !== "run" && container.state !== "exited-garbage") return;
  let manifest: ImageManifest;
  try {
    manifest = readStage1Manifest(container.dir);
  } catch {
    // The manifest is damaged, so the entrypoint is unknown.
    return;
  }
  const path = annotation(manifest.annotations, stage1Names(manifest.annotations).entrypoints.gc);
  if (path === undefined) return;
  try {
    inItsDirectory(container, () => execute(path, manifest.name));
  } catch (error) {
    throw new RktError("stage1-gc", `container ${container.uuid} cannot be released: ${errorText(error)}`, {
      hint: `\`rkt rm --force ${container.uuid.slice(0, 8)}\` removes it all the same`,
      cause: error,
    });
  }
}

let separate = false;

/** Runs `action` in the container directory, with stage1's root mounted. Only this process sees that mount. */
function inItsDirectory({ dir }: OwnedContainer, action: () => void): void {
  const trees = readTrees(dir);
  const before = process.cwd();
  process.chdir(dir);
  try {
    if (trees.overlay && !separate) separateMounts();
    separate ||= trees.overlay;
    const root = trees.overlay ? mountStage1(trees) : undefined;
    try {
      action();
    } finally {
      if (root !== undefined) umount(root, MNT_DETACH);
    }
  } finally {
    process.chdir(before);
  }
}

function execute(path: string, image: string): void {
  const { spawnSync } = process.getBuiltinModule("node:child_process");
  const options: SpawnSyncOptions & { detached: boolean } = {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    stdio: ["ignore", "ignore", "inherit"],
    timeout: LIMIT,
    killSignal: "SIGKILL",
    // Leads a process group, so that what it has started ends with it.
    detached: true,
  };
  const { error, pid, signal, status } = spawnSync(containerLayout(".").inStage1(path), [], options);
  const timedOut = error !== undefined && "code" in error && error.code === "ETIMEDOUT";
  if (timedOut) endGroup(pid);
  if (status === 0) return;
  const reason = timedOut
    ? `has not ended after ${LIMIT / 1000} s`
    : error !== undefined
      ? `cannot be executed: ${errorText(error)}`
      : `ended with ${signal ?? `status ${status}`}`;
  throw new RktError("bad-stage1", `${path} (gc) of stage1 image ${image} ${reason}`);
}

function endGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch {
    // The group has no more processes.
  }
}
