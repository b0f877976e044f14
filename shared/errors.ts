/**
 * The error of a failed operation: a code that scripts can match, one sentence for the user, a hint with the way out,
 * and the cause.
 *
 * The innermost error names the operation and the object ("open /x: EACCES"); each layer above may add its own object
 * ("cannot extract image sha512-…"). A plain `Error` is for states that cannot happen: its stack is always shown, an
 * RktError's only with --debug.
 */

import type { ErrorCode } from "./error-codes.ts";

/** Exit status if rkt itself, and not the app, has failed. */
export const EXIT_FAILURE = 254;
/** Exit status if the command line is wrong. */
export const EXIT_USAGE = 2;

export interface RktErrorOptions {
  /** What the user can do about it; one sentence without the word "hint". */
  hint?: string | undefined;
  /** Exit status of the process; 254 by default. */
  exitCode?: number;
  cause?: unknown;
}

export class RktError extends Error {
  /** Stable: docs/operate/errors.md. */
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly exitCode: number;

  constructor(code: ErrorCode, message: string, options: RktErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RktError";
    this.code = code;
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? EXIT_FAILURE;
  }
}

/** The command line is wrong: exit status 2. */
export function usageError(message: string, hint?: string): RktError {
  return new RktError("usage", message, { exitCode: EXIT_USAGE, hint });
}

/** `error.code` of the runtime's or an RktError, undefined for everything else. */
export function errorCode(error: unknown): string | undefined {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return undefined;
}

/** One line for an error of any kind: `ENOENT: no such file…` becomes `open /x: ENOENT`. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const e = error as NodeJS.ErrnoException & { dest?: string };
  if (!(error instanceof RktError) && e.syscall !== undefined && e.code !== undefined) {
    const path = e.path === undefined ? "" : ` ${e.path}`;
    const dest = e.dest === undefined ? "" : ` -> ${e.dest}`;
    return `${e.syscall}${path}${dest}: ${e.code}`;
  }
  return error.message;
}

/**
 * Makes text from outside safe for one line of a terminal: control characters
 * (C0, DEL, C1), bidirectional controls and line separators become escapes;
 * credentials in URLs, up to the last "@" before the path, become `***`.
 */
export function printable(text: string): string {
  if (!/:\/\/|[Hh][Tt]{2}[Pp][Ss]?:|[^\u0020-\u007e\u00a0-\u061b\u061d-\u200d\u2010-\u2027\u202f-\u2065\u206a-\uffff]/.test(text))
    return text;
  return (
    text
      // A password may hold an "@", too. "http:user:password@host" counts as a URL: a URL parser accepts it, and users
      // mistype.
      .replace(/([a-z][a-z0-9+.-]{0,31}:\/\/|https?:[\\/]*)[^/\s]+@/gi, "$1***@")
      .replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, (c) => {
        const code = c.charCodeAt(0);
        if (c === "\n") return "\\n";
        if (c === "\t") return "\\t";
        if (c === "\r") return "\\r";
        return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
      })
  );
}

/** Hides the credentials of a malformed URL that a user typed: everything before the last "@". */
export const withoutCredentials = (url: string): string => url.replace(/^([^:/?#]*:[\\/]*).*@/s, "$1***@");
