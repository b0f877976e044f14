/** The command that runs this rkt again: the single executable, or Node.js with the sources. */

import { isSea } from "node:sea";

export function thisProgram(): string[] {
  return isSea() ? [process.execPath] : [process.execPath, "--no-warnings", process.argv[1] ?? ""];
}

/** The command that removes a container after its end. */
export function collector(data: string, uuid: string): string[] {
  return [...thisProgram(), `--dir=${data}`, "--quiet", "rm", uuid];
}
