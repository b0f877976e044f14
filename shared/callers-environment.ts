/**
 * The environment that this program was started with. Our executables begin by emptying the one that the runtime and its
 * libraries look at (ADR 9), so process.env is empty in them, and no variable steers what we do not know of. What the kernel was given
 * stays in /proc/self/environ (proc_pid_environ(5)). Trusts nothing of it: the module that uses a variable checks it.
 */

import { readFileSync } from "node:fs";

export type Environment = Readonly<Record<string, string | undefined>>;

let callers: Environment | undefined;

/** Read once: the kernel gives a process its environment when it starts. */
export const callersEnvironment = (): Environment => (callers ??= parseEnvironment(readFileSync("/proc/self/environ")));

/** Pure. Of several variables of a name the first counts, as for getenv(3); what has no name or no "=" is none. */
export function parseEnvironment(bytes: Buffer): Environment {
  // Without a prototype: a variable may be called `__proto__`.
  const environment: Record<string, string> = Object.create(null);
  for (const variable of bytes.toString("utf8").split("\0")) {
    const end = variable.indexOf("=");
    const name = variable.slice(0, Math.max(end, 0));
    if (name !== "" && !(name in environment)) environment[name] = variable.slice(end + 1);
  }
  return environment;
}

/** Lets the runtime see these of the caller's variables: for what it, and not our own code, reads them. */
export function showRuntime(names: readonly string[]): void {
  const environment = callersEnvironment();
  for (const name of names) {
    const value = environment[name];
    if (value !== undefined) process.env[name] = value;
  }
}
