/**
 * Finds the file of an app's `exec[0]`, as execvp(3) does: in the app's own PATH, with the app's rights (aci.md,
 * "exec").
 */

import { accessSync, constants, statSync } from "node:fs";
import { RktError } from "../shared/errors.ts";
import { LAUNCH_EXIT } from "../shared/contract/stage1-root.ts";
import { diagnose } from "./diagnose.ts";

/** Finds a program. A name with a slash is a path. Throws "cannot-execute". */
export function findProgram(name: string, searchPath: string): string {
  if (name.includes("/")) return name;
  let unusable: string | undefined;
  for (const path of programPaths(name, searchPath)) {
    try {
      if (!statSync(path).isFile()) continue;
    } catch {
      continue;
    }
    if (isExecutable(path)) return path;
    unusable ??= path;
  }
  if (unusable !== undefined) throw cannotExecute(unusable, diagnose(unusable, undefined));
  throw cannotExecute(name, `not found in PATH (${searchPath})`);
}

/** The paths where a program is looked for, in order (execvp(3)). */
function programPaths(name: string, searchPath: string): string[] {
  if (name.includes("/")) return [name];
  // An empty component is the working directory.
  return searchPath.split(":").map((dir) => `${dir === "" ? "." : dir}/${name}`);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export function cannotExecute(
  name: string,
  reason: string,
  details: { cause?: unknown; hint?: string | undefined } = {},
): RktError {
  return new RktError("cannot-execute", `cannot execute "${name}": ${reason}`, {
    exitCode: LAUNCH_EXIT.exec,
    ...details,
  });
}
