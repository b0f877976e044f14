/**
 * The environment that this program was started with. Our executables first empty the environment that the runtime and
 * its libraries see (ADR 9): process.env is empty, so that no variable controls them behind our back. The original is
 * still in /proc/self/environ (proc_pid_environ(5)). It is not trusted: a module that uses a variable checks it.
 */

import { readFileSync } from "node:fs";

export type Environment = Readonly<Record<string, string | undefined>>;

let callers: Environment | undefined;

/** The caller's environment. It is read once, since the kernel does not change it. */
export const callersEnvironment = (): Environment => (callers ??= parseEnvironment(readFileSync("/proc/self/environ")));

/** Pure. If a name is there twice, the first is used, as by getenv(3). An entry without a name or "=" is skipped. */
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
