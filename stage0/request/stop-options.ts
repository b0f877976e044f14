/** `--stop-signal`, `--stop-timeout`, and `rkt stop --time`. Pure. */

import type { Rule } from "../../shared/schema/place.ts";
import { signalNumber, stopSeconds } from "../../shared/stop.ts";
import { duration } from "../cli/duration.ts";
import { refuse } from "../cli/values.ts";

/** Whole seconds, as systemd and stage 1's `ask` need them; rounded up. */
export function stopTime(option: string, text: string): number {
  const seconds = Math.ceil(duration(option, text) / 1000);
  if (stopSeconds(String(seconds)) === undefined) refuse(option, text, "must be at most 999999s", "30s");
  return seconds;
}

export const stopSignal: Rule = (text) =>
  signalNumber(text) === undefined ? "must be a signal, such as SIGTERM, SIGQUIT or SIGRTMIN+3" : undefined;
