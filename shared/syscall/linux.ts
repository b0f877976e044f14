/**
 * Linux system calls that Node.js does not offer, by `node:ffi` on libc: the
 * only module of the project that loads `node:ffi`.
 *
 * Each wrapper makes one call and throws `SyscallError` when it fails. No
 * policy lives here. x86-64 only (syscall numbers, struct layouts).
 *
 * Paths are strings (UTF-8) or Buffers (any bytes but NUL).
 */

import type { FunctionSignature } from "node:ffi";
import { closeSync, constants as fsConstants } from "node:fs";
import { constants } from "node:os";

/** A system call failed. `code` is the errno's name, as in Node.js's own errors. */
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

// --- constants (values of the kernel's UAPI headers, x86-64) ---------------

export const MS_RDONLY = 0x1;
export const MS_NOSUID = 0x2;
export const MS_NODEV = 0x4;
export const MS_NOEXEC = 0x8;
export const MS_REMOUNT = 0x20;
export const MS_NOATIME = 0x400;
export const MS_BIND = 0x1000;
export const MS_MOVE = 0x2000;
export const MS_REC = 0x4000;
export const MS_PRIVATE = 0x40000;
export const MS_SLAVE = 0x80000;
export const MS_SHARED = 0x100000;
export const MS_RELATIME = 0x200000;
export const MS_STRICTATIME = 0x1000000;

export const MNT_DETACH = 0x2;
export const UMOUNT_NOFOLLOW = 0x8;

export const CLONE_FS = 0x200;
export const CLONE_NEWNS = 0x20000;
export const CLONE_NEWCGROUP = 0x2000000;
export const CLONE_NEWUTS = 0x4000000;
export const CLONE_NEWIPC = 0x8000000;
export const CLONE_NEWUSER = 0x10000000;
export const CLONE_NEWPID = 0x20000000;
export const CLONE_NEWNET = 0x40000000;

export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_RECURSIVE = 0x8000;
export const AT_EMPTY_PATH = 0x1000;

export const RESOLVE_NO_XDEV = 0x01;
export const RESOLVE_NO_MAGICLINKS = 0x02;
export const RESOLVE_NO_SYMLINKS = 0x04;
export const RESOLVE_BENEATH = 0x08;
export const RESOLVE_IN_ROOT = 0x10;

export const O_PATH = 0x200000;
export const O_CLOEXEC = 0x80000;

export const FD_CLOEXEC = 1;
export const F_GETFD = 1;
export const F_SETFD = 2;

export const PR_SET_PDEATHSIG = 1;
export const PR_SET_DUMPABLE = 4;
export const PR_SET_KEEPCAPS = 8;
export const PR_CAPBSET_READ = 23;
export const PR_CAPBSET_DROP = 24;
export const PR_SET_SECUREBITS = 28;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_GET_NO_NEW_PRIVS = 39;
export const PR_CAP_AMBIENT = 47;
export const PR_CAP_AMBIENT_RAISE = 2;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;

export const RLIMIT_NOFILE = 7;

const SYS_rt_sigaction = 13n;
const SYS_rt_sigprocmask = 14n;
const SYS_ioctl = 16n;
const SYS_fcntl = 72n;
const SYS_fchdir = 81n;
const SYS_getrlimit = 97n;
const SYS_setrlimit = 160n;
const SYS_close_range = 436n;
const SYS_execveat = 322n;
const SYS_setsid = 112n;
const SYS_setgroups = 116n;
const SYS_setresuid = 117n;
const SYS_setresgid = 119n;
const SYS_capget = 125n;
const SYS_capset = 126n;
const SYS_sched_setscheduler = 144n;
const SYS_pivot_root = 155n;
const SYS_inotify_init1 = 294n;
const SYS_inotify_add_watch = 254n;
const SYS_openat2 = 437n;
const SYS_open_tree = 428n;
const SYS_move_mount = 429n;
const SYS_mount_setattr = 442n;
const SYS_fsopen = 430n;
const SYS_fsconfig = 431n;
const SYS_fsmount = 432n;
const SYS_statx = 332n;
const SYS_exit_group = 231n;
const SYS_seccomp = 317n;
const SYS_landlock_create_ruleset = 444n;
const SYS_landlock_add_rule = 445n;
const SYS_landlock_restrict_self = 446n;
const SYS_pidfd_open = 434n;
const SYS_pidfd_send_signal = 424n;

