/**
 * Makes all that the host gives a container, whatever the flavor: its network,
 * its cgroups, the units of its apps, the mounts below the stage1 root.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { callersEnvironment } from "../shared/callers-environment.ts";
import { containerLayout } from "../shared/contract/container-directory.ts";
import { ENV_LOCK_FD, ENV_USERS_FD } from "../shared/contract/environment.ts";
import { joinFile, STAGE1 } from "../shared/contract/stage1-root.ts";
import { networkRequest } from "../shared/network-request.ts";
import { badNotifySocket, cloneNotifySocket, parseNotifySocket } from "../shared/notify-socket.ts";
import { callersOpenFiles, openFilesText } from "../shared/open-files.ts";
import { passedSockets, requireAskedFor } from "../shared/passed-sockets.ts";
import { isOpenFd, setCloseOnExec } from "../shared/syscall/descriptor.ts";
import { MS_REC, MS_SLAVE, mount } from "../shared/syscall/mount.ts";
import { CLONE_NEWNS, unshare } from "../shared/syscall/namespace.ts";
import { writeWhole } from "../shared/write-whole.ts";
import { asksForHugePages, enterCgroups, isVersion1, makesNamespaces, planCgroups } from "./cgroups/cgroups.ts";
import type { Container } from "./container/container.ts";
import { closeInput, stdioMode } from "./container/stdio.ts";
import { giveToContainerRoot } from "./container/users.ts";
import type { Flavor, Prepared } from "./flavor.ts";
import { applyMounts, planContainerMounts } from "./mounts/mounts.ts";
import { setUpNetwork } from "./network/network.ts";
import { resourceLimits } from "./units/resources.ts";
import { containerUnits } from "./units/units.ts";

/** If it throws, the networks are given back. */
export function setUp(container: Container, flavor: Flavor): Prepared {
  const stdio = stdioMode(container);
  const notify = notifySocket(container);
  if (stdio === "pipe") closeInput();
  const warning = flavor.checkHost();
  if (warning !== undefined) process.stderr.write(`rkt: stage1: warning: ${warning}\n`);
  const sockets = passedSockets(callersEnvironment());
  requireAskedFor(sockets, container.manifest.apps);
  const keepFds = [inheritedFd(ENV_LOCK_FD), inheritedFd(ENV_USERS_FD)].filter((fd) => fd !== undefined);
  // What is started on the way must not hold them.
  for (const fd of [...keepFds, ...sockets.map((socket) => socket.fd)]) setCloseOnExec(fd, true);
  const network = setUpNetwork(container);
  try {
    return { stdio, notify, network, keepFds, sockets, ...setUpMounts(container, flavor, { stdio, network, sockets }) };
  } catch (error) {
    network.undo();
    throw error;
  }
}

function setUpMounts(
  { uuid, manifest, users }: Container,
  flavor: Flavor,
  { stdio, network, sockets }: Pick<Prepared, "stdio" | "network" | "sockets">,
): Pick<Prepared, "cgroups" | "openFiles"> {
  const here = containerLayout(".");
  // Stage 0 may have made us a namespace; somebody who laid the directory out by hand may not.
  unshare(CLONE_NEWNS);
  mount("", "/", "", MS_REC | MS_SLAVE);

  const limits = { ...resourceLimits(manifest), hugePages: asksForHugePages(manifest), namespaces: makesNamespaces(manifest) };
  const cgroups = planCgroups(uuid, limits);
  // Before they are made: whatever ends this program, gc knows of them.
  writeWhole(here.cgroups, `${cgroups.flatMap(({ candidates }) => candidates).join("\n")}\n`, 0o644);
  // On v1 it makes the moves into cgroups faster. On v2 a process more in the caller's cgroup would keep that from giving
  // its controllers to the container's (cgroups(7), "no internal processes").
  const version1 = isVersion1(cgroups);
  if (version1) flavor.startHelper(version1);
  const entered = enterCgroups(cgroups, limits);
  if (!version1) flavor.startHelper(version1);
  // The apps' processes join by themselves; what may be used stays for root of the host to say.
  for (const { dir, controller } of entered) giveToContainerRoot(`${dir}/${joinFile(controller)}`, users);

  const units = here.inStage1(STAGE1.units);
  mkdirSync(units, { recursive: true });
  const openFiles = callersOpenFiles();
  for (const unit of containerUnits(manifest, stdio, {
    limits: limits.apps,
    version1,
    openFiles,
    sockets,
  })) {
    const directory = dirname(`${units}/${unit.name}`);
    if (directory !== units && mkdirSync(directory, { recursive: true }) !== undefined) giveToContainerRoot(directory, users);
    writeFileSync(`${units}/${unit.name}`, unit.text);
    giveToContainerRoot(`${units}/${unit.name}`, users);
  }
  applyMounts(planContainerMounts(manifest, uuid, network, entered), users);
  writeFileSync(here.inStage1(STAGE1.openFiles), openFilesText(openFiles), { mode: 0o644 });
  giveToContainerRoot(here.inStage1(STAGE1.openFiles), users);
  return { cgroups, openFiles };
}

/** Before anything is made: a clone of the socket to notify, or the name of an abstract one. */
function notifySocket({ manifest, users }: Container): number | string | undefined {
  const socket = parseNotifySocket(callersEnvironment()["NOTIFY_SOCKET"]);
  if (socket?.kind !== "abstract") return socket === undefined ? undefined : cloneNotifySocket(socket.path);
  // Then nspawn itself is in the container's network, and an abstract socket in the host's (unix(7)).
  if (users !== undefined && networkRequest(manifest) !== "host")
    throw badNotifySocket(
      socket.name,
      "an abstract socket cannot be reached with --private-users and a network of its own",
    );
  return socket.name;
}

/** A descriptor of stage 0's that must outlive this program: its locks say "running", and whose the ids are. */
function inheritedFd(variable: string): number | undefined {
  const fd = Number(callersEnvironment()[variable]);
  return Number.isInteger(fd) && fd > 2 && isOpenFd(fd) ? fd : undefined;
}
