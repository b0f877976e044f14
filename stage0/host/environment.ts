import { callersEnvironment, type Environment } from "../../shared/callers-environment.ts";
import { HOST_ENVIRONMENT } from "../../shared/program.ts";

/**
 * The caller's variables that programs of the host inherit. All others are dropped: a program or its libraries may load
 * code or write files that a variable names, and sudo may keep the variables of an ordinary user.
 */
const KEPT = /^(?:TERM|LANG|LANGUAGE|LC_[A-Z]+|TZ)$/;

/** A value that names a file, as of a time zone, a locale or a terminal's description. */
const NAMES_A_FILE = /^[:/]|\.\./;

/**
 * The environment of programs that rkt starts on the host: those variables, and the system's PATH instead of the
 * caller's.
 */
export function hostEnvironment(env: Environment = callersEnvironment()): Record<string, string> {
  const kept = Object.entries(env).flatMap(([name, value]): [string, string][] =>
    value === undefined || !KEPT.test(name) || NAMES_A_FILE.test(value) ? [] : [[name, value]],
  );
  return { ...Object.fromEntries(kept), ...HOST_ENVIRONMENT };
}