const FICLONE = 0x40049409n;
const FS_IOC_GETFLAGS = 0x80086601n;
const FS_IOC_SETFLAGS = 0x40086602n;

// --- binding ----------------------------------------------------------------

const definitions = {
  mount: { return: "i32", arguments: ["buffer", "buffer", "buffer", "u64", "buffer"] },
  umount2: { return: "i32", arguments: ["buffer", "i32"] },
  unshare: { return: "i32", arguments: ["i32"] },
  setns: { return: "i32", arguments: ["i32", "i32"] },
  chroot: { return: "i32", arguments: ["buffer"] },
  flock: { return: "i32", arguments: ["i32", "i32"] },
  fcntl: { return: "i32", arguments: ["i32", "i32", "i64"] },
  dup2: { return: "i32", arguments: ["i32", "i32"] },
  mkfifo: { return: "i32", arguments: ["buffer", "u32"] },
  mknodat: { return: "i32", arguments: ["i32", "buffer", "u32", "u64"] },
  linkat: { return: "i32", arguments: ["i32", "buffer", "i32", "buffer", "i32"] },
  symlinkat: { return: "i32", arguments: ["buffer", "i32", "buffer"] },
  mkdirat: { return: "i32", arguments: ["i32", "buffer", "u32"] },
  renameat: { return: "i32", arguments: ["i32", "buffer", "i32", "buffer"] },
  unlinkat: { return: "i32", arguments: ["i32", "buffer", "i32"] },
  readlinkat: { return: "i64", arguments: ["i32", "buffer", "buffer", "u64"] },
  fchownat: { return: "i32", arguments: ["i32", "buffer", "u32", "u32", "i32"] },
  fchmodat: { return: "i32", arguments: ["i32", "buffer", "u32", "i32"] },
  utimensat: { return: "i32", arguments: ["i32", "buffer", "buffer", "i32"] },
  lsetxattr: { return: "i32", arguments: ["buffer", "buffer", "buffer", "u64", "i32"] },
  fsetxattr: { return: "i32", arguments: ["i32", "buffer", "buffer", "u64", "i32"] },
  lgetxattr: { return: "i64", arguments: ["buffer", "buffer", "buffer", "u64"] },
  llistxattr: { return: "i64", arguments: ["buffer", "buffer", "u64"] },
  prctl: { return: "i32", arguments: ["i32", "u64", "u64", "u64", "u64"] },
  memfd_create: { return: "i32", arguments: ["buffer", "u32"] },
  sethostname: { return: "i32", arguments: ["buffer", "u64"] },
  syncfs: { return: "i32", arguments: ["i32"] },
  ioctl: { return: "i32", arguments: ["i32", "u64", "i64"] },
  isatty: { return: "i32", arguments: ["i32"] },
  getsockopt: { return: "i32", arguments: ["i32", "i32", "i32", "buffer", "buffer"] },
  setresuid: { return: "i32", arguments: ["u32", "u32", "u32"] },
  setresgid: { return: "i32", arguments: ["u32", "u32", "u32"] },
  fallocate: { return: "i32", arguments: ["i32", "i32", "i64", "i64"] },
  __errno_location: { return: "pointer", arguments: [] },
} as const satisfies Record<string, FunctionSignature>;

type Name = keyof typeof definitions;
type Libc = Record<Name, (...args: unknown[]) => number | bigint>;

