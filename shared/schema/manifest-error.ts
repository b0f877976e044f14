/**
 * The errors in a manifest: one sentence for each, with the object, the JSON path and the broken rule.
 */

import { RktError } from "../errors.ts";

/** One step from a JSON value into its parts: a member's name or an element's index. */
export type Step = string | number;

/** Code "manifest-invalid". The message is the first problem; `errors` are all that were found. */
export class ManifestError extends RktError {
  readonly errors: readonly string[];

  constructor(first: string, ...others: readonly string[]) {
    super("manifest-invalid", first);
    this.name = "ManifestError";
    this.errors = [first, ...others];
  }
}

/** `manifest: app.ports[0].port: must be …`; a problem of the whole object has no path. */
export function problem(object: string, path: string, rule: string): string {
  return path === "" ? `${object}: ${rule}` : `${object}: ${path}: ${rule}`;
}

const PLAIN_NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/;

/** `app.mountPoints[1].path`; a name that is no plain word is quoted: `app.userLabels["a b"]`. */
export function joinPath(base: string, steps: readonly Step[]): string {
  let path = base;
  for (const step of steps) {
    if (typeof step === "number") path += `[${step}]`;
    else if (!PLAIN_NAME.test(step)) path += `[${quote(step)}]`;
    else path += path === "" ? step : `.${step}`;
  }
  return path;
}

const MAX_SHOWN = 60;

/** Text from a manifest as a message shows it: a JSON string, cut when long. */
export function quote(text: string): string {
  return text.length > MAX_SHOWN ? `${JSON.stringify(text.slice(0, MAX_SHOWN))}…` : JSON.stringify(text);
}
