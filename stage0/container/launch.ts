/**
 * Leaves stage 0: moves the container from `prepared` to `run`, makes its mounts in a new mount namespace, and executes
 * stage1's init. That has the container directory as its working directory, and inherits the lock.
 */

import { readFileSync } from "node:fs";
import { spawn } from "node:child_process";
import type { Environment } from "../../shared/callers-environment.ts";
import { errorText, RktError } from "../../shared/errors.ts";
import { execve } from "../../shared/exec.ts";
import { stage1Names } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { ENV_LOCK_FD, ENV_USERS_FD } from "../../shared/contract/environment.ts";
import { annotation, parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { formatPodManifest } from "../../shared/schema/pod-manifest.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { type PassedSocket, passOn } from "../../shared/passed-sockets.ts";
import { writeWhole } from "../../shared/write-whole.ts";
import { callersOpenFiles } from "../../shared/open-files.ts";
import { MNT_DETACH, umount } from "../../shared/syscall/mount.ts";
import { RLIMIT_NOFILE, setrlimit } from "../../shared/syscall/process.ts";
import { type OwnedContainer, transition } from "./lifecycle.ts";
import { readTrees } from "./inspect.ts";
import { mountOverlays, separateMounts } from "./mounts.ts";
import { mapOwners, setUpPrivateUsers } from "./private-users.ts";
import { abandon } from "./remove.ts";
import { hostEnvironment } from "../host/environment.ts";

export interface LaunchOptions {
  data: string;
  /** Remove the container as soon as it ends: argv of the command that does so. */
  collect?: readonly string[] | undefined;
  env: Environment;
  /** Sockets that rkt was started with, and that the apps get. */
  sockets: readonly PassedSocket[];
  /** Replaces the prepared manifest, with the options of this start. */
  manifest?: PodManifest | undefined;
}

/** Starts a prepared container: this process becomes stage 1. Never returns; throws if it fails. */
export function launchContainer(prepared: OwnedContainer, options: LaunchOptions): never {
  let container = prepared;
  let mounted: string[] = [];
  try {
    container = transition(options.data, prepared, "run");
    const here = containerLayout(".");
    process.chdir(container.dir);
    if (options.manifest !== undefined) writeWhole(here.manifest, formatPodManifest(options.manifest), 0o640);
    const manifest = parseImageManifest(readFileSync(here.stage1Manifest, "utf8"));
    const { entrypoints } = stage1Names(manifest.annotations);
    const init = annotation(manifest.annotations, entrypoints.init);
    if (init === undefined)
      throw new RktError("bad-stage1", `stage1 image ${manifest.name} has no annotation ${entrypoints.init}`);
    const trees = readTrees(here.dir);
    if (options.collect !== undefined) startCollector(container, options.collect);

    separateMounts();
    const users = trees.privateUsers === true ? setUpPrivateUsers(container.uuid) : undefined;
    if (trees.privateUsers === true && !trees.overlay) mapOwners(here.stage1Rootfs);
    if (trees.overlay) mounted = mountOverlays(trees);

    const path = here.inStage1(init);
    // The caller's limits, because the runtime may have raised the soft one.
    setrlimit(RLIMIT_NOFILE, callersOpenFiles());
    try {
      const locks = { [ENV_LOCK_FD]: container.lock.fd, ...(users === undefined ? {} : { [ENV_USERS_FD]: users }) };
      const variables = Object.entries(locks).map(([name, fd]) => [name, String(fd)]);
      execve(
        path,
        [path],
        { ...stage1Environment(options.env), ...passOn(options.sockets), ...Object.fromEntries(variables) },
        [...Object.values(locks), ...options.sockets.map(({ fd }) => fd)],
      );
    } catch (error) {
      throw new RktError("bad-stage1", `cannot execute ${init} of stage1 image ${manifest.name}: ${errorText(error)}`, {
        hint: "the stage1 image is broken, or made for another machine",
        cause: error,
      });
    }
  } catch (error) {
    process.chdir("/");
    for (const target of mounted.reverse()) umount(`${container.dir}/${target}`, MNT_DETACH);
    abandon(options.data, container);
    throw error;
  }
}

const stage1Environment = (env: Environment): Record<string, string> => ({
  ...hostEnvironment(env),
  ...(env["NOTIFY_SOCKET"] === undefined ? {} : { NOTIFY_SOCKET: env["NOTIFY_SOCKET"] }),
});

/**
 * `--rm`: starts a process that waits for the container's end and then starts `rkt rm`. While it waits it is only
 * flock(1), which sleeps in the kernel until the container's lock is free.
 */
function startCollector(container: OwnedContainer, argv: readonly string[]): void {
  const child = spawn("sh", ["-c", 'flock -s "$0" true && exec "$@"', container.dir, ...argv], {
    cwd: "/",
    env: hostEnvironment(),
    detached: true,
    stdio: "ignore",
  });
  child.on("error", () => {});
  if (child.pid === undefined)
    throw new RktError("no-collector", "--rm needs sh and flock(1)", {
      hint: "install util-linux, or run `rkt gc` afterwards",
    });
}