interface Ffi {
  libc: Libc;
  syscall: Record<keyof typeof SYSCALL_SHAPES, (...args: unknown[]) => bigint>;
  errno: () => number;
}

let loaded: Ffi | undefined;

/** Loads libc at the first call: a command that needs none pays nothing. */
function ffi(): Ffi {
  if (loaded !== undefined) return loaded;
  const module = process.getBuiltinModule("node:ffi");
  const { lib } = module.dlopen("libc.so.6");
  const libc = bindLazily(definitions, (name, signature) => lib.getFunction(name, signature)) as Libc;
  // Now: binding makes system calls of its own, which would overwrite the errno that is asked for.
  const location = libc.__errno_location() as bigint;
  const syscall = bindLazily(SYSCALL_SHAPES, (_, args) =>
    module.dlopen("libc.so.6").lib.getFunction("syscall", { return: "i64", arguments: args }),
  ) as Ffi["syscall"];
  loaded = { libc, syscall, errno: () => module.getInt32(location) };
  return loaded;
}

/** An object whose members are made when first asked for: each costs some 50 µs of mmap(2) for its trampoline. */
function bindLazily<T>(table: Readonly<Record<string, T>>, bind: (name: string, entry: T) => unknown): unknown {
  const bound = {};
  for (const [name, entry] of Object.entries(table))
    Object.defineProperty(bound, name, {
      configurable: true,
      get() {
        const value = bind(name, entry);
        Object.defineProperty(bound, name, { value });
        return value;
      },
    });
  return bound;
}

/** `syscall(2)` in the shapes used here; the fixed signature stands for the variadic one on x86-64. */
const SYSCALL_SHAPES = {
  bufs: ["i64", "buffer", "buffer"],
  fd2: ["i64", "i64", "buffer", "i64", "buffer", "i64"],
  how: ["i64", "i64", "buffer", "buffer", "i64"],
  exec: ["i64", "i64", "buffer", "buffer", "buffer", "i64"],
  intsBuf: ["i64", "i64", "i64", "buffer"],
  bufInts: ["i64", "buffer", "i64", "i64"],
  intsBufInt: ["i64", "i64", "i64", "buffer", "i64"],
  ints: ["i64", "i64", "i64", "i64", "i64"],
  ints6: ["i64", "i64", "i64", "i64", "i64", "i64"],
  bufInt: ["i64", "buffer", "i64"],
  watch: ["i64", "i64", "buffer", "i64"],
  intBufInts: ["i64", "i64", "buffer", "i64", "i64", "buffer"],
  setting: ["i64", "i64", "i64", "buffer", "buffer", "i64"],
} as const satisfies Record<string, FunctionSignature["arguments"]>;

/** NUL-terminated bytes of a path or name. A NUL inside would silently name another file: refused. */
export function cString(text: PathArg): Buffer {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  if (bytes.includes(0)) throw new SyscallError("path", constants.errno.EINVAL, JSON.stringify(String(text)));
  return Buffer.concat([bytes, Buffer.of(0)]);
}

function check(name: string, result: number | bigint, path?: PathArg): number {
  const n = Number(result);
  if (n < 0) throw new SyscallError(name, ffi().errno(), path === undefined ? undefined : String(path));
  return n;
}

// --- mounts and namespaces --------------------------------------------------

/** mount(2). `data` is the file system's option string. */
export function mount(source: PathArg, target: PathArg, type: string, flags: number, data = ""): void {
  const { libc } = ffi();
  check("mount", libc.mount(cString(source), cString(target), cString(type), BigInt(flags), cString(data)), target);
}

export function umount(target: PathArg, flags = 0): void {
  check("umount2", ffi().libc.umount2(cString(target), flags), target);
}

/** pivot_root(2): glibc has no wrapper. */
export function pivotRoot(newRoot: PathArg, putOld: PathArg): void {
  check("pivot_root", ffi().syscall.bufs(SYS_pivot_root, cString(newRoot), cString(putOld)), newRoot);
}

