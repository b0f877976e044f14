/** What `exec[0]` of an app can mean (aci.md, "exec"), for who starts it and for who foresees that it can't be. Pure. */

import type { Stats } from "node:fs";

/** PATH of an app that does not say otherwise (ace.md, "Execution Environment"). */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Of a program that root starts: of the caller's variables, which name code and files for one program or another, none. */
export const HOST_ENVIRONMENT: Readonly<Record<string, string>> = { PATH: DEFAULT_PATH };

/** Where a program is looked for, in order (execvp(3)): a path stands for itself, relative to the working directory. */
export function programPaths(name: string, searchPath: string): string[] {
  if (name.includes("/")) return [name];
  // An empty component is the working directory.
  return searchPath.split(":").map((dir) => `${dir === "" ? "." : dir}/${name}`);
}

/** What keeps a file from being anybody's program, as the end of a sentence. */
export function notAProgram(stat: Stats): string | undefined {
  if (stat.isDirectory()) return "it is a directory";
  if (!stat.isFile()) return "it is not a regular file";
  return (stat.mode & 0o111) === 0 ? `it is not executable (mode ${modeText(stat)})` : undefined;
}

export const modeText = ({ mode }: Stats): string => (mode & 0o7777).toString(8).padStart(4, "0");
