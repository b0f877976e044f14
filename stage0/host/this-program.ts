/** The command that runs this rkt again: the executable, or Node.js with the sources. */

export function thisProgram(): string[] {
  return "bun" in process.versions ? [process.execPath] : [process.execPath, "--no-warnings", process.argv[1] ?? ""];
}

/** The command that removes a container after its end. */
export function collector(data: string, uuid: string): string[] {
  return [...thisProgram(), `--dir=${data}`, "--quiet", "rm", uuid];
}