export function unshare(flags: number): void {
  check("unshare", ffi().libc.unshare(flags));
}

/** setns(2). Entering a mount namespace needs `unshare(CLONE_FS)` first: Node.js's threads share their fs_struct. */
export function setns(fd: number, type: number): void {
  check("setns", ffi().libc.setns(fd, type));
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

// --- file descriptors -------------------------------------------------------

/** flock(2). Returns false when LOCK_NB was given and somebody else holds it; retries EINTR. */
export function flock(fd: number, operation: number): boolean {
  for (;;) {
    if (Number(ffi().libc.flock(fd, operation)) === 0) return true;
    const errno = ffi().errno();
    if (errno === constants.errno.EWOULDBLOCK && (operation & LOCK_NB) !== 0) return false;
    if (errno !== constants.errno.EINTR) throw new SyscallError("flock", errno);
  }
}

/**
 * Locks one byte of a file for this open description of it, so that it outlives execve(2) (fcntl_locking(2),
 * F_OFD_SETLK). Returns false when somebody else has it.
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

/** isatty(3), for programs that would load `node:tty` for nothing else. */
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

export function dup2(from: number, to: number): void {
  check("dup2", ffi().libc.dup2(from, to));
}

/** Marks every descriptor from `first` on close-on-exec, whoever opened it (close_range(2)). */
export function closeOnExecFrom(first: number): void {
  const CLOSE_RANGE_CLOEXEC = 4n;
  check("close_range", ffi().syscall.ints(SYS_close_range, BigInt(first), 0xffffffffn, CLOSE_RANGE_CLOEXEC, 0n));
}

/** openat2(2): opens `path` below `dirfd` by the rules of `resolve` (RESOLVE_*). The descriptor is close-on-exec. */
export function openat2(dirfd: number, path: PathArg, flags: number, mode: number, resolve: number): number {
  return checkOpenat2(tryOpenat2(dirfd, path, flags, mode, resolve), path);
}

/** The descriptor, or the negative errno: who looks for what may be missing need not pay for an Error. */
function tryOpenat2(dirfd: number, path: PathArg, flags: number, mode: number, resolve: number): number {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(mode), 8);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  for (;;) {
    const result = ffi().syscall.how(SYS_openat2, BigInt(dirfd), cString(path), how, 24n);
    if (Number(result) >= 0) return Number(result);
    // EAGAIN: a rename raced with a ".." under RESOLVE_IN_ROOT/BENEATH (openat2(2)).
    const errno = ffi().errno();
    if (errno !== constants.errno.EAGAIN && errno !== constants.errno.EINTR) return -errno;
  }
}

function checkOpenat2(result: number, path: PathArg): number {
  if (result < 0) throw new SyscallError("openat2", -result, String(path));
  return result;
}

/** As `openat2`, and undefined when nothing is there. */
export function openat2IfThere(
  dirfd: number,
  path: PathArg,
  flags: number,
  mode: number,
  resolve: number,
): number | undefined {
  const result = tryOpenat2(dirfd, path, flags, mode, resolve);
  return result === -constants.errno.ENOENT ? undefined : checkOpenat2(result, path);
}

/** inotify_init1(2): a close-on-exec descriptor. EMFILE: all that this user may have are taken. */
export function inotifyInit(): number {
  return check("inotify_init1", ffi().syscall.ints(SYS_inotify_init1, BigInt(O_CLOEXEC), 0n, 0n, 0n));
}

/** Watches a file for its end (inotify_add_watch(2)). ENOSPC: all watches that this user may have are taken. */
export function inotifyAddWatch(fd: number, path: PathArg): void {
  const IN_DELETE_SELF = 0x400n;
  const watch = ffi().syscall.watch(SYS_inotify_add_watch, BigInt(fd), cString(path), IN_DELETE_SELF);
  check("inotify_add_watch", watch, path);
}

