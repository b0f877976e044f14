/**
 * Loads libc by `node:ffi`, for Linux system calls that Node.js does not offer. No other module loads `node:ffi`. The
 * files beside it have the calls, one file for each subject.
 *
 * Each wrapper makes one call and throws `SyscallError` if it fails; it decides nothing. x86-64 only (syscall numbers,
 * struct layouts).
 *
 * Paths are strings (UTF-8) or Buffers (any bytes but NUL).
 */

import type { FunctionSignature } from "node:ffi";
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
  getxattr: { return: "i64", arguments: ["buffer", "buffer", "buffer", "u64"] },
  listxattr: { return: "i64", arguments: ["buffer", "buffer", "u64"] },
  prctl: { return: "i32", arguments: ["i32", "u64", "u64", "u64", "u64"] },
  sethostname: { return: "i32", arguments: ["buffer", "u64"] },
  syncfs: { return: "i32", arguments: ["i32"] },
  ioctl: { return: "i32", arguments: ["i32", "u64", "i64"] },
  isatty: { return: "i32", arguments: ["i32"] },
  getsockopt: { return: "i32", arguments: ["i32", "i32", "i32", "buffer", "buffer"] },
  getsockname: { return: "i32", arguments: ["i32", "buffer", "buffer"] },
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
export function ffi(): Ffi {
  if (loaded !== undefined) return loaded;
  const module = process.getBuiltinModule("node:ffi");
  const { lib } = module.dlopen("libc.so.6");
  const libc = bindLazily(definitions, (name, signature) => lib.getFunction(name, signature)) as Libc;
  // Bound at once: binding makes system calls, which would later overwrite the errno that a caller wants to read.
  const location = libc.__errno_location() as bigint;
  const syscall = bindLazily(SYSCALL_SHAPES, (_, args) =>
    module.dlopen("libc.so.6").lib.getFunction("syscall", { return: "i64", arguments: args }),
  ) as Ffi["syscall"];
  loaded = { libc, syscall, errno: () => module.getInt32(location) };
  return loaded;
}

/** An object whose members are made at their first use: each takes some 50 µs, for the mmap(2) of its trampoline. */
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

/** The signatures of `syscall(2)` that are used here. On x86-64 a fixed signature works for a variadic function. */
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

/** NUL-terminated bytes of a path or name. A NUL inside is refused, because it would silently name another file. */
export function cString(text: PathArg): Buffer {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  if (bytes.includes(0)) throw new SyscallError("path", constants.errno.EINVAL, JSON.stringify(String(text)));
  return Buffer.concat([bytes, Buffer.of(0)]);
}

export function check(name: string, result: number | bigint, path?: PathArg): number {
  const n = Number(result);
  if (n < 0) throw new SyscallError(name, ffi().errno(), path === undefined ? undefined : String(path));
  return n;
}
