/** The flavor that boots a systemd in systemd-nspawn, which this process becomes. */

import { openSync, rmSync, writeFileSync } from "node:fs";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { machineId } from "../../shared/contract/data-directory.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { execve } from "../../shared/exec.ts";
import { passOn } from "../../shared/passed-sockets.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { flock, LOCK_SH } from "../../shared/syscall/descriptor.ts";
import { CLONE_NEWNET, setns } from "../../shared/syscall/namespace.ts";
import { writeWhole } from "../../shared/write-whole.ts";
import { hideUnused } from "../cgroups/cgroups.ts";
import type { Container } from "../container/container.ts";
import { giveToContainerRoot } from "../container/users.ts";
import type { Flavor, Prepared } from "../flavor.ts";
import { containerHostname, privateRun } from "../mounts/mounts.ts";
import { furtherCapabilities } from "./capabilities.ts";
import { requireInotify } from "./inotify.ts";
import { nspawnCommand } from "./nspawn-args.ts";
import { warm } from "./warm.ts";

export const nspawn: Flavor = { checkHost: requireInotify, startHelper: warm, leave };

function leave(container: Container, { stdio, notify, network, cgroups, openFiles, keepFds, sockets }: Prepared): never {
  const { uuid, manifest, users } = container;
  // From within the user namespace, nspawn's child may not join it: then nspawn itself does.
  const joined = users === undefined ? undefined : network.namespace;
  if (joined !== undefined) setns(joined, CLONE_NEWNET);

  // execve keeps the pid: nspawn's is ours, and the container's PID 1 is its child.
  writeWhole(containerLayout(".").pid, `${process.pid}\n`, 0o644);
  const cloned = typeof notify === "number" ? notify : undefined;
  const socket = privateRun(cloned) ?? (typeof notify === "string" ? notify : undefined);

  writeMachineId(container);
  hideUnused(cgroups);
  const { path, argv } = nspawnCommand({
    uuid,
    hostname: containerHostname(manifest, uuid),
    stdio,
    apps: manifest.apps.map((app) => app.name),
    debug: container.debug,
    notify: socket !== undefined,
    networkNamespace:
      network.namespace === undefined || joined !== undefined
        ? undefined
        : `/proc/${process.pid}/fd/${network.namespace}`,
    capabilities: furtherCapabilities(manifest, {
      ownNetwork: network.namespace !== undefined,
      ownUsers: users !== undefined,
    }),
    openFiles,
    users,
  });
  const env = environment(socket, annotation(manifest.annotations, ANNOTATIONS.ipc) === "parent");
  execve(path, argv, { ...env, ...passOn(sockets) }, [
    ...keepFds,
    ...network.keepFds,
    lifeLock(),
    ...sockets.map(({ fd }) => fd),
  ]);
}

/** systemd would make one up, write it, and wait for the disk. */
function writeMachineId({ uuid, users }: Container): void {
  const path = containerLayout(".").inStage1(STAGE1.systemdMachineId);
  // A stage1 image of somebody else's may have a link there.
  rmSync(path, { force: true });
  writeFileSync(path, `${machineId(uuid)}\n`, { mode: 0o444, flag: "wx" });
  giveToContainerRoot(path, users);
}

/** A lock on the directory `status`, which the container sees too: `pid1` learns by it whether nspawn still lives. */
function lifeLock(): number {
  const fd = openSync(containerLayout(".").status, "r");
  flock(fd, LOCK_SH);
  return fd;
}

/** nspawn's own environment: no more of the caller's than it uses. */
function environment(notify: string | undefined, callersIpc: boolean): Record<string, string> {
  const env: Record<string, string> = {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    // Its notices would stand between the apps' lines; its errors must not be lost.
    SYSTEMD_LOG_LEVEL: "err",
    SYSTEMD_LOG_TARGET: "console",
    // The launcher gives each app its own filter; nspawn's, compiled anew at each start, costs half the boot.
    SYSTEMD_SECCOMP: "0",
  };
  const term = callersEnvironment()["TERM"];
  if (term !== undefined) env["TERM"] = term;
  if (callersIpc) env["SYSTEMD_NSPAWN_SHARE_NS_IPC"] = "1";
  if (notify !== undefined) env["NOTIFY_SOCKET"] = notify;
  return env;
}