/** Shares all blocks of one file with another (ioctl_ficlone(2)). */
export function reflink(toFd: number, fromFd: number): void {
  check("ioctl FICLONE", ffi().libc.ioctl(toFd, FICLONE, BigInt(fromFd)));
}

/** What keeps a file from being changed and removed, whoever wants to (ioctl_iflags(2)). */
export const FS_IMMUTABLE_FL = 0x10;
export const FS_APPEND_FL = 0x20;

/** Flags of a file's inode (ioctl_iflags(2)). Only for a regular file or a directory: a device may mean something else by the number. */
export function inodeFlags(fd: number): number {
  const flags = Buffer.alloc(8);
  check("ioctl FS_IOC_GETFLAGS", ffi().syscall.intsBuf(SYS_ioctl, BigInt(fd), FS_IOC_GETFLAGS, flags));
  return flags.readUInt32LE(0);
}

export function setInodeFlags(fd: number, flags: number): void {
  const value = Buffer.alloc(8);
  value.writeUInt32LE(flags, 0);
  check("ioctl FS_IOC_SETFLAGS", ffi().syscall.intsBuf(SYS_ioctl, BigInt(fd), FS_IOC_SETFLAGS, value));
}

/** A file of memory alone (memfd_create(2)); close-on-exec. */
export function memfdCreate(name: string): number {
  const MFD_CLOEXEC = 1;
  return check("memfd_create", ffi().libc.memfd_create(cString(name), MFD_CLOEXEC));
}

export function syncfs(fd: number): void {
  check("syncfs", ffi().libc.syncfs(fd));
}

// --- files -------------------------------------------------------------------

export function mkfifo(path: PathArg, mode: number): void {
  check("mkfifo", ffi().libc.mkfifo(cString(path), mode), path);
}

/** mknodat(2): `mode` carries the type bits, `dev` is made by `makedev`. */
export function mknodat(dirfd: number, path: PathArg, mode: number, dev: bigint): void {
  check("mknodat", ffi().libc.mknodat(dirfd, cString(path), mode, dev), path);
}

/** The device number of (major, minor), as makedev(3). */
export function makedev(major: number, minor: number): bigint {
  const [a, b] = [BigInt(major), BigInt(minor)];
  return ((a & 0xfffff000n) << 32n) | ((a & 0xfffn) << 8n) | ((b & 0xffffff00n) << 12n) | (b & 0xffn);
}

export function linkat(fromDir: number, from: PathArg, toDir: number, to: PathArg, flags = 0): void {
  check("linkat", ffi().libc.linkat(fromDir, cString(from), toDir, cString(to), flags), to);
}

export function symlinkat(target: PathArg, dirfd: number, path: PathArg): void {
  check("symlinkat", ffi().libc.symlinkat(cString(target), dirfd, cString(path)), path);
}

export function mkdirat(dirfd: number, path: PathArg, mode: number): void {
  check("mkdirat", ffi().libc.mkdirat(dirfd, cString(path), mode), path);
}

export function renameat(fromDir: number, from: PathArg, toDir: number, to: PathArg): void {
  check("renameat", ffi().libc.renameat(fromDir, cString(from), toDir, cString(to)), from);
}

export const AT_REMOVEDIR = 0x200;

export function unlinkat(dirfd: number, path: PathArg, flags = 0): void {
  check("unlinkat", ffi().libc.unlinkat(dirfd, cString(path), flags), path);
}

const PATH_MAX = 4096;

/** readlinkat(2) of a link that was opened itself (O_PATH and O_NOFOLLOW). */
export function readlinkat(fd: number): string {
  const text = Buffer.alloc(PATH_MAX);
  const length = check("readlinkat", ffi().libc.readlinkat(fd, cString(""), text, BigInt(text.length)));
  return text.toString("utf8", 0, length);
}

