import { spawnSync } from "node:child_process";
import { closeSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { type Command, readLine } from "../command.ts";
import { type RunningEntrypoint, runningEntrypoint, STARTING } from "../container/entrypoint.ts";
import type { ContainerRef } from "../container/lifecycle.ts";
import { isLocked } from "../container/lock.ts";
import { forEachContainer, selectContainers, uuidFileOption } from "../container/select.ts";
import { duration } from "../duration.ts";
import { print } from "../output.ts";

const options = {
  force: { type: "boolean", description: "kill it: the apps get no chance to end in order" },
  timeout: { type: "string", value: "DURATION", description: "how long to wait for the end (1m)" },
  ...uuidFileOption,
} as const;

export const command: Command = {
  usage: "stop [options] UUID...",
  description:
    "Stops running containers and waits until they have ended. The apps get SIGTERM, the last one first, and SIGKILL when they have not ended ten seconds later.",
  examples: [
    ["rkt stop 6ba7b810", "in order"],
    ["rkt stop --force --uuid-file=/run/db.uuid", "at once"],
  ],
  options,
  operands: [0, 1000],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = await readLine(line, options);
    const timeout = duration("timeout", given.timeout ?? "1m");
    const containers = selectContainers(globals.dir, operands, given["uuid-file"]);
    const end = Date.now() + timeout;
    await forEachContainer(containers, async (ref) => {
      await request(ref, given.force, end);
      await ended(ref, end);
      if (!globals.quiet) print(`${ref.uuid}\n`);
    });
  },
};

/** Runs the stage1's own `stop`, in the container's directory, as soon as there is somebody to be told. */
async function request(ref: ContainerRef, force: boolean, end: number): Promise<void> {
  for (;;) {
    let entrypoint: RunningEntrypoint;
    try {
      entrypoint = runningEntrypoint(ref, "stop");
    } catch (error) {
      if (errorCode(error) !== STARTING || Date.now() > end) throw error;
      await pause();
      continue;
    }
    // In the same turn: what was found out about a process holds for a moment.
    run(entrypoint, ref, force);
    return;
  }
}

function run({ pid, directory, path, env }: RunningEntrypoint, ref: ContainerRef, force: boolean): void {
  const done = spawnSync(path, [`--pid=${pid}`, ...(force ? ["--force"] : [])], {
    cwd: `/proc/self/fd/${directory}`,
    env,
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

/** There is no event for a lock that becomes free; a short sleep between probes leaves the deadline in our hands. */
async function ended(ref: ContainerRef, end: number): Promise<void> {
  while (isLocked(ref.dir) === true) {
    if (Date.now() > end)
      throw new RktError("stop-timeout", `container ${ref.uuid} has not ended in time`, {
        hint: "`rkt stop --force` kills it",
      });
    await pause();
  }
}
