/**
 * The launcher of the fly flavor (ADR 5). It runs on the host, in the container directory, instead of in a stage1 root.
 * Its app has a file system of its own, and shares the host's kernel file systems, network, hostname and processes.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { RktError } from "../shared/errors.ts";
import { ANNOTATIONS, INTERFACE_VERSION_ANNOTATION, NOTIFY_ANNOTATION } from "../shared/contract/annotations.ts";
import { containerLayout } from "../shared/contract/container-directory.ts";
import { type HostPath, hostPath } from "../shared/contract/paths.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import { STAGE1_INTERFACE_VERSION } from "../shared/contract/versions.ts";
import { annotation } from "../shared/schema/image-manifest.ts";
import type { App, PodManifest } from "../shared/schema/types.ts";
import { stopSettings } from "../shared/stop.ts";
import { dup2, setControllingTerminal } from "../shared/syscall/descriptor.ts";
import { linux } from "./kernel.ts";
import { appPath, bind, type MountStep, type Surroundings } from "./mount-plan.ts";
import type { HostLaunch } from "./plan.ts";

const here = containerLayout(".");

/** Isolators that stage 1 applies, not the launcher: in fly they have no effect. */
const STAGE1_ISOLATORS = /^(resource\/.*|os\/linux\/(cpu-shares|selinux-context)|os\/unix\/sysctl)$/;

/** Returns the container's one app. Throws "not-on-host" if the manifest asks for isolation that fly does not have. */
export function onlyApp(manifest: PodManifest): string {
  const version = annotation(manifest.annotations, INTERFACE_VERSION_ANNOTATION) ?? STAGE1_INTERFACE_VERSION;
  if (version !== STAGE1_INTERFACE_VERSION)
    throw new RktError(
      "bad-layout",
      `the container has interface version "${version}", this stage1 speaks ${STAGE1_INTERFACE_VERSION}`,
      { hint: "use the stage1 image that came with this rkt" },
    );
  const [app, second] = manifest.apps;
  if (app === undefined || second !== undefined)
    throw refused(`it runs one app in a container, and this one has ${manifest.apps.length}`);
  const network = annotation(manifest.annotations, ANNOTATIONS.network) ?? "host";
  if (network !== "host") throw refused(`it shares the host's network: --net=${network} has no meaning`);
  if (manifest.ports.length > 0) throw refused("it shares the host's network: the app's ports are the host's");
  if (annotation(manifest.annotations, ANNOTATIONS.hostname) !== undefined)
    throw refused("it shares the host's name: --hostname has no meaning");
  return app.name;
}

const refused = (reason: string): RktError =>
  new RktError("not-on-host", `this stage1 isolates nothing but the file system: ${reason}`, {
    hint: "leave the option out, or use the stage1 image that came as rkt's default",
  });

export function hostLaunch(manifest: PodManifest, parent: number): HostLaunch {
  return {
    helper: here.inStage1(STAGE1.exec),
    parent,
    rootfs: here.appRootfs,
    account: (app) => here.inStage1(STAGE1.appAccount(app)),
    surroundings: {
      kernelFileSystems,
      // A getter, because it writes files: only the process that builds the root calls it, not one that enters.
      get etc() {
        return etcFiles(manifest);
      },
      emptyVolume: here.emptyVolume,
      hostVolume: (_, { source }) => hostPath(source ?? ""),
    },
  };
}

function kernelFileSystems(): MountStep[] {
  const paths = ["/dev", "/proc", "/sys"];
  return paths.map((path) => ({ ...bind(hostPath(path), appPath(path)), recursive: true, host: true }));
}

/** The host's files, or those that the user asked for. */
function etcFiles(manifest: PodManifest): Surroundings["etc"] {
  const resolvConf = annotation(manifest.annotations, ANNOTATIONS.resolvConf) ?? "host";
  const hosts = annotation(manifest.annotations, ANNOTATIONS.hosts) ?? "host";
  const etc = (name: string) => hostPath(`/etc/${name}`);
  return {
    resolvConf:
      resolvConf === "none"
        ? undefined
        : resolvConf === "host"
          ? etc("resolv.conf")
          : written(here.inStage1(STAGE1.resolvConf), resolvConf),
    hosts:
      hosts === "host"
        ? etc("hosts")
        : written(here.inStage1(STAGE1.hosts), `${readFileSync(etc("hosts"), "utf8").trimEnd()}\n${hosts}`),
    hostname: etc("hostname"),
    machineId: undefined,
  };
}

function written(path: HostPath, text: string): HostPath {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text, { mode: 0o644 });
  return path;
}

/**
 * Asks `streams`, which has made the app's streams, for the caller's input or for a terminal, if the app is
 * interactive.
 */
export function askForInput(manifest: PodManifest, fds: string | undefined): void {
  if (annotation(manifest.annotations, ANNOTATIONS.interactive) !== "true" || fds === undefined) return;
  const [request = -1, terminal] = fds.split(",").map(Number);
  if (terminal !== undefined) {
    for (const fd of [0, 1, 2]) dup2(terminal, fd);
    setControllingTerminal(0);
  }
  writeSync(request, terminal === undefined ? "p" : "t");
}

/** Prepares the app's start: writes the files that fly's `init` reads, and runs the pre-start handler to its end. */
export function beginApp(manifest: PodManifest, name: string, imagesApp: App | undefined): void {
  const app = manifest.apps[0]?.app ?? imagesApp;
  const socket = app?.ports.find(({ socketActivated }) => socketActivated);
  if (socket !== undefined) throw refused(`nobody listens on port ${socket.name} before its app starts`);
  written(here.inStage1(STAGE1.hostApp), `${name} ${process.pid}\n`);
  const ignored = app?.isolators.map((isolator) => isolator.name).filter((isolator) => STAGE1_ISOLATORS.test(isolator));
  if (ignored !== undefined && ignored.length > 0)
    linux.warn(`rkt: app ${name}: this stage1 has no cgroups, and does not apply ${ignored.join(", ")}`);
  const handles = (event: string) => app?.eventHandlers.some((handler) => handler.name === event) === true;
  const { signal, seconds } = stopSettings(name, manifest.apps[0]?.annotations ?? []);
  written(here.inStage1(STAGE1.hostStop), `${signal} ${seconds}\n`);
  if (handles("post-stop")) written(here.inStage1(STAGE1.hostPostStop), "");
  if (handles("pre-start")) preStart(name);
  // An app that reports its readiness itself does so to rkt's caller: it has the caller's socket.
  if (annotation(manifest.apps[0]?.annotations ?? [], NOTIFY_ANNOTATION) !== "true") written(here.ready, "");
}

function preStart(name: string): void {
  const launcher = here.inStage1(STAGE1.hostLauncher);
  const { status, signal } = spawnSync(launcher, [name, "pre-start"], { stdio: ["ignore", "inherit", "inherit"] });
  if (status === 0) return;
  throw new RktError("pre-start-failed", `its pre-start handler ended with ${signal ?? `status ${status}`}`, {
    exitCode: status ?? 254,
  });
}
