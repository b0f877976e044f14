/**
 * The rules for texts in a manifest (types.md, and the field descriptions of aci.md and pods.md). A rule returns "must
 * be …" for a text that breaks it. If the spec's Go code accepts more than its prose does, and real images rely on
 * that, the rule follows the code and says so.
 */

import type { Rule } from "./place.ts";

const AC_NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
const AC_IDENTIFIER = /^[a-z0-9](?:[a-z0-9._~/-]*[a-z0-9])?$/;

/** As in the spec's Go code, repeated hyphens are valid (docker2aci writes `volume--var-tmp`). */
export const acName: Rule = (text) =>
  AC_NAME.test(text) ? undefined : "must be lower-case letters, digits and inner hyphens";

/** rkt's own limit: an identifier becomes a path, a URL and prefixes of names. */
const MAX_IDENTIFIER = 1024;

/**
 * As in the spec's Go code, repeated separators are valid (`example.com/foo__bar` is a Docker name). Unlike there,
 * empty, `.` and `..` path components are not, because names become paths and URLs.
 */
export const acIdentifier: Rule = (text) => {
  if (text.length > MAX_IDENTIFIER) return `must have at most ${MAX_IDENTIFIER} characters`;
  if (!AC_IDENTIFIER.test(text)) return 'must be lower-case letters, digits and inner "-", ".", "_", "~", "/"';
  return /(?:^|\/)\.{0,2}(?:\/|$)/.test(text) ? 'must not have empty, "." or ".." path components' : undefined;
};

/**
 * The AC Name that is most like a text; "" if no valid character is left. It makes an app's default name from its
 * image's.
 */
export function toACName(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9-]/g, "-")
    .replace(/^-+|-+$/g, "");
}

/**
 * The spec's Go code accepts anything after `sha512-`. Here an ID becomes a path, and one that is shorter than what rkt
 * prints does not identify an image.
 */
export const imageID: Rule = (text) =>
  /^sha512-[0-9a-f]{32,128}$/.test(text) ? undefined : 'must be "sha512-" and 32 to 128 lower-case hex digits';

/** The ID of a dependency: before 0.2.0 of the spec it was a SHA-256 of the same bytes. A prefix is enough for both. */
export const dependencyID: Rule = (text) =>
  imageID(text) === undefined || /^sha256-[0-9a-f]{32,64}$/.test(text)
    ? undefined
    : 'must be "sha512-" and 32 to 128, or "sha256-" and 32 to 64, lower-case hex digits';

/** The spec's examples have "..." as an ID, and tools have copied that: it names no image. */
export const isPlaceholder = (text: unknown): boolean =>
  typeof text === "string" && /^sha(?:256|512)-(?:\.\.\.|…)$/.test(text);

const VERSION =
  /^([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/;

/**
 * Semantic Versioning 2.0.0. As in the spec's Go code, leading zeros are valid and 0.0.0 is not. A later major version
 * may have another meaning, and is refused (types.md, "AC Version Type"); tools of 0.1.0 wrote 1.0.0.
 */
export const acVersion: Rule = (text) => {
  const [, major] = VERSION.exec(text) ?? [];
  if (major === undefined || text === "0.0.0") return 'must be a semantic version like "0.8.11"';
  return Number(major) > 1 ? "must be 0.x or 1.x, which is what this rkt understands" : undefined;
};

/**
 * Whether a version is older than another, without their pre-release and build parts. False for a text that is no
 * version.
 */
export function olderThan(version: string, other: string): boolean {
  const a = VERSION.exec(version);
  const b = VERSION.exec(other);
  for (const part of [1, 2, 3]) {
    const difference = Number(a?.[part]) - Number(b?.[part]);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

const TIMESTAMP =
  /^([0-9]{4})-([0-9]{2})-([0-9]{2})T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$/;

/** RFC 3339 `date-time` of a day that exists. `Date.parse` accepts every valid text. */
export const timestamp: Rule = (text) => {
  const [, year, month, day] = TIMESTAMP.exec(text) ?? [];
  // The Gregorian calendar repeats after 400 years, and Date.UTC takes years below 100 for 19xx.
  const last = new Date(Date.UTC(2000 + (Number(year) % 400), Number(month), 0)).getUTCDate();
  const exists = Number(month) >= 1 && Number(month) <= 12 && Number(day) >= 1 && Number(day) <= last;
  return exists ? undefined : 'must be an RFC 3339 time like "2014-10-27T19:32:27Z"';
};

export const httpUrl: Rule = (text) =>
  /^https?:[^\u0000-\u001f\u007f]*$/i.test(text) ? undefined : "must be an http or https URL";

const CONTROL = /[\u0000-\u001f\u007f]/;
/** PATH_MAX without its NUL. */
const MAX_PATH_BYTES = 4095;

/** An absolute path. It is kept as text; nothing is resolved here. */
export const absolutePath: Rule = (text) => {
  if (!text.startsWith("/")) return "must be absolute";
  if (CONTROL.test(text)) return "must not contain control characters";
  return Buffer.byteLength(text) > MAX_PATH_BYTES ? `must not be longer than ${MAX_PATH_BYTES} bytes` : undefined;
};

/**
 * A path in an app. Paths are compared as text, so that `..`, which would allow two spellings of one path, is refused.
 */
export const pathInApp: Rule = (text) =>
  absolutePath(text) ?? (text.split("/").includes("..") ? 'must not have ".." components' : undefined);

/** A user or group: a name, a number, or the path of a file, which stands for the file's owner. */
export const account: Rule = (text) => {
  if (text === "") return "must not be empty";
  if (text.startsWith("/")) return absolutePath(text);
  return CONTROL.test(text) ? "must not contain control characters" : undefined;
};

/** MAX_ARG_STRLEN of Linux, without its NUL: execve(2) fails with E2BIG above it. */
const MAX_ARGUMENT_BYTES = 131_071;

/** One string of argv or the environment: anything but U+0000, which the JSON reader refuses already. */
export const argument: Rule = (text) => {
  if (text.includes("\0")) return "must not contain U+0000";
  return Buffer.byteLength(text) > MAX_ARGUMENT_BYTES
    ? `must not be longer than ${MAX_ARGUMENT_BYTES} bytes`
    : undefined;
};

export const variableName: Rule = (text) =>
  /^[A-Za-z_][A-Za-z0-9_.-]*$/.test(text)
    ? argument(text)
    : 'must be a letter or "_", then letters, digits, "_", "." and "-"';

export const octalMode: Rule = (text) =>
  /^0*[0-7]{1,4}$/.test(text) ? undefined : 'must be an octal mode from "0" to "7777"';

/** The permission bits of a text that `octalMode` accepts. */
export function parseMode(text: string): number {
  return Number.parseInt(text, 8);
}

export const ipv4: Rule = (text) => {
  const parts = text.split(".");
  const valid = parts.length === 4 && parts.every((part) => /^(?:0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256);
  return valid ? undefined : "must be an IPv4 address";
};

export function oneOf(...allowed: readonly string[]): Rule {
  const rule = `must be ${allowed.map((text) => JSON.stringify(text)).join(" or ")}`;
  return (text) => (allowed.includes(text) ? undefined : rule);
}