/** What statx(2) says of an open file: node's fstat does not know of mounts. */
export interface Status {
  isDirectory: boolean;
  isSymbolicLink: boolean;
  uid: number;
  size: bigint;
  /** The mount it was opened on; no two that are there have the same. */
  mountId: bigint;
}

export function status(fd: number): Status {
  const [STATX_BASIC_STATS, STATX_MNT_ID] = [0x7ff, 0x1000];
  const data = Buffer.alloc(256);
  const mask = BigInt(STATX_BASIC_STATS | STATX_MNT_ID);
  check("statx", ffi().syscall.intBufInts(SYS_statx, BigInt(fd), cString(""), BigInt(AT_EMPTY_PATH), mask, data));
  if ((data.readUInt32LE(0) & STATX_MNT_ID) === 0) throw new SyscallError("statx", constants.errno.EOPNOTSUPP);
  const type = data.readUInt16LE(28) & fsConstants.S_IFMT;
  return {
    isDirectory: type === fsConstants.S_IFDIR,
    isSymbolicLink: type === fsConstants.S_IFLNK,
    uid: data.readUInt32LE(20),
    size: data.readBigUInt64LE(40),
    mountId: data.readBigUInt64LE(144),
  };
}

export function fchownat(dirfd: number, path: PathArg, uid: number, gid: number, flags = AT_SYMLINK_NOFOLLOW): void {
  check("fchownat", ffi().libc.fchownat(dirfd, cString(path), uid, gid, flags), path);
}

export function fchmodat(dirfd: number, path: PathArg, mode: number): void {
  check("fchmodat", ffi().libc.fchmodat(dirfd, cString(path), mode, 0), path);
}

/** Sets atime and mtime, in nanoseconds since the epoch (may be negative), of the file itself, never of a link's target. */
export function utimensat(dirfd: number, path: PathArg, atimeNs: bigint, mtimeNs: bigint): void {
  const times = Buffer.alloc(32);
  [atimeNs, mtimeNs].forEach((ns, i) => {
    const nsec = ((ns % 1000000000n) + 1000000000n) % 1000000000n;
    times.writeBigInt64LE((ns - nsec) / 1000000000n, i * 16);
    times.writeBigInt64LE(nsec, i * 16 + 8);
  });
  check("utimensat", ffi().libc.utimensat(dirfd, cString(path), times, AT_SYMLINK_NOFOLLOW), path);
}

export function lsetxattr(path: PathArg, name: string, value: Buffer): void {
  const v = value.length === 0 ? Buffer.alloc(1) : value;
  check("lsetxattr", ffi().libc.lsetxattr(cString(path), cString(name), v, BigInt(value.length), 0), path);
}

export function fsetxattr(fd: number, name: string, value: Buffer): void {
  const v = value.length === 0 ? Buffer.alloc(1) : value;
  check("fsetxattr", ffi().libc.fsetxattr(fd, cString(name), v, BigInt(value.length), 0));
}

/** All extended attributes of a file or link, by name. */
export function xattrs(path: PathArg): Map<string, Buffer> {
  const { libc } = ffi();
  const names = Buffer.alloc(65536);
  const length = check("llistxattr", libc.llistxattr(cString(path), names, BigInt(names.length)), path);
  const result = new Map<string, Buffer>();
  if (length === 0) return result;
  const value = Buffer.alloc(65536);
  for (const name of names.subarray(0, length).toString().split("\0")) {
    if (name === "") continue;
    const n = check("lgetxattr", libc.lgetxattr(cString(path), cString(name), value, BigInt(value.length)), path);
    // A copy: what is kept must not hold all that there was room for.
    result.set(name, Buffer.from(value.subarray(0, n)));
  }
  return result;
}

// --- mount objects ------------------------------------------------------------

