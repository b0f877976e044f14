/**
 * Makes the directories below /run/rkt, which the containers of all data directories share. Root runs scripts from
 * there, so only root may be able to write there.
 */

import { constants, lstatSync, mkdirSync, openSync } from "node:fs";
import { errorCode, errorText, RktError } from "./errors.ts";
import { RUNTIME_DIR } from "./contract/host-state.ts";
import type { HostPath } from "./contract/paths.ts";

/**
 * Makes `path`, below /run/rkt, and its missing parents. Throws "foreign-runtime" if others than root may write there.
 */
export function makeRuntimeDirectory(path: HostPath): void {
  const below = path.slice(RUNTIME_DIR.length).split("/").slice(1);
  let directory: string = RUNTIME_DIR;
  makeOne(directory);
  for (const name of below) {
    directory = `${directory}/${name}`;
    makeOne(directory);
  }
}

function makeOne(path: string): void {
  try {
    mkdirSync(path, { mode: 0o755 });
  } catch (error) {
    if (errorCode(error) !== "EEXIST")
      throw new RktError("no-runtime-directory", `cannot make ${path}: ${errorText(error)}`, { cause: error });
  }
  const stat = lstatSync(path);
  const problem = !stat.isDirectory()
    ? "is no directory"
    : stat.uid !== 0 && stat.uid !== process.geteuid?.()
      ? `belongs to user ${stat.uid}`
      : (stat.mode & 0o022) !== 0
        ? "can be written to by others than root"
        : undefined;
  if (problem === undefined) return;
  throw new RktError("foreign-runtime", `${path} ${problem}: what lies there cannot be trusted`, {
    hint: `when no container with a network or users of its own runs: rm -r ${RUNTIME_DIR}`,
  });
}

/** Opens a file in such a directory, to lock it. A missing file is made; a link is not followed. */
export function openRuntimeFile(path: HostPath): number {
  return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW, 0o600);
}
