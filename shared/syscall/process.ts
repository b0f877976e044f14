/** System calls on a process itself: ids, capabilities, limits, signals, execveat(2). */

import { AT_EMPTY_PATH } from "./file.ts";
import { addressOf, call, check, cString, prepareCall, SyscallError, tryCall } from "./call.ts";

export const PR_SET_PDEATHSIG = 1;
export const PR_SET_DUMPABLE = 4;
export const PR_SET_KEEPCAPS = 8;
export const PR_CAPBSET_DROP = 24;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_CAP_AMBIENT = 47;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;
export const RLIMIT_NOFILE = 7;

/** Gives a signal its default disposition: the runtime ignores SIGPIPE and SIGXFSZ, and execve(2) would keep that. */
export function resetSignal(signal: number): void {
  const act = Buffer.alloc(32);
  call("rt_sigaction", signal, act, 0, 8);
}

/** A soft and a hard limit of this process (getrlimit(2)). */
export interface ResourceLimit {
  soft: bigint;
  hard: bigint;
}

export function getrlimit(resource: number): ResourceLimit {
  const limit = Buffer.alloc(16);
  call("getrlimit", resource, limit);
  return { soft: limit.readBigUInt64LE(0), hard: limit.readBigUInt64LE(8) };
}

export function setrlimit(resource: number, { soft, hard }: ResourceLimit): void {
  const limit = Buffer.alloc(16);
  limit.writeBigUInt64LE(soft, 0);
  limit.writeBigUInt64LE(hard, 8);
  call("setrlimit", resource, limit);
}

export function prctl(option: number, a = 0n, b = 0n, c = 0n, d = 0n): number {
  return check(`prctl ${option}`, tryCall("prctl", option, a, b, c, d));
}

const SCHED_RR = 2;
const SCHED_RESET_ON_FORK = 0x40000000;

/**
 * Gives a thread real-time priority: it runs before all others. Processes that it starts do not have it
 * (sched_setscheduler(2)).
 */
export function setRoundRobin(thread: number, priority: number): void {
  const parameters = Buffer.alloc(4);
  parameters.writeInt32LE(priority);
  call("sched_setscheduler", thread, SCHED_RR | SCHED_RESET_ON_FORK, parameters);
}

/** Starts a new session, without a terminal (setsid(2)). EPERM: the process leads a process group. */
export function setsid(): void {
  call("setsid");
}

/**
 * Sets ids of the calling thread alone. The other threads keep theirs, which is enough before execve(2): that ends
 * them.
 */
export function setThreadGroups(gids: readonly number[]): void {
  const list = Buffer.alloc(Math.max(4, gids.length * 4));
  gids.forEach((gid, i) => {
    list.writeUInt32LE(gid, i * 4);
  });
  call("setgroups", gids.length, list);
}

export function setThreadGid(gid: number): void {
  call("setresgid", gid, gid, gid);
}

export function setThreadUid(uid: number): void {
  call("setresuid", uid, uid, uid);
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
  call("capget", header, data);
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
  call("capset", header, data);
}

export function exitGroup(status: number): void {
  tryCall("exit_group", status);
}

/** A descriptor that stays with this process, even if another one gets its pid later (pidfd_open(2)). */
export function pidfdOpen(pid: number): number {
  return call("pidfd_open", pid, 0);
}

export function pidfdSendSignal(fd: number, signal: number): void {
  call("pidfd_send_signal", fd, signal, 0, 0);
}

/** Executes a program (execve(2)). Never returns: throws a SyscallError. */
export function execve(path: string, argv: readonly string[], env: readonly string[]): never {
  throw new SyscallError("execve", -tryCall("execve", cString(path), stringArray(argv), stringArray(env)), path);
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
  const [itself, argvArray, envArray] = [ownMemory(1), stringArray(argv), stringArray(env)];
  const execveat = prepareCall("execveat", program, itself, argvArray, envArray, AT_EMPTY_PATH);
  if (filter !== undefined) {
    const code = ownMemory(16 + filter.length);
    code.writeUInt16LE(filter.length / 8, 0);
    code.writeBigUInt64LE(addressOf(code) + 16n, 8);
    code.set(filter, 16);
    const [SET_MODE_FILTER, NO_FLAGS] = [1, 0];
    call("seccomp", SET_MODE_FILTER, NO_FLAGS, code);
  }
  throw new SyscallError("execveat", -execveat());
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

/** Zeroed memory that does not move: V8 keeps small buffers in its heap. */
const ownMemory = (size: number): Buffer => Buffer.alloc(Math.max(size, 4096));
