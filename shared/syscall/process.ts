/** System calls on a process itself: ids, capabilities, limits, signals, execveat(2). */

import { AT_EMPTY_PATH } from "./file.ts";
import { check, cString, ffi, SyscallError } from "./libc.ts";

export const PR_SET_PDEATHSIG = 1;
export const PR_SET_DUMPABLE = 4;
export const PR_SET_KEEPCAPS = 8;
export const PR_CAPBSET_DROP = 24;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_CAP_AMBIENT = 47;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;
export const RLIMIT_NOFILE = 7;
const SYS_rt_sigaction = 13n;
const SYS_rt_sigprocmask = 14n;
const SYS_getrlimit = 97n;
const SYS_setrlimit = 160n;
const SYS_execveat = 322n;
const SYS_setsid = 112n;
const SYS_setgroups = 116n;
const SYS_setresuid = 117n;
const SYS_setresgid = 119n;
const SYS_capget = 125n;
const SYS_capset = 126n;
const SYS_sched_setscheduler = 144n;
const SYS_exit_group = 231n;
const SYS_seccomp = 317n;
const SYS_pidfd_open = 434n;
const SYS_pidfd_send_signal = 424n;

/** Gives a signal its default disposition: Node.js ignores SIGPIPE and SIGXFSZ, and execve(2) would keep that. */
export function resetSignal(signal: number): void {
  const act = Buffer.alloc(32);
  check("rt_sigaction", ffi().syscall.how(SYS_rt_sigaction, BigInt(signal), act, Buffer.alloc(32), 8n));
}

/** Unblocks a signal in this thread. With --disable-sigusr1 Node.js blocks SIGUSR1, and execve(2) would keep that. */
export function unblockSignal(signal: number): void {
  const SIG_UNBLOCK = 1n;
  const set = Buffer.alloc(8);
  set.writeBigUInt64LE(1n << BigInt(signal - 1));
  check("rt_sigprocmask", ffi().syscall.how(SYS_rt_sigprocmask, SIG_UNBLOCK, set, Buffer.alloc(8), 8n));
}

/** A soft and a hard limit of this process (getrlimit(2)). */
export interface ResourceLimit {
  soft: bigint;
  hard: bigint;
}

export function getrlimit(resource: number): ResourceLimit {
  const limit = Buffer.alloc(16);
  check("getrlimit", ffi().syscall.how(SYS_getrlimit, BigInt(resource), limit, limit, 0n));
  return { soft: limit.readBigUInt64LE(0), hard: limit.readBigUInt64LE(8) };
}

export function setrlimit(resource: number, { soft, hard }: ResourceLimit): void {
  const limit = Buffer.alloc(16);
  limit.writeBigUInt64LE(soft, 0);
  limit.writeBigUInt64LE(hard, 8);
  check("setrlimit", ffi().syscall.how(SYS_setrlimit, BigInt(resource), limit, limit, 0n));
}

export function prctl(option: number, a = 0n, b = 0n, c = 0n, d = 0n): number {
  return check(`prctl ${option}`, ffi().libc.prctl(option, a, b, c, d));
}

const SCHED_RR = 2n;
const SCHED_RESET_ON_FORK = 0x40000000n;

/**
 * Gives a thread real-time priority: it runs before all others. Processes that it starts do not have it
 * (sched_setscheduler(2)).
 */
export function setRoundRobin(thread: number, priority: number): void {
  const parameters = Buffer.alloc(4);
  parameters.writeInt32LE(priority);
  const policy = SCHED_RR | SCHED_RESET_ON_FORK;
  const result = ffi().syscall.intsBuf(SYS_sched_setscheduler, BigInt(thread), policy, parameters);
  check("sched_setscheduler", result);
}

/** Starts a new session, without a terminal (setsid(2)). EPERM: the process leads a process group. */
export function setsid(): void {
  check("setsid", ffi().syscall.ints(SYS_setsid, 0n, 0n, 0n, 0n));
}

/** Sets real, effective and saved ids of all threads (NPTL broadcasts). */
export function setresuid(uid: number): void {
  check("setresuid", ffi().libc.setresuid(uid, uid, uid));
}

export function setresgid(gid: number): void {
  check("setresgid", ffi().libc.setresgid(gid, gid, gid));
}

/**
 * Sets ids of the calling thread alone. libc would also send signals to all other threads, which is not needed before
 * execve(2): that ends them.
 */
export function setThreadGroups(gids: readonly number[]): void {
  const list = Buffer.alloc(Math.max(4, gids.length * 4));
  gids.forEach((gid, i) => {
    list.writeUInt32LE(gid, i * 4);
  });
  check("setgroups", ffi().syscall.how(SYS_setgroups, BigInt(gids.length), list, list, 0n));
}

