import { RktError, usageError } from "../../shared/errors.ts";
import { type Command, readLine } from "../command.ts";
import { collect } from "../container/collect.ts";
import { print } from "../output.ts";

const options = {
  "grace-period": { type: "string", value: "DURATION", description: "how long an exited container stays (30m)" },
  "expire-prepared": { type: "string", value: "DURATION", description: "how long a prepared container may wait (24h)" },
  "mark-only": { type: "boolean", description: "mark what has exited, remove nothing" },
} as const;

export const command: Command = {
  usage: "gc [options]",
  description:
    "Removes containers that have ended. The first time gc meets an exited container it marks it; when the grace period has passed since, it removes it. What a killed rkt left half-made is removed at once.",
  examples: [
    ["rkt gc", "as a timer would run it"],
    ["rkt gc --grace-period=0", "everything that has ended, now"],
  ],
  options,
  operands: [0, 0],
  needsRoot: true,
  async run(line, globals) {
    const { options: given } = await readLine(line, options);
    const result = collect(globals.dir, {
      gracePeriod: duration("grace-period", given["grace-period"] ?? "30m"),
      expirePrepared: duration("expire-prepared", given["expire-prepared"] ?? "24h"),
      markOnly: given["mark-only"],
      now: Date.now(),
    });
    if (!globals.quiet) {
      for (const uuid of result.marked) if (!result.removed.includes(uuid)) print(`marked ${uuid}\n`);
      for (const uuid of result.removed) print(`removed ${uuid}\n`);
    }
    const [first] = result.failed;
    if (first !== undefined)
      throw new RktError("gc-failed", `cannot remove ${result.failed.length} container(s), the first ${first.uuid}`, {
        cause: first.error,
      });
  },
};

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration as Go writes them: `90s`, `1h30m`, or plain `0`. */
export function duration(option: string, text: string): number {
  if (text === "0") return 0;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join("") !== text)
    throw usageError(`--${option}: ${JSON.stringify(text)} is no duration`, "write it as 30s, 10m or 1h30m");
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * (UNITS[unit ?? ""] ?? 0), 0);
}
