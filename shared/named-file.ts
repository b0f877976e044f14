/**
 * The way to a file or directory that a person has named, when other users may
 * own directories on it. A link that is neither root's nor the user's of rkt is
 * not followed: its maker would choose what rkt, run by root, reads or where it
 * writes, and could do so after rkt has looked.
 */

import { closeSync, constants, fstatSync, openSync, statfsSync } from "node:fs";
import { constants as osConstants } from "node:os";
import { errorCode, RktError } from "./errors.ts";
import { mkdirat, O_PATH, openat2, openat2IfThere, readlinkat } from "./syscall/file.ts";
import { SyscallError } from "./syscall/call.ts";

/** As many links as path_resolution(7) follows. */
const MAX_LINKS = 40;

/** A descriptor (O_PATH) of what is at the path; the file itself is not opened. */
export const openNamed = (path: string): number => walk(path, false);

/** A descriptor (O_PATH) of a directory; with `make` those that are missing are made. */
export function openNamedDirectory(path: string, { make = false } = {}): number {
  const fd = walk(path, make);
  if (fstatSync(fd).isDirectory()) return fd;
  closeSync(fd);
  throw new SyscallError("open", osConstants.errno.ENOTDIR, path);
}

function walk(path: string, make: boolean): number {
  const rest = path.split("/").reverse();
  let at = begin(path);
  let links = 0;
  try {
    for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
      if (name === "" || name === ".") continue;
      const next = enter(at, name, path, make);
      if (!fstatSync(next).isSymbolicLink()) {
        closeSync(at);
        at = next;
        continue;
      }
      if (isOfProc(next)) {
        // What such a link says is no path: `/proc/self/fd/3` may be a directory that is mounted nowhere.
        closeSync(next);
        const followed = openat2(at, name, O_PATH, 0, 0);
        closeSync(at);
        at = followed;
        continue;
      }
      const target = targetOf(next, path);
      if (++links > MAX_LINKS) throw new SyscallError("open", osConstants.errno.ELOOP, path);
      rest.push(...target.split("/").reverse());
      if (!target.startsWith("/")) continue;
      closeSync(at);
      at = begin(target);
    }
    return at;
  } catch (error) {
    closeSync(at);
    // By the name that the person gave.
    throw error instanceof SyscallError ? new SyscallError("open", error.errno, path) : error;
  }
}

const begin = (path: string): number => openSync(path.startsWith("/") ? "/" : ".", O_PATH | constants.O_DIRECTORY);

function enter(at: number, name: string, path: string, make: boolean): number {
  const flags = O_PATH | constants.O_NOFOLLOW;
  let fd = openat2IfThere(at, name, flags, 0, 0);
  if (fd === undefined && make) {
    try {
      mkdirat(at, name, 0o777);
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw error;
    }
    fd = openat2IfThere(at, name, flags, 0, 0);
  }
  if (fd === undefined) throw new SyscallError("open", osConstants.errno.ENOENT, path);
  return fd;
}

const PROC_SUPER_MAGIC = 0x9fa0;

/** Whether a link is one of proc(5), which no user can make. */
const isOfProc = (link: number): boolean => statfsSync(`/proc/self/fd/${link}`).type === PROC_SUPER_MAGIC;

/** Closes the link. */
function targetOf(link: number, path: string): string {
  try {
    const { uid } = fstatSync(link);
    const target = readlinkat(link);
    if (uid === 0 || uid === process.geteuid?.()) return target;
    throw new RktError("foreign-link", `a link to ${target} on the way to ${path} belongs to user ${uid}`, {
      hint: "if it leads where you want, name that place without the link",
    });
  } finally {
    closeSync(link);
  }
}
