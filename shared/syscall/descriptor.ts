/** System calls on open descriptors: locks, flags, kinds. */

import { constants } from "node:os";
import { O_CLOEXEC } from "./file.ts";
import { call, check, cString, type PathArg, SyscallError, tryCall } from "./call.ts";

export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;
export const FD_CLOEXEC = 1;
export const F_GETFD = 1;
export const F_SETFD = 2;

/** flock(2). Returns false if LOCK_NB is given and another process holds the lock; retries EINTR. */
export function flock(fd: number, operation: number): boolean {
  for (;;) {
    const result = tryCall("flock", fd, operation);
    if (result === 0) return true;
    if (result === -constants.errno.EWOULDBLOCK && (operation & LOCK_NB) !== 0) return false;
    if (result !== -constants.errno.EINTR) throw new SyscallError("flock", -result);
  }
}

/**
 * Locks one byte of a file (fcntl_locking(2), F_OFD_SETLK). The lock belongs to the open file description, so it
 * survives execve(2). Returns false if another process holds it.
 */
export function lockByte(fd: number, offset: number): boolean {
  const [F_OFD_SETLK, F_WRLCK] = [37, 1];
  const lock = Buffer.alloc(32);
  lock.writeInt16LE(F_WRLCK, 0);
  lock.writeBigInt64LE(BigInt(offset), 8);
  lock.writeBigInt64LE(1n, 16);
  const result = tryCall("fcntl", fd, F_OFD_SETLK, lock);
  if (result === -constants.errno.EAGAIN || result === -constants.errno.EACCES) return false;
  check("fcntl", result);
  return true;
}

/** Sets or clears close-on-exec. */
export function setCloseOnExec(fd: number, on: boolean): void {
  call("fcntl", fd, F_SETFD, on ? FD_CLOEXEC : 0);
}

/** Whether the number is an open descriptor of this process. */
export function isOpenFd(fd: number): boolean {
  return tryCall("fcntl", fd, F_GETFD) >= 0;
}

/** isatty(3), for programs that would otherwise load `node:tty` only for this. */
export function isTerminal(fd: number): boolean {
  const TCGETS = 0x5401;
  return tryCall("ioctl", fd, TCGETS, Buffer.alloc(64)) === 0;
}

export const AF_UNIX = 1;

/** The address family of a socket (socket(7), SO_DOMAIN). */
export function socketFamily(fd: number): number {
  const [SOL_SOCKET, SO_DOMAIN] = [1, 39];
  const [value, length] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeInt32LE(value.length);
  call("getsockopt", fd, SOL_SOCKET, SO_DOMAIN, value, length);
  return value.readInt32LE();
}

/**
 * Makes a terminal the controlling one of the session. This process must lead the session, and that must have none yet
 * (tty_ioctl(4)).
 */
export function setControllingTerminal(fd: number): void {
  const TIOCSCTTY = 0x540e;
  check("ioctl TIOCSCTTY", tryCall("ioctl", fd, TIOCSCTTY, 0));
}

export function dup2(from: number, to: number): void {
  call("dup2", from, to);
}

/** Marks all descriptors from `first` on close-on-exec, also inherited ones (close_range(2)). */
export function closeOnExecFrom(first: number): void {
  const CLOSE_RANGE_CLOEXEC = 4;
  call("close_range", first, 0xffffffff, CLOSE_RANGE_CLOEXEC);
}

/** inotify_init1(2): a close-on-exec descriptor. EMFILE: the user has used up all instances. */
export function inotifyInit(): number {
  return call("inotify_init1", O_CLOEXEC);
}

/** Watches for a file's deletion (inotify_add_watch(2)). ENOSPC: the user has used up all watches. */
export function inotifyAddWatch(fd: number, path: PathArg): void {
  const IN_DELETE_SELF = 0x400;
  check("inotify_add_watch", tryCall("inotify_add_watch", fd, cString(path), IN_DELETE_SELF), path);
}
