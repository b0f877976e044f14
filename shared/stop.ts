/**
 * How an app is stopped: by which signal, and how long it may take. Annotations of the app, or of its image, say so.
 * Pure.
 */

import { constants } from "node:os";
import { RktError } from "./errors.ts";
import { STOP_SIGNAL_ANNOTATION, STOP_TIMEOUT_ANNOTATION } from "./contract/annotations.ts";
import { annotation } from "./schema/image-manifest.ts";
import type { NameValue } from "./schema/types.ts";

export interface StopSettings {
  /** Number of the signal. */
  signal: number;
  /** Seconds until processes that still run are killed. */
  seconds: number;
}

/** Seconds by default, as in podman and docker. */
export const STOP_TIMEOUT = 10;
/** Eleven days. */
const MAX_SECONDS = 999_999;

const REAL_TIME = 34;
const LAST_SIGNAL = 64;

/** Parses whole seconds; undefined for any other text. */
export function stopSeconds(text: string): number | undefined {
  return /^(?:0|[1-9][0-9]{0,5})$/.test(text) && Number(text) <= MAX_SECONDS ? Number(text) : undefined;
}

/** Number of a signal in any form of kill(1): `SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`; undefined for any other text. */
export function signalNumber(text: string): number | undefined {
  const name = text.toUpperCase().replace(/^SIG/, "");
  const realTime = /^RTMIN(?:\+([0-9]{1,2}))?$/.exec(name);
  const number =
    realTime !== null
      ? REAL_TIME + Number(realTime[1] ?? 0)
      : /^[1-9][0-9]?$/.test(text)
        ? Number(text)
        : constants.signals[`SIG${name}` as NodeJS.Signals];
  return number === undefined || number > LAST_SIGNAL ? undefined : number;
}

/** Reads an app's annotations. Throws "bad-annotation". */
export function stopSettings(app: string, annotations: readonly NameValue[]): StopSettings {
  const read = (name: string, reader: (text: string) => number | undefined, otherwise: number, rule: string) => {
    const text = annotation(annotations, name);
    if (text === undefined) return otherwise;
    const value = reader(text);
    if (value === undefined)
      throw new RktError(
        "bad-annotation",
        `app ${app}: the annotation ${name} is ${JSON.stringify(text)}, not ${rule}`,
        {
          hint: `give it another one: --annotation=${name}=${name === STOP_SIGNAL_ANNOTATION ? "SIGTERM" : STOP_TIMEOUT}`,
        },
      );
    return value;
  };
  return {
    signal: read(STOP_SIGNAL_ANNOTATION, signalNumber, constants.signals.SIGTERM, "the name of a signal"),
    seconds: read(STOP_TIMEOUT_ANNOTATION, stopSeconds, STOP_TIMEOUT, "a whole number of seconds"),
  };
}
