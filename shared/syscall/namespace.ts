/** System calls for a process's namespaces (namespaces(7)), root and working directory. */

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

/** A descriptor of the user namespace that a namespace belongs to (ioctl_nsfs(2)). */
export function owningUserNamespace(fd: number): number {
  return check("ioctl NS_GET_USERNS", ffi().libc.ioctl(fd, NS_GET_USERNS, 0n));
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
