/** What the build's programs share: errors, options and sizes. */

import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { EXIT_FAILURE, errorText, printable, RktError, usageError } from "../shared/errors.ts";

/** Runs a program. An error is printed on stderr, in the form of rkt's own errors, and sets the exit status. */
export async function program(name: string, main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (thrown) {
    const error = argumentError(thrown);
    const known = error instanceof RktError;
    const text = known ? printable(errorText(error)) : error instanceof Error ? error.stack : String(error);
    process.stderr.write(`${name}: ${text}\n`);
    if (known && error.hint !== undefined) process.stderr.write(`hint: ${printable(error.hint)}\n`);
    process.exitCode = known ? error.exitCode : EXIT_FAILURE;
  }
}

/**
 * Resolves a path of the command line. npm runs scripts in the project's directory; INIT_CWD is the directory in which
 * the user typed the path.
 */
export function userPath(path: string): string {
  const { npm_package_json: packageJson, INIT_CWD: typedIn } = process.env;
  const byNpm = packageJson !== undefined && dirname(packageJson) === process.cwd();
  return resolve(byNpm && typedIn !== undefined ? typedIn : ".", path);
}

/** Resolves a path of the command line, which must exist. */
export function existingPath(option: string, path: string): string {
  const full = userPath(path);
  if (!existsSync(full)) throw usageError(`--${option}: there is no ${full}`);
  return full;
}

/** Makes usage errors of the errors of `util.parseArgs`. */
function argumentError(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error) || !String(error.code).startsWith("ERR_PARSE_ARGS")) return error;
  return usageError(error.message, "--help lists the options");
}

/** The option's value if it is one of `choices`. */
export function choice<T extends string>(option: string, value: string, choices: readonly T[]): T {
  const match = choices.find((c) => c === value);
  if (match === undefined) throw usageError(`--${option} is one of ${choices.join(", ")}, not ${value}`);
  return match;
}

/** Parses `--level`. Absent: the format's default. */
export function level(value: string | undefined): { level?: number } {
  if (value === undefined) return {};
  if (!/^\d{1,2}$/.test(value)) throw usageError(`--level takes a number, not ${value}`);
  return { level: Number(value) };
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
