import { errorText, RktError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { releaseDeadNetworks } from "../../shared/network-claims.ts";
import { type Command, readLine } from "../cli/command.ts";
import { collect, RELEASE_LIMIT } from "../container/collect.ts";
import { duration } from "../cli/duration.ts";
import { print, say } from "../terminal/output.ts";
import { collectTemporaries } from "../store/temporary.ts";

const options = {
  "grace-period": { type: "string", value: "DURATION", description: "how long an exited container stays (30m)" },
  "expire-prepared": { type: "string", value: "DURATION", description: "how long a prepared container may wait (24h)" },
  "mark-only": { type: "boolean", description: "mark what has exited, remove nothing" },
} as const;

const hintOf = (error: unknown): string | undefined => (error instanceof RktError ? error.hint : undefined);

export const command: Command = {
  usage: "gc [options]",
  description:
    "Removes containers that have ended. gc first marks an exited container, and removes it when the grace period has passed since. It removes at once what a killed rkt has left of an unfinished container or image. It also releases the networks of containers that have ended, even of those whose data directory was lost.",
  examples: [
    ["rkt gc", "as a timer would run it"],
    ["rkt gc --grace-period=0", "everything that has ended, now"],
  ],
  options,
  operands: [0, 0],
  needsRoot: true,
  async run(line, globals) {
    const { options: given } = readLine(line, options);
    const result = collect(globals.dir, {
      gracePeriod: duration("grace-period", given["grace-period"] ?? "30m"),
      expirePrepared: duration("expire-prepared", given["expire-prepared"] ?? "24h"),
      markOnly: given["mark-only"],
      now: Date.now(),
    });
    collectTemporaries(dataLayout(globals.dir));
    // Also for containers whose data directory was lost. A container that failed above is not reported twice.
    const unreleased = releaseDeadNetworks({ limit: RELEASE_LIMIT, again: true }).filter(
      ({ uuid }) => !result.failed.some((other) => other.uuid === uuid),
    );
    if (!globals.quiet) {
      for (const uuid of result.marked) if (!result.removed.includes(uuid)) print(`marked ${uuid}\n`);
      for (const uuid of result.removed) print(`removed ${uuid}\n`);
    }
    const [first, ...others] = result.failed;
    for (const { error } of first === undefined ? unreleased.slice(1) : unreleased) say(error.message, error.hint);
    for (const { uuid, error } of others) say(`cannot remove container ${uuid}: ${errorText(error)}`, hintOf(error));
    if (first !== undefined)
      throw new RktError("gc-failed", `cannot remove container ${first.uuid}: ${errorText(first.error)}`, {
        cause: first.error,
      });
    if (unreleased[0] !== undefined) throw unreleased[0].error;
  },
};
