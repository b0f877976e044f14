/** System calls for a process's namespaces (namespaces(7)), root and working directory. */

import { closeSync, fstatSync, statSync } from "node:fs";
import { call, check, cString, type PathArg, tryCall } from "./call.ts";

export const CLONE_FS = 0x200;
export const CLONE_NEWNS = 0x20000;
export const CLONE_NEWCGROUP = 0x2000000;
export const CLONE_NEWNET = 0x40000000;
const NS_GET_USERNS = 0xb701;

export function unshare(flags: number): void {
  call("unshare", flags);
}

/** setns(2). Entering a mount namespace needs `unshare(CLONE_FS)` first: the runtime's threads share their fs_struct. */
export function setns(fd: number, type: number): void {
  call("setns", fd, type);
}

/**
 * Whether a namespace belongs to the user namespace at a path (ioctl_nsfs(2)): an app can make a user namespace, and in it
 * others, where it mounts over its files what it likes.
 */
export function belongsToUsers(namespace: number, users: string): boolean {
  const owner = check("ioctl NS_GET_USERNS", tryCall("ioctl", namespace, NS_GET_USERNS));
  try {
    const [of, wanted] = [fstatSync(owner), statSync(users)];
    return of.dev === wanted.dev && of.ino === wanted.ino;
  } finally {
    closeSync(owner);
  }
}

export function chroot(path: PathArg): void {
  check("chroot", tryCall("chroot", cString(path)), path);
}

export function sethostname(name: string): void {
  const bytes = Buffer.from(name);
  call("sethostname", bytes, bytes.length);
}

export function fchdir(fd: number): void {
  call("fchdir", fd);
}
