/** The search path of apps and of programs that root starts. */

/** PATH of an app that sets none (ace.md, "Execution Environment"). */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * The whole environment of a program that root starts. The caller's variables could make it load code or read files.
 */
export const HOST_ENVIRONMENT: Readonly<Record<string, string>> = { PATH: DEFAULT_PATH };