export function setThreadGid(gid: number): void {
  check("setresgid", ffi().syscall.ints(SYS_setresgid, BigInt(gid), BigInt(gid), BigInt(gid), 0n));
}

export function setThreadUid(uid: number): void {
  check("setresuid", ffi().syscall.ints(SYS_setresuid, BigInt(uid), BigInt(uid), BigInt(uid), 0n));
}

export interface Capabilities {
  effective: bigint;
  permitted: bigint;
  inheritable: bigint;
}

const CAPABILITY_VERSION_3 = 0x20080522;

/** capget(2) of the calling thread. */
export function capget(): Capabilities {
  const [header, data] = [Buffer.alloc(8), Buffer.alloc(24)];
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
  check("capget", ffi().syscall.bufs(SYS_capget, header, data));
  const word = (i: number) => BigInt(data.readUInt32LE(i * 4)) | (BigInt(data.readUInt32LE(i * 4 + 12)) << 32n);
  return { effective: word(0), permitted: word(1), inheritable: word(2) };
}

/** capset(2) of the calling thread, which is the one that execve(2) keeps. */
export function capset(caps: Capabilities): void {
  const [header, data] = [Buffer.alloc(8), Buffer.alloc(24)];
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
  [caps.effective, caps.permitted, caps.inheritable].forEach((set, i) => {
    data.writeUInt32LE(Number(set & 0xffffffffn), i * 4);
    data.writeUInt32LE(Number(set >> 32n), i * 4 + 12);
  });
  check("capset", ffi().syscall.bufs(SYS_capset, header, data));
}

export function exitGroup(status: number): void {
  ffi().syscall.ints(SYS_exit_group, BigInt(status), 0n, 0n, 0n);
}

/** A descriptor that stays with this process, even if another one gets its pid later (pidfd_open(2)). */
export function pidfdOpen(pid: number): number {
  return check("pidfd_open", ffi().syscall.ints(SYS_pidfd_open, BigInt(pid), 0n, 0n, 0n));
}

export function pidfdSendSignal(fd: number, signal: number): void {
  check("pidfd_send_signal", ffi().syscall.ints(SYS_pidfd_send_signal, BigInt(fd), BigInt(signal), 0n, 0n));
}

/**
 * Installs a system call filter (a BPF program), if one is given, and then executes an open program by execveat(2). The
 * filter applies to this process too, and the runtime makes calls by itself. So everything is prepared before, and
 * nothing happens between the two calls. Never returns: throws a SyscallError of "seccomp" if the filter was not
 * installed, else of "execveat".
 */
export function filterAndExecveat(
  filter: Uint8Array | undefined,
  program: number,
  argv: readonly (string | Buffer)[],
  env: readonly string[],
): never {
  const { syscall, errno } = ffi();
  const [itself, argvArray, envArray] = [ownMemory(1), stringArray(argv), stringArray(env)];
  const { intsBuf: seccomp, exec: execveat } = syscall;
  if (filter !== undefined) {
    const code = ownMemory(16 + filter.length);
    code.writeUInt16LE(filter.length / 8, 0);
    code.writeBigUInt64LE(addressOf(code) + 16n, 8);
    code.set(filter, 16);
    const [SET_MODE_FILTER, NO_FLAGS] = [1n, 0n];
    if (seccomp(SYS_seccomp, SET_MODE_FILTER, NO_FLAGS, code) < 0n) throw new SyscallError("seccomp", errno());
  }
  execveat(SYS_execveat, BigInt(program), itself, argvArray, envArray, BigInt(AT_EMPTY_PATH));
  throw new SyscallError("execveat", errno());
}

/** A NULL-terminated array of pointers, followed by the strings they point to. */
function stringArray(strings: readonly (string | Buffer)[]): Buffer {
  const bytes = strings.map(cString);
  const pointers = (strings.length + 1) * 8;
  const array = ownMemory(bytes.reduce((total, one) => total + one.length, pointers));
  let at = pointers;
  bytes.forEach((one, i) => {
    array.writeBigUInt64LE(addressOf(array) + BigInt(at), i * 8);
    array.set(one, at);
    at += one.length;
  });
  return array;
}

const addressOf = (buffer: Buffer): bigint => process.getBuiltinModule("node:ffi").getRawPointer(buffer);

/** Zeroed memory that does not move: V8 keeps small buffers in its heap. */
const ownMemory = (size: number): Buffer => Buffer.alloc(Math.max(size, 4096));