export const OPEN_TREE_CLONE = 1;
export const MOVE_MOUNT_F_EMPTY_PATH = 0x4;
export const MOUNT_ATTR_RDONLY = 0x1;
export const MOUNT_ATTR_NOSUID = 0x2;
export const MOUNT_ATTR_NODEV = 0x4;
export const MOUNT_ATTR_NOEXEC = 0x8;
export const MOUNT_ATTR_IDMAP = 0x100000;

/** open_tree(2): a detached clone (OPEN_TREE_CLONE, AT_RECURSIVE) or a handle of a mount. */
export function openTree(dirfd: number, path: PathArg, flags: number): number {
  const result = ffi().syscall.fd2(
    SYS_open_tree,
    BigInt(dirfd),
    cString(path),
    BigInt(flags | O_CLOEXEC),
    Buffer.alloc(1),
    0n,
  );
  return check("open_tree", result, path);
}

/** move_mount(2) of a mount object onto what `toFd` refers to. */
export function moveMountTo(fromFd: number, toFd: number): void {
  const empty = Buffer.alloc(1);
  check("move_mount", ffi().syscall.fd2(SYS_move_mount, BigInt(fromFd), empty, BigInt(toFd), empty, 0x44n));
}

/**
 * A new instance of a file system that is mounted nowhere yet (fsopen(2), fsmount(2)): a descriptor of its root.
 * `attributes` are MOUNT_ATTR_*.
 */
export function makeFileSystem(type: string, options: Readonly<Record<string, string>>, attributes: number): number {
  const [FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC] = [1n, 1n];
  const [FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE] = [1n, 6n];
  const { syscall } = ffi();
  const context = check("fsopen", syscall.bufInt(SYS_fsopen, cString(type), FSOPEN_CLOEXEC), type);
  try {
    for (const [name, value] of Object.entries(options)) {
      const set = syscall.setting(SYS_fsconfig, BigInt(context), FSCONFIG_SET_STRING, cString(name), cString(value), 0n);
      check("fsconfig", set, `${type} ${name}`);
    }
    check("fsconfig", syscall.ints6(SYS_fsconfig, BigInt(context), FSCONFIG_CMD_CREATE, 0n, 0n, 0n), type);
    const made = syscall.ints(SYS_fsmount, BigInt(context), FSMOUNT_CLOEXEC, BigInt(attributes), 0n);
    return check("fsmount", made, type);
  } finally {
    closeSync(context);
  }
}

/** mount_setattr(2) on a mount object or path; `recursive` covers the mounts below it. */
export function mountSetattr(
  dirfd: number,
  path: PathArg,
  set: number,
  clear: number,
  options: { recursive?: boolean; propagation?: number; usernsFd?: number } = {},
): void {
  const attr = Buffer.alloc(32);
  attr.writeBigUInt64LE(BigInt(set), 0);
  attr.writeBigUInt64LE(BigInt(clear), 8);
  attr.writeBigUInt64LE(BigInt(options.propagation ?? 0), 16);
  attr.writeBigUInt64LE(BigInt(options.usernsFd ?? 0), 24);
  const flags = AT_EMPTY_PATH | (options.recursive === true ? AT_RECURSIVE : 0);
  const result = ffi().syscall.fd2(SYS_mount_setattr, BigInt(dirfd), cString(path), BigInt(flags), attr, 32n);
  check("mount_setattr", result, path);
}

// --- Landlock --------------------------------------------------------------------

export const LANDLOCK_ACCESS_FS_REFER = 1n << 13n;
export const LANDLOCK_SCOPE_SIGNAL = 1n << 1n;

/** The version of the interface (landlock(7)); 0 where the kernel has none, has it turned off, or a filter forbids it. */
export function landlockVersion(): number {
  const LANDLOCK_CREATE_RULESET_VERSION = 1n;
  const version = ffi().syscall.ints(SYS_landlock_create_ruleset, 0n, 0n, LANDLOCK_CREATE_RULESET_VERSION, 0n);
  if (version >= 0n) return Number(version);
  const errno = ffi().errno();
  const { ENOSYS, EOPNOTSUPP, EPERM } = constants.errno;
  if ([ENOSYS, EOPNOTSUPP, EPERM].includes(errno)) return 0;
  throw new SyscallError("landlock_create_ruleset", errno);
}

