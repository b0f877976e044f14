/** How to run this very rkt again: the single executable, or Node.js on the sources. */

import { isSea } from "node:sea";

export function thisProgram(): string[] {
  return isSea() ? [process.execPath] : [process.execPath, "--no-warnings", process.argv[1] ?? ""];
}

/** The command that collects a container when it has ended. */
export function collector(data: string, uuid: string): string[] {
  return [...thisProgram(), `--dir=${data}`, "--quiet", "rm", uuid];
}
