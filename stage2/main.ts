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

import { readFileSync, writeSync } from "node:fs";
import { basename } from "node:path";
import { errorCode, errorText, RktError, usageError } from "../shared/errors.ts";
import { exitNow } from "../shared/exec.ts";
import { ENV_STREAMS_FDS } from "../shared/contract/environment.ts";
import { containerLayout } from "../shared/contract/container-directory.ts";
import { LAUNCH_EXIT, STAGE1 } from "../shared/contract/stage1-root.ts";
import { callersOpenFiles, parseOpenFiles } from "../shared/open-files.ts";
import { parseImageManifest } from "../shared/schema/image-manifest.ts";
import { parsePodManifest } from "../shared/schema/pod-manifest.ts";
import type { App, PodManifest } from "../shared/schema/types.ts";
import { errorLines } from "./error-lines.ts";
import { askForInput, beginApp, hostLaunch, onlyApp } from "./host.ts";
import { linux } from "./kernel.ts";
import { launch } from "./launch.ts";
import { appDirectory, launchPlan, type Process } from "./plan.ts";

function main(argv: readonly string[]): never {
  if (basename(process.argv[1] ?? "") === basename(STAGE1.hostLauncher)) return onHost(argv);
  const asked = parseArguments(argv);
  // Stage 1 gives a service no stderr: what is refused below must be said where the app's own messages go.
  if (asked.command === undefined) linux.connect(2, STAGE1.appStderr(asked.app));
  const manifest = parsePodManifest(read(STAGE1.manifest));
  const inherited = { pid: process.pid, env: process.env, openFiles: openFilesOfStage1() };
  return launch(launchPlan(manifest, asked, inherited, imageApp(manifest, asked.app, STAGE1.app)), linux);
}

function onHost(argv: readonly string[]): never {
  // Before anything that takes time: who it is later shows whether it still waits.
  const parent = process.ppid;
  const here = containerLayout(".");
  const manifest = parsePodManifest(read(here.manifest));
  const asked = argv.length === 0 ? { app: onlyApp(manifest) } : parseArguments(argv);
  const host = hostLaunch(manifest, parent);
  const imagesApp = imageApp(manifest, asked.app, here.app);
  const plan = launchPlan(
    manifest,
    asked,
    { pid: process.pid, env: process.env, host, openFiles: callersOpenFiles() },
    imagesApp,
  );
  if (argv.length === 0) {
    askForInput(manifest, process.env[ENV_STREAMS_FDS]);
    beginApp(manifest, asked.app, imagesApp);
  }
  return launch(plan, linux);
}

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

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new RktError("bad-layout", `cannot read the manifest: ${errorText(error)}`, { cause: error });
  }
}

const argv = process.argv.slice(2);
process.umask(0o022);
try {
  main(argv);
} catch (error) {
  writeSync(2, errorLines(argv[0], error));
  // A system call filter may hold already, which forbids what the runtime does on its own way out.
  exitNow(error instanceof RktError ? error.exitCode : LAUNCH_EXIT.internal);
}
