/**
 * Makes the directories of the data directory. They hold images' setuid files, and files that users of containers can
 * write, so only root may enter them. No other module makes such a directory, except deeper ones.
 */

import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  type Stats,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { dataLayout, STATES } from "../../shared/contract/data-directory.ts";
import { dropInheritedAcls } from "../../shared/syscall/file.ts";
import { distrustAbove, wayOut } from "../../shared/trusted-path.ts";

const DATA_MODE = 0o750;

interface Directory {
  path: string;
  mode: number;
}

function storeDirectories(data: string): Directory[] {
  const { cas, blobs, trees, layerBlobs, layerTrees, tmp, locks } = dataLayout(data);
  const layers = [dirname(layerTrees), dirname(layerBlobs), layerBlobs, layerTrees];
  return [cas, dirname(blobs), blobs, trees, ...layers, tmp, locks].map((path) => ({ path, mode: 0o700 }));
}

function containerDirectories(data: string): Directory[] {
  const { containers, state } = dataLayout(data);
  return [containers, ...STATES.map(state)].map((path) => ({ path, mode: 0o700 }));
}

const metadataDirectory = (data: string): Directory => ({
  path: dirname(dataLayout(data).metadataService),
  mode: 0o700,
});

/** Checks that existing directories belong to root or to the user of rkt, and closes them to all others. */
export function secureData(data: string): void {
  requireTrustedAbove(data);
  const top = owned(data);
  if (top === undefined) return;
  // Others may have files here, as in /tmp, if the sticky bit keeps them from renaming ours.
  if ((top.mode & 0o022) !== 0 && (top.mode & 0o1000) === 0) close(data, top.mode & ~0o022);
  for (const one of [...storeDirectories(data), ...containerDirectories(data), metadataDirectory(data)]) secure(one);
}

/** Nobody else can exchange it while rkt uses it: root runs what lies in it. */
function requireTrustedAbove(data: string): void {
  const above = distrustAbove(data);
  if (above === undefined) return;
  throw new RktError("foreign-data", `data directory: ${data} is reached by way of ${above.path}, which ${above.why}`, {
    hint: `give another --dir; or ${wayOut(above.path)}`,
  });
}

export const makeStoreDirectories = (data: string): void => make(data, storeDirectories(data));
export const makeContainerDirectories = (data: string): void => make(data, containerDirectories(data));
export const makeMetadataDirectory = (data: string): void => make(data, [metadataDirectory(data)]);

function make(data: string, directories: readonly Directory[]): void {
  requireTrustedAbove(data);
  mkdirSync(dirname(data), { recursive: true });
  makeOwnDirectory(data, DATA_MODE);
  secureData(data);
  for (const { path, mode } of directories) makeOwnDirectory(path, mode);
}

/**
 * Makes a directory, if it isn't there, that is of this user and his group, whatever the directory above would have it
 * inherit (mkdir(2), acl(5): the group of one that is set-group-ID, that bit itself, and a default ACL).
 */
export function makeOwnDirectory(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (errorCode(error) === "EEXIST") return;
    throw error;
  }
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    // A collection has removed it already.
    if (errorCode(error) === "ENOENT") return;
    throw error;
  }
  try {
    dropInheritedAcls(fd);
    fchownSync(fd, process.geteuid?.() ?? 0, process.getegid?.() ?? 0);
    fchmodSync(fd, mode);
  } finally {
    closeSync(fd);
  }
}

function secure({ path, mode }: Directory): void {
  const stat = owned(path);
  if (stat !== undefined && (stat.mode & 0o7777 & ~mode) !== 0) close(path, stat.mode & mode);
}

function close(path: string, mode: number): void {
  try {
    chmodSync(path, mode & 0o7777);
  } catch (cause) {
    throw new RktError("open-data", `others may enter ${path}, and that cannot be changed: ${errorText(cause)}`, {
      hint: `chmod ${(mode & 0o777).toString(8)} ${path}`,
      cause,
    });
  }
}

/** Checks the owner of a directory and, if it is a link, of the link. Undefined if there is nothing. */
function owned(path: string): Stats | undefined {
  const entry = lstatSync(path, { throwIfNoEntry: false });
  const stat = entry?.isSymbolicLink() === true ? statSync(path, { throwIfNoEntry: false }) : entry;
  for (const one of [entry, stat])
    if (one !== undefined && one.uid !== 0 && one.uid !== process.geteuid?.())
      throw new RktError("foreign-data", `data directory: ${path} belongs to user ${one.uid}`, {
        hint: `if nobody else can have written there: chown ${one.isSymbolicLink() ? "-h " : ""}root ${path}; or give another --dir`,
      });
  if (entry?.isSymbolicLink() === true) requireTrustedAbove(path);
  if (stat !== undefined && !stat.isDirectory())
    throw new RktError("foreign-data", `data directory: ${path} is no directory`, { hint: "give another --dir" });
  return stat;
}
