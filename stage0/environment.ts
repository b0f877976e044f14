/** The environment of programs of the host that root's rkt starts. */

import { DEFAULT_PATH } from "../shared/program.ts";

/**
 * What would tell a runtime, a loader, a library or a shell which code to run, or where to write what it does; a sudo
 * that keeps the caller's environment lets it through.
 */
const STEERING =
  /^(?:NODE_|LD_|OPENSSL_|SSLKEYLOGFILE$|UV_|ICU_|GCONV_PATH$|GLIBC_|MALLOC_|BASH_|ENV$|SHELLOPTS$|IFS$|TAR_OPTIONS$|XZ_)/;

/** The caller's variables without those, and programs where the system has them, whatever the caller's PATH says. */
export function hostEnvironment(env: Readonly<NodeJS.ProcessEnv> = process.env): Record<string, string> {
  const kept = Object.entries(env).flatMap(([name, value]): [string, string][] =>
    value === undefined || STEERING.test(name) ? [] : [[name, value]],
  );
  return { ...Object.fromEntries(kept), PATH: DEFAULT_PATH };
}
