/**
 * Stage 2's executable: `launcher APP [pre-start|post-stop]`, started by
 * systemd in the stage1 root once for each process of an app, and `launcher
 * APP enter COMMAND…`, started by stage 1's entrypoint of that name. Ends by
 * becoming the process; says why on standard error and in its exit status
 * (LAUNCH_EXIT) if it can't.
 */

import { readFileSync, writeSync } from "node:fs";
import { errorText, printable, RktError, usageError } from "../shared/errors.ts";
import { exitNow } from "../shared/exec.ts";
import { LAUNCH_EXIT, STAGE1 } from "../shared/layout.ts";
import { parseImageManifest } from "../shared/schema/image-manifest.ts";
import { parsePodManifest } from "../shared/schema/pod-manifest.ts";
import type { App, PodManifest } from "../shared/schema/types.ts";
import { linux } from "./kernel.ts";
import { launch } from "./launch.ts";
import { appDirectory, launchPlan, type Process } from "./plan.ts";

function main(argv: readonly string[]): never {
  const asked = parseArguments(argv);
  const manifest = parsePodManifest(read(STAGE1.manifest));
  const inherited = { pid: process.pid, env: process.env };
  return launch(launchPlan(manifest, asked, inherited, imageApp(manifest, asked.app)), linux);
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
function imageApp(manifest: PodManifest, name: string): App | undefined {
  if (manifest.apps.find((app) => app.name === name)?.app !== undefined) return undefined;
  return parseImageManifest(read(`${STAGE1.app(appDirectory(manifest, name))}/manifest`)).app;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new RktError("bad-layout", `cannot read the manifest: ${errorText(error)}`, { cause: error });
  }
}

const argv = process.argv.slice(2);
try {
  main(argv);
} catch (error) {
  const known = error instanceof RktError;
  const text = known
    ? printable(error.message)
    : error instanceof Error
      ? (error.stack ?? error.message)
      : String(error);
  const app = argv[0] === undefined ? "" : ` app ${printable(argv[0])}:`;
  writeSync(2, `rkt:${app} ${text}\n`);
  if (known && error.hint !== undefined) writeSync(2, `hint: ${printable(error.hint)}\n`);
  // A system call filter may hold already, which forbids what the runtime does on its own way out.
  exitNow(known ? error.exitCode : LAUNCH_EXIT.internal);
}
