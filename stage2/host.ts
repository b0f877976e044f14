/**
 * The launcher on the host (ADR 5): in the container directory instead of in a
 * stage1 root, for apps that are isolated by their file system alone. They
 * share the host's kernel file systems, network, name and processes.
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

/** Of the isolators that the launcher does not apply itself, those of stage 1. */
const STAGE1_ISOLATORS = /^(resource\/.*|os\/linux\/(cpu-shares|selinux-context)|os\/unix\/sysctl)$/;

/** The one app of the container. Throws "not-on-host" for what takes more isolation than there is. */
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
      // Asked for by who makes a root, not by who enters one.
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

/** The host's own files, unless the user asked for others. */
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

/** An interactive app gets the caller's input, or a terminal in the place of the caller's: by who has made its streams. */
export function askForInput(manifest: PodManifest, fds: string | undefined): void {
  if (annotation(manifest.annotations, ANNOTATIONS.interactive) !== "true" || fds === undefined) return;
  const [request = -1, terminal] = fds.split(",").map(Number);
  if (terminal !== undefined) {
    for (const fd of [0, 1, 2]) dup2(terminal, fd);
    setControllingTerminal(0);
  }
  writeSync(request, terminal === undefined ? "p" : "t");
}

/** What comes before the app: its supervisor learns of it, its handler runs to the end. */
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
  // Who says himself that he is ready says it to whoever started rkt, whose socket he has.
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
