/**
 * The command line of systemd-nspawn(1). Pure.
 *
 * Nothing of an image reaches it: mounts are made before, names are ours, the
 * hostname is checked by stage 0.
 */

import { containerLayout } from "../../shared/contract/container-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import type { ResourceLimit } from "../../shared/syscall/process.ts";
import type { StdioMode } from "../container/stdio.ts";
import type { Users } from "../container/users.ts";

export interface NspawnOptions {
  uuid: string;
  hostname: string;
  /** The program `pid1` of the stage1 image is told. */
  stdio: StdioMode;
  /** App names, in order. */
  apps: readonly string[];
  debug: boolean;
  /** Somebody waits to hear that the apps are ready: NOTIFY_SOCKET is set (sd_notify(3)). */
  notify?: boolean;
  /** Of the network namespace; undefined: the host's. */
  networkNamespace?: string | undefined;
  /** Beyond those that nspawn gives (systemd-nspawn(1), --capability=). */
  capabilities?: readonly string[];
  /** How many files the apps may have open; undefined: what the kernel gives its first process, as for other limits. */
  openFiles?: ResourceLimit | undefined;
  /** The container's own; undefined: the host's. */
  users?: Users | undefined;
}

const LIBRARIES = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/systemd"];
const LOADER = "/usr/lib64/ld-linux-x86-64.so.2";

export interface Command {
  path: HostPath;
  argv: string[];
}

/**
 * A program of the stage1 image run on the host with the image's own loader
 * and libraries, so that the host needs neither. Relative to the container directory.
 */
export function loaderCommand(program: string, args: readonly string[]): Command {
  const here = containerLayout(".");
  const path = here.inStage1(LOADER);
  const libraries = LIBRARIES.map((dir) => here.inStage1(dir)).join(":");
  return { path, argv: [path, "--library-path", libraries, here.inStage1(program), ...args] };
}

export function nspawnCommand(options: NspawnOptions): Command {
  const here = containerLayout(".");
  return loaderCommand("/usr/bin/systemd-nspawn", [
    "--quiet",
    `--directory=${here.stage1Rootfs}`,
    `--machine=rkt-${options.uuid}`,
    `--uuid=${options.uuid}`,
    `--hostname=${options.hostname}`,
    // No machined, no unit of its own: rkt has no daemon, the caller's cgroup is the container's.
    "--register=no",
    "--keep-unit",
    "--settings=no",
    "--link-journal=no",
    "--resolv-conf=off",
    "--timezone=off",
    // The root is mapped already: nothing is left to be owned.
    ...(options.users === undefined
      ? []
      : [`--private-users=${options.users.first}:${options.users.count}`, "--private-users-ownership=off"]),
    ...(options.networkNamespace === undefined ? [] : [`--network-namespace-path=${options.networkNamespace}`]),
    ...(options.openFiles === undefined ? [] : [`--rlimit=NOFILE=${options.openFiles.soft}:${options.openFiles.hard}`]),
    ...(options.capabilities ?? []).map((name) => `--capability=${name}`),
    `--console=${options.stdio === "interactive" ? "interactive" : "pipe"}`,
    // halt.target, which is exit.target here: stop the apps in order, then end.
    "--kill-signal=SIGRTMIN+3",
    // READY=1 is then the container's own, when all apps have been started, and not nspawn's.
    ...(options.notify === true ? ["--notify-ready=yes"] : []),
    ...[STAGE1.setpriv, "--pdeathsig", "KILL", STAGE1.pid1],
    options.stdio,
    ...options.apps,
    "--",
    ...(options.debug ? ["--log-target=console", "--log-level=debug"] : ["--log-target=null"]),
    "--show-status=0",
  ]);
}
