/**
 * `init`: from a container directory to a running container. Ends by becoming
 * systemd-nspawn.
 */

import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { callersEnvironment } from "../shared/callers-environment.ts";
import { hierarchies, ownCgroup } from "../shared/cgroup-hierarchies.ts";
import { execve } from "../shared/exec.ts";
import { containerLayout } from "../shared/contract/container-directory.ts";
import { ENV_LOCK_FD, ENV_USERS_FD } from "../shared/contract/environment.ts";
import { joinFile, STAGE1 } from "../shared/contract/stage1-root.ts";
import { networkRequest } from "../shared/network-request.ts";
import { badNotifySocket, cloneNotifySocket, parseNotifySocket } from "../shared/notify-socket.ts";
import { callersOpenFiles, openFilesText } from "../shared/open-files.ts";
import { dup2, flock, isOpenFd, isTerminal, LOCK_SH, setCloseOnExec } from "../shared/syscall/descriptor.ts";
import { MS_REC, MS_SLAVE, mount } from "../shared/syscall/mount.ts";
import { CLONE_NEWNET, CLONE_NEWNS, setns, unshare } from "../shared/syscall/namespace.ts";
import { writeWhole } from "../shared/write-whole.ts";
import { furtherCapabilities } from "./nspawn/capabilities.ts";
import { asksForHugePages, enterCgroups, hideUnused, isVersion1, planCgroups } from "./cgroups/cgroups.ts";
import { type Container, readContainer } from "./container/container.ts";
import { requireInotify } from "./nspawn/inotify.ts";
import { applyMounts, containerHostname, planContainerMounts, privateRun } from "./mounts/mounts.ts";
import { type ContainerNetwork, setUpNetwork } from "./network/network.ts";
import { loaderCommand, nspawnCommand, type StdioMode } from "./nspawn/nspawn-args.ts";
import { resourceLimits } from "./units/resources.ts";
import { ownsTerminal } from "./container/terminal.ts";
import { containerUnits } from "./units/units.ts";
import { giveToContainerRoot } from "./container/users.ts";

export function init(): never {
  const container = readContainer();
  const stdio = stdioMode(container);
  const notify = notifySocket(container);
  if (stdio === "pipe") closeInput();
  const told = requireInotify();
  if (told !== undefined) process.stderr.write(`rkt: stage1: warning: ${told}\n`);
  const held = [inheritedFd(ENV_LOCK_FD), inheritedFd(ENV_USERS_FD)].filter((fd) => fd !== undefined);
  // What is started on the way must not hold them.
  for (const fd of held) setCloseOnExec(fd, true);
  const network = setUpNetwork(container);
  try {
    start(container, { stdio, notify, network, keepFds: held });
  } catch (error) {
    network.undo();
    throw error;
  }
}

/**
 * Starts the program that helps for the third of a second that a start takes, in the caller's cgroup: it keeps cgroup
 * migrations quick, and an order to stop from being lost.
 */
function warm(): void {
  const own = readFileSync("/proc/self/cgroup", "utf8");
  const procs = hierarchies(readFileSync("/proc/self/mountinfo", "utf8")).flatMap((hierarchy) => {
    const path = ownCgroup(own, hierarchy);
    return path === undefined ? [] : [`${hierarchy.mountPoint}${path === "/" ? "" : path}/cgroup.procs`];
  });
  const args = [containerLayout(".").inStage1(STAGE1.warm), String(process.pid), ...procs.slice(0, 1)];
  const { path: program, argv } = loaderCommand("/usr/bin/luajit", args);
  // By a shell that ends at once: nspawn, which this process becomes, must not have a child that it does not know.
  const shell = ["sh", "-c", '"$@" &', "sh", program, ...argv.slice(1)];
  spawnSync(containerLayout(".").inStage1(STAGE1.busybox), shell, { env: {}, stdio: "ignore" });
}

interface Start {
  stdio: StdioMode;
  /** Who is to be told that the apps are ready: by a clone of the socket, or by the name of an abstract one. */
  notify: number | string | undefined;
  network: ContainerNetwork;
  keepFds: readonly number[];
}

