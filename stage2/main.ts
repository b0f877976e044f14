/**
 * Stage 2's executable: `launcher APP [pre-start|post-stop]`, started by
 * systemd in the stage1 root once for each process of an app, and `launcher
 * APP enter COMMAND…`, started by stage 1's entrypoint of that name. Ends by
 * becoming the process; says why on standard error and in its exit status
 * (LAUNCH_EXIT) if it can't.
 *
 * Called `host-launcher`, it does the same on the host, from the container
 * directory (ADR 5); without arguments it is for the only app there is.
 */

import { existsSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { basename } from "node:path";
import { hierarchies } from "../shared/cgroup-hierarchies.ts";
import { callersEnvironment } from "../shared/callers-environment.ts";
import { errorCode, errorText, RktError, usageError } from "../shared/errors.ts";
import { exitNow } from "../shared/exec.ts";
import { ENV_STREAMS_FDS } from "../shared/contract/environment.ts";
import { containerLayout } from "../shared/contract/container-directory.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import { callersOpenFiles, parseOpenFiles } from "../shared/open-files.ts";
import { renderError } from "../shared/render-error.ts";
import { parseImageManifest } from "../shared/schema/image-manifest.ts";
import { parsePodManifest } from "../shared/schema/pod-manifest.ts";
import type { App, PodManifest } from "../shared/schema/types.ts";
import { type CgroupView, cgroupViews } from "./cgroup-views.ts";
import { askForInput, beginApp, hostLaunch, onlyApp } from "./host.ts";
import { linux } from "./kernel.ts";
import { launch, whoFails } from "./launch.ts";
import { withoutOtherApps } from "./own-section.ts";
import { appDirectory, launchPlan, type Process } from "./plan.ts";

function main(argv: readonly string[], parent: number): never {
  if (basename(process.argv[1] ?? "") === basename(STAGE1.hostLauncher)) return onHost(argv, parent);
  const asked = parseArguments(argv);
  // Stage 1 gives a service no stderr: what is refused below must be said where the app's own messages go.
  if (asked.command === undefined) linux.connect(2, STAGE1.appStderr(asked.app));
  const manifest = parsePodManifest(withoutOtherApps(read(STAGE1.manifest), asked.app));
  const cgroups = asked.command === undefined ? cgroupsOf(asked.app) : undefined;
  const inherited = { ...ofProcess(), openFiles: openFilesOfStage1(), cgroups };
  return launch(launchPlan(manifest, asked, inherited, imageApp(manifest, asked.app, STAGE1.app)), linux);
}

function onHost(argv: readonly string[], parent: number): never {
  const here = containerLayout(".");
  const manifest = parsePodManifest(read(here.manifest));
  const asked = argv.length === 0 ? { app: onlyApp(manifest) } : parseArguments(argv);
  const host = hostLaunch(manifest, parent);
  const imagesApp = imageApp(manifest, asked.app, here.app);
  const plan = launchPlan(
    manifest,
    asked,
    { ...ofProcess(), host, openFiles: callersOpenFiles() },
    imagesApp,
  );
  if (argv.length === 0) {
    askForInput(manifest, callersEnvironment()[ENV_STREAMS_FDS]);
    beginApp(manifest, asked.app, imagesApp);
  }
  return launch(plan, linux);
}

const ofProcess = () => ({ pid: process.pid, permitted: linux.permitted(), env: callersEnvironment() });

const USAGE = "usage: launcher APP [pre-start|post-stop|enter COMMAND...]";

function parseArguments([app, event, ...rest]: readonly string[]): Process {
  if (app !== undefined && event === "enter" && rest.length > 0) return { app, command: rest };
  if (app === undefined || rest.length > 0) throw usageError(USAGE);
  if (event !== undefined && event !== "pre-start" && event !== "post-stop")
    throw usageError(`no such event: "${event}"`);
  return { app, event };
}

/** stage 0 writes an app section for each app; a manifest written by hand may leave it to the image. */
function imageApp(manifest: PodManifest, name: string, directory: (appDir: string) => string): App | undefined {
  if (manifest.apps.find((app) => app.name === name)?.app !== undefined) return undefined;
  return parseImageManifest(read(`${directory(appDirectory(manifest, name))}/manifest`)).app;
}

/** A stage1 that says nothing leaves it to us. */
function openFilesOfStage1(): ReturnType<typeof parseOpenFiles> {
  try {
    return parseOpenFiles(readFileSync(STAGE1.openFiles, "utf8"));
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function cgroupsOf(app: string): CgroupView[] {
  const mounted = hierarchies(readFileSync("/proc/self/mountinfo", "utf8"));
  const own = STAGE1.appCgroups(app);
  const joined = existsSync(own) ? readdirSync(own) : [];
  return cgroupViews(app, mounted, readFileSync("/proc/self/cgroup", "utf8"), joined);
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new RktError("bad-layout", `cannot read the manifest: ${errorText(error)}`, { cause: error });
  }
}

const argv = process.argv.slice(2);
// Before anything that takes time: who it is later shows whether it still waits.
const parent = process.ppid;
process.umask(0o022);
try {
  // Before the manifest of all apps is read, and before a file of an app is opened: root of another app can send this
  // process SIGQUIT and raise its limit of cores (prlimit(2)), and it must leave none in an app's root.
  linux.hide();
  main(argv, parent);
} catch (error) {
  const { text, status } = renderError(error, { who: whoFails(argv[0]) });
  writeSync(2, text);
  // A system call filter may hold already, which forbids what the runtime does on its own way out.
  exitNow(status);
}
