/**
 * The command line of systemd-nspawn(1). Pure.
 *
 * No text of an image gets into it: init makes the mounts before, all names are ours, and stage 0 has checked the
 * hostname.
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
  /** The caller wants to be told that the apps are ready: NOTIFY_SOCKET is set (sd_notify(3)). */
  notify?: boolean;
  /** Path of the network namespace; undefined: the host's. */
  networkNamespace?: string | undefined;
  /** In addition to nspawn's defaults (systemd-nspawn(1), --capability=). */
  capabilities?: readonly string[];
  /** How many files the apps may have open; undefined: the kernel's default, as for the other limits. */
  openFiles?: ResourceLimit | undefined;
  /** The container's own users; undefined: the host's. */
  users?: Users | undefined;
}

const LIBRARIES = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/systemd"];
const LOADER = "/usr/lib64/ld-linux-x86-64.so.2";

export interface Command {
  path: HostPath;
  argv: string[];
}

/**
 * The command that runs a program of the stage1 image on the host, with the image's own loader and libraries: the host
 * needs neither. Paths are relative to the container directory.
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
    // No registration with systemd-machined and no unit: the container's cgroup is below the caller's.
    "--register=no",
    "--keep-unit",
    "--settings=no",
    "--link-journal=no",
    "--resolv-conf=off",
    "--timezone=off",
    // init has mapped the owners in the root already.
    ...(options.users === undefined
      ? []
      : [`--private-users=${options.users.first}:${options.users.count}`, "--private-users-ownership=off"]),
    ...(options.networkNamespace === undefined ? [] : [`--network-namespace-path=${options.networkNamespace}`]),
    ...(options.openFiles === undefined ? [] : [`--rlimit=NOFILE=${options.openFiles.soft}:${options.openFiles.hard}`]),
    ...(options.capabilities ?? []).map((name) => `--capability=${name}`),
    `--console=${options.stdio === "interactive" ? "interactive" : "pipe"}`,
    // Starts halt.target, which is our exit.target: it stops the apps in order, and then the container ends.
    "--kill-signal=SIGRTMIN+3",
    // The container sends READY=1 when all apps have been started; without this, nspawn would at once.
    ...(options.notify === true ? ["--notify-ready=yes"] : []),
    ...[STAGE1.setpriv, "--pdeathsig", "KILL", STAGE1.pid1],
    options.stdio,
    ...options.apps,
    "--",
    ...(options.debug ? ["--log-target=console", "--log-level=debug"] : ["--log-target=null"]),
    "--show-status=0",
  ]);
}
