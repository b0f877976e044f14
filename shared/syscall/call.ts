/**
 * Makes Linux system calls that the runtime does not offer. The files beside it have the calls, one file for each
 * subject.
 *
 * Each wrapper makes one call and throws `SyscallError` if it fails; it decides nothing. x86-64 only (syscall numbers,
 * struct layouts). Paths are strings (UTF-8) or Buffers (any bytes but NUL).
 *
 * libc's functions would say by errno why a call failed. The runtime makes system calls of its own before JavaScript
 * could read that variable, such as for garbage collection, and they overwrite it. So nothing here goes by libc:
 * calls-library.ts has the kernel's own answer.
 */

import { closeSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { errorText, RktError } from "../errors.ts";
import { binding, type Word } from "./binding.ts";
import { ENTRY, sharedObject } from "./calls-library.ts";

/** A system call failed. `code` is the errno's name, as in the runtime's own errors. */
export class SyscallError extends Error {
  readonly syscall: string;
  readonly errno: number;
  readonly code: string;
  readonly path: string | undefined;

  constructor(syscall: string, errno: number, path?: string) {
    const code = errnoName(errno);
    super(`${syscall}${path === undefined ? "" : ` ${path}`}: ${code}`);
    this.name = "SyscallError";
    this.syscall = syscall;
    this.errno = errno;
    this.code = code;
    this.path = path;
  }
}

const errnoNames = new Map<number, string>();

export function errnoName(errno: number): string {
  if (errnoNames.size === 0)
    for (const [name, value] of Object.entries(constants.errno))
      if (!errnoNames.has(value)) errnoNames.set(value, name);
  return errnoNames.get(errno) ?? `errno ${errno}`;
}

export type PathArg = string | Buffer;

/** syscalls(2), the numbers of x86-64. */
const NUMBERS = {
  lseek: 8,
  rt_sigaction: 13,
  rt_sigprocmask: 14,
  ioctl: 16,
  dup2: 33,
  socket: 41,
  getsockname: 51,
  getsockopt: 55,
  execve: 59,
  fcntl: 72,
  flock: 73,
  fchdir: 81,
  getrlimit: 97,
  setsid: 112,
  setgroups: 116,
  setresuid: 117,
  setresgid: 119,
  capget: 125,
  capset: 126,
  sched_setscheduler: 144,
  pivot_root: 155,
  prctl: 157,
  setrlimit: 160,
  chroot: 161,
  mount: 165,
  umount2: 166,
  sethostname: 170,
  lsetxattr: 189,
  fsetxattr: 190,
  getxattr: 191,
  listxattr: 194,
  fremovexattr: 199,
  getdents64: 217,
  exit_group: 231,
  inotify_add_watch: 254,
  mkdirat: 258,
  mknodat: 259,
  fchownat: 260,
  unlinkat: 263,
  renameat: 264,
  linkat: 265,
  symlinkat: 266,
  readlinkat: 267,
  fchmodat: 268,
  unshare: 272,
  utimensat: 280,
  inotify_init1: 294,
  syncfs: 306,
  setns: 308,
  seccomp: 317,
  execveat: 322,
  statx: 332,
  pidfd_send_signal: 424,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  pidfd_open: 434,
  close_range: 436,
  openat2: 437,
  mount_setattr: 442,
  landlock_create_ruleset: 444,
  landlock_add_rule: 445,
  landlock_restrict_self: 446,
} as const satisfies Record<string, number>;

export type SystemCall = keyof typeof NUMBERS;

/** A number (an int may be negative), or memory. */
export type Argument = number | bigint | Buffer;

type Arguments = [] | [Argument] | [Argument, Argument] | [Argument, Argument, Argument] | FourOrFive;
type FourOrFive = [Argument, Argument, Argument, Argument] | [Argument, Argument, Argument, Argument, Argument];

/** Makes a system call. Returns its result, or the negative errno. */
export function tryCall(name: SystemCall, ...args: Arguments): number {
  return prepareCall(name, ...args)();
}

/** As `tryCall`, but throws a SyscallError if it fails. `path` is what the error names. */
export function call(name: SystemCall, ...args: Arguments): number {
  return check(name, tryCall(name, ...args));
}

/** Returns the result, or throws the SyscallError of a negative errno. */
export function check(name: string, result: number, path?: PathArg): number {
  if (result < 0) throw new SyscallError(name, -result, path === undefined ? undefined : String(path));
  return result;
}

/** All but the call itself: for calls between which the runtime must make none of its own. */
export function prepareCall(name: SystemCall, ...args: Arguments): () => number {
  const make = load();
  const number = word(NUMBERS[name]);
  const [a, b, c, d, e] = args.map(word);
  const [first, second, third, fourth, fifth] = [a ?? 0n, b ?? 0n, c ?? 0n, d ?? 0n, e ?? 0n];
  return () => Number(make(number, first, second, third, fourth, fifth));
}

const word = (value: Argument): Word =>
  typeof value === "object" ? binding().memory(value) : BigInt.asUintN(64, BigInt(value));

let loaded: ((...words: Word[]) => bigint) | undefined;

/** Loads the entry at the first call. */
function load(): (...words: Word[]) => bigint {
  loaded ??= loadEntry();
  return loaded;
}

function loadEntry(): (...words: Word[]) => bigint {
  let fd: number | undefined;
  try {
    fd = memoryFile(sharedObject());
    return binding().bind(`/proc/self/fd/${fd}`, ENTRY, 6);
  } catch (cause) {
    throw new RktError("no-system-calls", `cannot load the function that makes system calls: ${errorText(cause)}`, {
      hint: "rkt needs /proc, memfd_create(2), and memory that is writable and executable: does a security module deny it (SELinux: execmem)?",
      cause,
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** A file in memory alone (memfd_create(2)). */
function memoryFile(content: Buffer): number {
  const [MFD_CLOEXEC, MFD_NOEXEC_SEAL] = [1n, 8n];
  const create = binding().bind("libc.so.6", "memfd_create", 2);
  const name = word(cString("rkt-system-calls"));
  // Where vm.memfd_noexec is 2, the kernel makes no file that could be executed as a program. This one is only loaded,
  // which it allows. Before Linux 6.3 it does not know the flag.
  const sealed = asInt(create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL));
  const fd = sealed >= 0 ? sealed : asInt(create(name, MFD_CLOEXEC));
  if (fd < 0) throw new Error("memfd_create(2) failed");
  writeSync(fd, content);
  return fd;
}

/** A C int: the upper half of its register is anything. */
const asInt = (value: bigint): number => Number(BigInt.asIntN(32, value));

/** Where the bytes of a buffer are. */
export const addressOf = (buffer: Buffer): bigint => binding().addressOf(buffer);

/** NUL-terminated bytes of a path or name. A NUL inside is refused, because it would silently name another file. */
export function cString(text: PathArg): Buffer {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  if (bytes.includes(0)) throw new SyscallError("path", constants.errno.EINVAL, JSON.stringify(String(text)));
  return Buffer.concat([bytes, Buffer.of(0)]);
}
