/** System calls for a process's namespaces (namespaces(7)), root and working directory. */

import { closeSync, fstatSync, statSync } from "node:fs";
import { check, cString, ffi, type PathArg } from "./libc.ts";

export const CLONE_FS = 0x200;
export const CLONE_NEWNS = 0x20000;
export const CLONE_NEWCGROUP = 0x2000000;
export const CLONE_NEWNET = 0x40000000;
const SYS_fchdir = 81n;
const NS_GET_USERNS = 0xb701n;

export function unshare(flags: number): void {
  check("unshare", ffi().libc.unshare(flags));
}

/** setns(2). Entering a mount namespace needs `unshare(CLONE_FS)` first: Node.js's threads share their fs_struct. */
export function setns(fd: number, type: number): void {
  check("setns", ffi().libc.setns(fd, type));
}

/**
 * Whether a namespace belongs to the user namespace at a path (ioctl_nsfs(2)): an app can make a user namespace, and in it
 * others, where it mounts over its files what it likes.
 */
export function belongsToUsers(namespace: number, users: string): boolean {
  const owner = check("ioctl NS_GET_USERNS", ffi().libc.ioctl(namespace, NS_GET_USERNS, 0n));
  try {
    const [of, wanted] = [fstatSync(owner), statSync(users)];
    return of.dev === wanted.dev && of.ino === wanted.ino;
  } finally {
    closeSync(owner);
  }
}

export function chroot(path: PathArg): void {
  check("chroot", ffi().libc.chroot(cString(path)), path);
}

export function sethostname(name: string): void {
  const bytes = Buffer.from(name);
  check("sethostname", ffi().libc.sethostname(bytes, BigInt(bytes.length)));
}

export function fchdir(fd: number): void {
  check("fchdir", ffi().syscall.ints(SYS_fchdir, BigInt(fd), 0n, 0n, 0n));
}
