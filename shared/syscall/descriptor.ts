/** System calls on open descriptors: locks, flags, kinds. */

import { constants } from "node:os";
import { O_CLOEXEC } from "./file.ts";
import { check, cString, ffi, type PathArg, SyscallError } from "./libc.ts";

export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;
export const FD_CLOEXEC = 1;
export const F_GETFD = 1;
export const F_SETFD = 2;
const SYS_fcntl = 72n;
const SYS_close_range = 436n;
const SYS_inotify_init1 = 294n;
const SYS_inotify_add_watch = 254n;

/** flock(2). Returns false if LOCK_NB is given and another process holds the lock; retries EINTR. */
export function flock(fd: number, operation: number): boolean {
  for (;;) {
    if (Number(ffi().libc.flock(fd, operation)) === 0) return true;
    const errno = ffi().errno();
    if (errno === constants.errno.EWOULDBLOCK && (operation & LOCK_NB) !== 0) return false;
    if (errno !== constants.errno.EINTR) throw new SyscallError("flock", errno);
  }
}

/**
 * Locks one byte of a file (fcntl_locking(2), F_OFD_SETLK). The lock belongs to the open file description, so it
 * survives execve(2). Returns false if another process holds it.
 */
export function lockByte(fd: number, offset: number): boolean {
  const [F_OFD_SETLK, F_WRLCK] = [37n, 1];
  const lock = Buffer.alloc(32);
  lock.writeInt16LE(F_WRLCK, 0);
  lock.writeBigInt64LE(BigInt(offset), 8);
  lock.writeBigInt64LE(1n, 16);
  if (ffi().syscall.intsBuf(SYS_fcntl, BigInt(fd), F_OFD_SETLK, lock) >= 0n) return true;
  const errno = ffi().errno();
  if (errno === constants.errno.EAGAIN || errno === constants.errno.EACCES) return false;
  throw new SyscallError("fcntl", errno);
}

/** Sets or clears close-on-exec. */
export function setCloseOnExec(fd: number, on: boolean): void {
  check("fcntl", ffi().libc.fcntl(fd, F_SETFD, on ? BigInt(FD_CLOEXEC) : 0n));
}

/** Whether the number is an open descriptor of this process. */
export function isOpenFd(fd: number): boolean {
  return Number(ffi().libc.fcntl(fd, F_GETFD, 0n)) >= 0;
}

/** isatty(3), for programs that would otherwise load `node:tty` only for this. */
export function isTerminal(fd: number): boolean {
  return ffi().libc.isatty(fd) === 1;
}

export const AF_UNIX = 1;

/** The address family of a socket (socket(7), SO_DOMAIN). */
export function socketFamily(fd: number): number {
  const [SOL_SOCKET, SO_DOMAIN] = [1, 39];
  const [value, length] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeInt32LE(value.length);
  check("getsockopt", ffi().libc.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, value, length));
  return value.readInt32LE();
}

/**
 * Makes a terminal the controlling one of the session. This process must lead the session, and that must have none yet
 * (tty_ioctl(4)).
 */
export function setControllingTerminal(fd: number): void {
  const TIOCSCTTY = 0x540en;
  check("ioctl TIOCSCTTY", ffi().libc.ioctl(fd, TIOCSCTTY, 0n));
}

export function dup2(from: number, to: number): void {
  check("dup2", ffi().libc.dup2(from, to));
}

/** Marks all descriptors from `first` on close-on-exec, also inherited ones (close_range(2)). */
export function closeOnExecFrom(first: number): void {
  const CLOSE_RANGE_CLOEXEC = 4n;
  check("close_range", ffi().syscall.ints(SYS_close_range, BigInt(first), 0xffffffffn, CLOSE_RANGE_CLOEXEC, 0n));
}

/** inotify_init1(2): a close-on-exec descriptor. EMFILE: the user has used up all instances. */
export function inotifyInit(): number {
  return check("inotify_init1", ffi().syscall.ints(SYS_inotify_init1, BigInt(O_CLOEXEC), 0n, 0n, 0n));
}

/** Watches for a file's deletion (inotify_add_watch(2)). ENOSPC: the user has used up all watches. */
export function inotifyAddWatch(fd: number, path: PathArg): void {
  const IN_DELETE_SELF = 0x400n;
  const watch = ffi().syscall.watch(SYS_inotify_add_watch, BigInt(fd), cString(path), IN_DELETE_SELF);
  check("inotify_add_watch", watch, path);
}
