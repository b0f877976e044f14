import { spawnSync } from "node:child_process";
import { closeSync } from "node:fs";
import { errorText, RktError, usageError } from "../../shared/errors.ts";
import { ENV_STOP_TIME } from "../../shared/contract/environment.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { stopSettings } from "../../shared/stop.ts";
import { type Command, readLine } from "../cli/command.ts";
import { type RunningEntrypoint, whenRunning } from "../container/entrypoint.ts";
import { readManifest } from "../container/inspect.ts";
import type { ContainerRef } from "../container/lifecycle.ts";
import { isLocked } from "../container/lock.ts";
import { forEachContainer, selectContainers, uuidFileOption } from "../container/select.ts";
import { duration } from "../cli/duration.ts";
import { print } from "../terminal/output.ts";
import { stopTime } from "../request/stop-options.ts";

const options = {
  force: { type: "boolean", description: "kill the container: its apps can't end in order" },
  time: {
    type: "string",
    value: "DURATION",
    description:
      "time for each app to end before it is killed, instead of its own (10s, or --stop-timeout)",
  },
  timeout: {
    type: "string",
    value: "DURATION",
    description:
      "how long to wait for the end (as long as the apps may take, at least 1m); afterwards the container still ends",
  },
  ...uuidFileOption,
} as const;

export const command: Command = {
  usage: "stop [options] UUID...",
  description:
    "Stops running containers and waits until they have ended. The apps are stopped one after the other, the last one first: all processes of an app get its stop signal (SIGTERM, or --stop-signal of `rkt run`), and SIGKILL if they have not ended in the app's time. A container that ^Z has suspended is continued first.",
  examples: [
    ["rkt stop 6ba7b810", "in order"],
    ["rkt stop --time=2m 6ba7b810", "in order, with two minutes for each app"],
    ["rkt stop --force --uuid-file=/run/db.uuid", "at once"],
  ],
  options,
  operands: [0, 1000],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const timeout = given.timeout === undefined ? undefined : duration("timeout", given.timeout);
    const time = given.time === undefined ? undefined : stopTime("time", given.time);
    if (given.force && time !== undefined) throw usageError("--force gives the apps no time: --time has no meaning");
    const containers = selectContainers(globals.dir, operands, given["uuid-file"]);
    const start = Date.now();
    await forEachContainer(containers, async (ref) => {
      const end = start + (timeout ?? longestStop(ref, time));
      await request(ref, { force: given.force, time }, end);
      await ended(ref, end);
      if (!globals.quiet) print(`${ref.uuid}\n`);
    });
  },
};

const LEAST_WAIT = 60_000;
/**
 * Seconds that the end of an app takes in addition to its own time, for its post-stop handler and the killing of
 * processes.
 */
const EXTRA = 25;

/** Milliseconds that a container may take to end in order: its apps end one after the other. */
function longestStop(ref: ContainerRef, time: number | undefined): number {
  let apps: PodManifest["apps"];
  try {
    ({ apps } = readManifest(ref.dir));
  } catch {
    // `request` reports a damaged or vanished container.
    return LEAST_WAIT;
  }
  const seconds = apps.map(({ name, annotations }) => (time ?? stopSettings(name, annotations).seconds) + EXTRA);
  return Math.max(LEAST_WAIT, 1000 * seconds.reduce((sum, one) => sum + one, 0));
}

interface StopOptions {
  force: boolean;
  /** Seconds for each app; undefined: its own. */
  time: number | undefined;
}

/** Runs the stage1's `stop` in the container's directory. Waits until a container that is just starting can be stopped. */
async function request(ref: ContainerRef, how: StopOptions, end: number): Promise<void> {
  run(await whenRunning(ref, "stop", end), ref, how);
}

function run({ pid, directory, path, env }: RunningEntrypoint, ref: ContainerRef, { force, time }: StopOptions): void {
  const done = spawnSync(path, [`--pid=${pid}`, ...(force ? ["--force"] : [])], {
    cwd: `/proc/self/fd/${directory}`,
    env: time === undefined ? env : { ...env, [ENV_STOP_TIME]: String(time) },
    stdio: ["ignore", "ignore", "inherit"],
  });
  closeSync(directory);
  if (done.error !== undefined || done.status !== 0)
    throw new RktError(
      "stop-failed",
      `cannot stop container ${ref.uuid}: ${done.error === undefined ? `its stage1's stop ended with ${done.status ?? done.signal}` : errorText(done.error)}`,
      {
        hint: "`rkt stop --force` kills it",
        cause: done.error,
      },
    );
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

/** Waits until the lock is free, or the time is over. It probes the lock, because flock(2) has no timeout. */
async function ended(ref: ContainerRef, end: number): Promise<void> {
  while (isLocked(ref.dir) === true) {
    if (Date.now() > end)
      throw new RktError("stop-timeout", `container ${ref.uuid} has not ended in time`, {
        hint: "`rkt stop --force` kills it",
      });
    await pause();
  }
}
