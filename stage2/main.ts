/**
 * Stage 2's executable. systemd starts `launcher APP [pre-start|post-stop]` in the stage1 root, once for an app and for
 * each of its handlers. Stage 1's entrypoint `enter` starts `launcher APP enter COMMAND…`. The launcher becomes that
 * process. If it can't, it says why on standard error and in its exit status (LAUNCH_EXIT).
 *
 * Under the name `host-launcher` it does the same for fly, on the host, in the container directory (ADR 5). Without
 * arguments it starts the container's only app.
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
import { launch, messagePrefix } from "./launch.ts";
import { withoutOtherApps } from "./without-other-apps.ts";
import { appDirectory, launchPlan, type Process } from "./plan.ts";

function main(argv: readonly string[], parent: number): never {
  if (basename(process.argv0) === basename(STAGE1.hostLauncher)) return onHost(argv, parent);
  const asked = parseArguments(argv);
  // Stage 1 gives a service no stderr: messages about failures go to the app's own.
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

/** The image's app section, for a manifest that was written by hand without one. Stage 0 writes one for each app. */
function imageApp(manifest: PodManifest, name: string, directory: (appDir: string) => string): App | undefined {
  if (manifest.apps.find((app) => app.name === name)?.app !== undefined) return undefined;
  return parseImageManifest(read(`${directory(appDirectory(manifest, name))}/manifest`)).app;
}

/** The limit that stage 1 has written down; undefined if it has written none. */
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
// Read at once: if the parent ends meanwhile, `endWithParent` sees that it has changed.
const parent = process.ppid;
process.umask(0o022);
try {
  // Before it reads the manifest of all apps and opens a file of an app: the root of another app can raise this
  // process's limit of cores (prlimit(2)) and send it SIGQUIT, and its core must not land in an app's root.
  linux.makeUndumpable();
  main(argv, parent);
} catch (error) {
  const { text, status } = renderError(error, { who: messagePrefix(argv[0]) });
  writeSync(2, text);
  // Ends at once: a system call filter may be in place that forbids what the runtime does when it ends.
  exitNow(status);
}
