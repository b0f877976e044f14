/** The environment of what root's rkt starts on the host and hands the caller's terminal, language or clock on to. */

import { callersEnvironment, type Environment } from "../../shared/callers-environment.ts";
import { HOST_ENVIRONMENT } from "../../shared/program.ts";

/**
 * The variables that are handed on. Others are too many to know: each program and each of its libraries has some that
 * name code to load or files to read and write, and a sudo that keeps the caller's environment lets them through.
 */
const KEPT = /^(?:TERM|LANG|LANGUAGE|LC_[A-Z]+|TZ)$/;

/** A value that names a file: of a time zone, a locale or a terminal's description. */
const NAMES_A_FILE = /^[:/]|\.\./;

/** Those variables alone, and programs where the system has them, whatever the caller's PATH says. */
export function hostEnvironment(env: Environment = callersEnvironment()): Record<string, string> {
  const kept = Object.entries(env).flatMap(([name, value]): [string, string][] =>
    value === undefined || !KEPT.test(name) || NAMES_A_FILE.test(value) ? [] : [[name, value]],
  );
  return { ...Object.fromEntries(kept), ...HOST_ENVIRONMENT };
}
