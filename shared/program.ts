/** The search path of apps and of programs that root starts. */

/** PATH of an app that does not say otherwise (ace.md, "Execution Environment"). */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The whole environment of a program that root starts: the caller's variables name code and files for one program or another. */
export const HOST_ENVIRONMENT: Readonly<Record<string, string>> = { PATH: DEFAULT_PATH };