/** A descriptor of a set that denies all these rights. An older kernel knows only the first fields, and is shown no others. */
export function landlockCreateRuleset({ files = 0n, scoped = 0n }: { files?: bigint; scoped?: bigint }): number {
  const attributes = Buffer.alloc(24);
  attributes.writeBigUInt64LE(files, 0);
  attributes.writeBigUInt64LE(scoped, 16);
  const result = ffi().syscall.bufInts(SYS_landlock_create_ruleset, attributes, scoped === 0n ? 8n : 24n, 0n);
  return check("landlock_create_ruleset", result);
}

/** Allows the rights on what `fd` refers to, and below. */
export function landlockAllowBelow(ruleset: number, fd: number, rights: bigint): void {
  const LANDLOCK_RULE_PATH_BENEATH = 1n;
  const rule = Buffer.alloc(12);
  rule.writeBigUInt64LE(rights, 0);
  rule.writeInt32LE(fd, 8);
  const result = ffi().syscall.intsBufInt(
    SYS_landlock_add_rule,
    BigInt(ruleset),
    LANDLOCK_RULE_PATH_BENEATH,
    rule,
    0n,
  );
  check("landlock_add_rule", result);
}

/** Of this thread, and what it becomes and starts. */
export function landlockRestrictSelf(ruleset: number): void {
  check("landlock_restrict_self", ffi().syscall.ints(SYS_landlock_restrict_self, BigInt(ruleset), 0n, 0n, 0n));
}

// --- processes ----------------------------------------------------------------

/** Gives a signal its default disposition: Node.js ignores SIGPIPE and SIGXFSZ, and execve keeps what is ignored. */
export function resetSignal(signal: number): void {
  const act = Buffer.alloc(32);
  check("rt_sigaction", ffi().syscall.how(SYS_rt_sigaction, BigInt(signal), act, Buffer.alloc(32), 8n));
}

/** Lets this thread, and what it becomes, have a signal again: with RUNTIME_OPTIONS Node.js blocks SIGUSR1, and execve keeps what is blocked. */
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

/** One thread runs whenever it can, before all that are not real-time; what it starts does not (sched_setscheduler(2)). */
export function setRoundRobin(thread: number, priority: number): void {
  const parameters = Buffer.alloc(4);
  parameters.writeInt32LE(priority);
  const policy = SCHED_RR | SCHED_RESET_ON_FORK;
  const result = ffi().syscall.intsBuf(SYS_sched_setscheduler, BigInt(thread), policy, parameters);
  check("sched_setscheduler", result);
}

/** A session of its own, without a terminal (setsid(2)); EPERM for who leads a process group. */
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
 * Ids of the calling thread alone, without the signals to the others that
 * libc sends: for who is about to execve, which leaves no other thread.
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

/** capset(2): of the calling thread only, which is the one that `execve` turns into the process. */
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

/** A descriptor that stays with this very process, whatever becomes of its number (pidfd_open(2)). */
export function pidfdOpen(pid: number): number {
  return check("pidfd_open", ffi().syscall.ints(SYS_pidfd_open, BigInt(pid), 0n, 0n, 0n));
}

export function pidfdSendSignal(fd: number, signal: number): void {
  check("pidfd_send_signal", ffi().syscall.ints(SYS_pidfd_send_signal, BigInt(fd), BigInt(signal), 0n, 0n));
}

/**
 * Calls execveat(2) of a program that is open, after it has installed a system call filter, a BPF program, where one
 * is given: what the filter denies is denied to this process too, and the runtime makes calls of its own accord. So all
 * is made ready before, and between the two nothing happens but their results. Returns only by throwing, "seccomp"
 * when the filter was not installed, and "execveat" when it was.
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