function start(container: Container, { stdio, notify, network, keepFds }: Start): never {
  const { uuid, manifest, users } = container;
  const here = containerLayout(".");
  // Stage 0 may have made us a namespace; somebody who laid the directory out by hand may not.
  unshare(CLONE_NEWNS);
  mount("", "/", "", MS_REC | MS_SLAVE);

  const limits = { ...resourceLimits(manifest), hugePages: asksForHugePages(manifest) };
  const planned = planCgroups(uuid, limits);
  // Before they are made: whatever ends this program, gc knows of them.
  writeWhole(here.cgroups, `${planned.flatMap(({ candidates }) => candidates).join("\n")}\n`, 0o644);
  warm();
  const cgroups = enterCgroups(planned, limits);
  // The apps' processes join by themselves; what may be used stays for root of the host to say.
  for (const { dir, controller } of cgroups) giveToContainerRoot(`${dir}/${joinFile(controller)}`, users);

  const units = here.inStage1(STAGE1.units);
  mkdirSync(units, { recursive: true });
  const openFiles = callersOpenFiles();
  for (const unit of containerUnits(manifest, stdio, { limits: limits.apps, version1: isVersion1(planned), openFiles })) {
    writeFileSync(`${units}/${unit.name}`, unit.text);
    giveToContainerRoot(`${units}/${unit.name}`, users);
  }
  applyMounts(planContainerMounts(manifest, uuid, network, cgroups), users);
  writeFileSync(here.inStage1(STAGE1.openFiles), openFilesText(openFiles), { mode: 0o644 });
  giveToContainerRoot(here.inStage1(STAGE1.openFiles), users);

  // From within the user namespace, nspawn's child may not join it: then nspawn itself does.
  const joined = users === undefined ? undefined : network.namespace;
  if (joined !== undefined) setns(joined, CLONE_NEWNET);

  // execve keeps the pid: nspawn's is ours, and the container's PID 1 is its child.
  writeWhole(here.pid, `${process.pid}\n`, 0o644);
  const cloned = typeof notify === "number" ? notify : undefined;
  const socket = privateRun(cloned) ?? (typeof notify === "string" ? notify : undefined);

  hideUnused(planned);
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
  execve(path, argv, environment(socket), [...keepFds, ...network.keepFds, lifeLock()]);
}

/** Before anything is made: a clone of the socket to notify, or the name of an abstract one. */
function notifySocket({ manifest, users }: Container): number | string | undefined {
  const socket = parseNotifySocket(callersEnvironment()["NOTIFY_SOCKET"]);
  if (socket?.kind !== "abstract") return socket === undefined ? undefined : cloneNotifySocket(socket.path);
  // Then nspawn itself is in the container's network, and an abstract socket in the host's (unix(7)).
  if (users !== undefined && networkRequest(manifest) !== "host")
    throw badNotifySocket(socket.name, "an abstract socket cannot be reached with --private-users and a network of its own");
  return socket.name;
}

/** A lock on the directory `status`, which the container sees too: `pid1` learns by it whether nspawn still lives. */
function lifeLock(): number {
  const fd = openSync(containerLayout(".").status, "r");
  flock(fd, LOCK_SH);
  return fd;
}

/**
 * Only an app that was asked to be interactive gets the terminal, by a pty that nspawn puts between, and only in the
 * terminal's foreground. What any other app writes is passed on byte by byte, to a terminal too, and the terminal's keys
 * stay signals: ^C reaches nspawn.
 */
function stdioMode({ uuid, interactive }: Container): StdioMode {
  if (!interactive) return "pipe";
  if (!isTerminal(0)) return "stdin";
  if (ownsTerminal(0)) return isTerminal(1) ? "interactive" : "stdin";
  writeSync(2, `rkt: stage1: container ${uuid} is in the background of its terminal: its app reads nothing\n`);
  return "pipe";
}

/** Nothing in the container reads the terminal, or whatever else rkt was given, if it was not asked to. */
function closeInput(): void {
  const nothing = openSync("/dev/null", "r");
  dup2(nothing, 0);
  closeSync(nothing);
}

/** nspawn's own environment: no more of the caller's than it uses. */
function environment(notify: string | undefined): Record<string, string> {
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
  if (notify !== undefined) env["NOTIFY_SOCKET"] = notify;
  return env;
}

/** A descriptor of stage 0's that must outlive this program: its locks say "running", and whose the ids are. */
function inheritedFd(variable: string): number | undefined {
  const fd = Number(callersEnvironment()[variable]);
  return Number.isInteger(fd) && fd > 2 && isOpenFd(fd) ? fd : undefined;
}
