/**
 * Finds out why a program did not start. execve(2) returns the same errno for a dozen mistakes, most of them in how an
 * image was made. This looks at the file as the kernel does, in the kernel's order, and names the first mistake.
 *
 * It runs in the app's root with the app's rights. The files are the image's: they are not trusted, and only a little
 * of them is read.
 */

import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  readFileSync,
  readSync,
  realpathSync,
  type Stats,
} from "node:fs";
import { constants as os } from "node:os";
import { errorCode } from "../shared/errors.ts";
import { AT_FDCWD, O_PATH, openat2, RESOLVE_NO_MAGICLINKS, readlinkat } from "../shared/syscall/file.ts";

/** A reason as the end of a sentence: `cannot execute "/x": ${reason}`. */
export function diagnose(path: string, error: unknown): string {
  const code = errorCode(error);
  return (
    REASONS[code ?? ""] ??
    problem(path, 0) ??
    (code === "EACCES" ? noexec(path) : undefined) ??
    (code === "ENOEXEC" ? UNKNOWN_FORMAT : undefined) ??
    code ??
    String(error)
  );
}

/** Checks a program before it is executed. Undefined if no mistake is found. */
export const findProblem = (path: string): string | undefined => problem(path, 0);

/** What each errno of execve(2) means for a program in which `findProblem` finds no mistake. */
export function failureReasons(path: string): ReadonlyMap<number, string> {
  const closed = noexec(path) ?? "EACCES";
  const all = { ...REASONS, ENOEXEC: UNKNOWN_FORMAT, EACCES: closed, ENOENT: "no such file", EPERM: "EPERM" };
  return new Map(Object.entries(all).map(([code, reason]) => [os.errno[code as keyof typeof os.errno], reason]));
}

const UNKNOWN_FORMAT = "this kernel does not know its format";

/** Errors whose meaning does not depend on the file. */
const REASONS: Record<string, string> = {
  E2BIG: "the arguments and the environment are too long",
  ELOOP: "its path has too many symbolic links, a loop of them, or a link of /proc",
  EMFILE: "too many open files",
  ENAMETOOLONG: "its path is too long",
  ENOMEM: "out of memory",
  ENOTDIR: "a part of its path is not a directory",
  ETXTBSY: "the file is open for writing",
};

/** How many scripts in turn the kernel accepts as each other's interpreter. */
const MAX_SCRIPTS = 5;

/** Why a file can't be executed; undefined if no mistake is found. */
function problem(file: string, scripts: number): string | undefined {
  let stat: Stats;
  try {
    const found = openInRoot(file, O_PATH);
    stat = fstatSync(found);
    closeSync(found);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return danglingLink(file) ?? "no such file";
    if (errorCode(error) === "EACCES") return "a directory on its path is closed to the app's user";
    return REASONS[errorCode(error) ?? ""];
  }
  const unfit = notAProgram(stat);
  if (unfit !== undefined) return unfit;
  if (!mayExecute(file))
    return `the app's user may not execute it (mode ${modeText(stat)}, owner ${stat.uid}:${stat.gid})`;
  return contentProblem(file, scripts);
}

/** Why nobody could execute a file, as the end of a sentence. */
function notAProgram(stat: Stats): string | undefined {
  if (stat.isDirectory()) return "it is a directory";
  if (!stat.isFile()) return "it is not a regular file";
  return (stat.mode & 0o111) === 0 ? `it is not executable (mode ${modeText(stat)})` : undefined;
}

const modeText = ({ mode }: Stats): string => (mode & 0o7777).toString(8).padStart(4, "0");

/**
 * Opens a file without following links of /proc: a script's interpreter may lead through /proc/self/task/TID/root. The
 * runtime's other threads still have the old root there: stage 1's, in fly the host's.
 */
const openInRoot = (file: string, flags: number): number => openat2(AT_FDCWD, file, flags, 0, RESOLVE_NO_MAGICLINKS);

function danglingLink(file: string): string | undefined {
  let link: number | undefined;
  try {
    link = openInRoot(file, O_PATH | constants.O_NOFOLLOW);
    return `it is a link to "${readlinkat(link)}", which does not exist`;
  } catch {
    // Nothing has that name, or it is no link.
    return undefined;
  } finally {
    if (link !== undefined) closeSync(link);
  }
}

function mayExecute(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The kernel reads this many bytes of a script (BINPRM_BUF_SIZE). An ELF header fits. */
const HEAD = 256;

function contentProblem(file: string, scripts: number): string | undefined {
  let fd: number;
  try {
    fd = openInRoot(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    // A program may be executable without being readable.
    return undefined;
  }
  try {
    const head = read(fd, 0, HEAD);
    if (head.length === 0) return "it is empty";
    if (head.toString("latin1", 0, 2) === "#!") return scriptProblem(head, scripts);
    if (head.toString("latin1", 0, 4) === "\x7fELF") return elfProblem(fd, head);
    return 'it is neither an ELF program nor a script that begins with "#!"';
  } finally {
    closeSync(fd);
  }
}

function read(fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, position));
}

// --- scripts ------------------------------------------------------------------------

function scriptProblem(head: Buffer, scripts: number): string | undefined {
  const text = head.toString("utf8", 2);
  const end = text.indexOf("\n");
  const line = end < 0 ? text : text.slice(0, end);
  const interpreter = /^[ \t]*([^ \t\0]*)/.exec(line)?.[1] ?? "";
  if (interpreter === "" || interpreter === "\r") return 'its "#!" line names no interpreter';
  if (end < 0 && head.length === HEAD) return `its "#!" line is longer than ${HEAD - 1} bytes`;
  if (interpreter.endsWith("\r")) return 'its "#!" line ends in CR LF, as on Windows; it must end in LF';
  if (scripts >= MAX_SCRIPTS) return "its interpreter is a script in turn, too many times";
  return interpreterProblem(interpreter, "", scripts + 1);
}

function interpreterProblem(path: string, remark: string, scripts: number): string | undefined {
  const reason = problem(path, scripts);
  if (reason === undefined) return undefined;
  if (reason === "no such file") return `its interpreter "${path}" is not in the image${remark}`;
  return `its interpreter "${path}" cannot be executed: ${reason}`;
}

// --- ELF ----------------------------------------------------------------------------

/** Values of e_machine that images are made for (elf.h). */
const MACHINES: Record<number, string> = {
  2: "sparc",
  3: "i386",
  8: "mips",
  20: "ppc",
  21: "ppc64",
  22: "s390x",
  40: "arm",
  43: "sparc64",
  62: "x86-64",
  183: "aarch64",
  243: "riscv",
  258: "loongarch",
};
const X86_64 = 62;
const I386 = 3;

const TYPES: Record<number, string> = { 1: "an object file", 4: "a core dump" };

const PT_INTERP = 3;
/** PATH_MAX: the kernel refuses a longer interpreter. */
const MAX_INTERPRETER = 4096;
/** The kernel's own limit: a page of program headers. */
const MAX_PROGRAM_HEADERS = 4096;

/** Checks the fields of elf(5) that the kernel reads before it starts a program. */
function elfProblem(fd: number, head: Buffer): string | undefined {
  const damaged = "it is a damaged ELF file";
  const wide = head[4] === 2;
  const big = head[5] === 2;
  if (head.length < (wide ? 64 : 52)) return damaged;
  const u16 = (data: Buffer, at: number) => (big ? data.readUInt16BE(at) : data.readUInt16LE(at));
  const u32 = (data: Buffer, at: number) => (big ? data.readUInt32BE(at) : data.readUInt32LE(at));
  const word = (data: Buffer, at: number) =>
    wide ? Number(big ? data.readBigUInt64BE(at) : data.readBigUInt64LE(at)) : u32(data, at);

  const machine = u16(head, 18);
  if (machine !== X86_64 && machine !== I386)
    return `it is made for ${MACHINES[machine] ?? `machine ${machine}`}, and this is x86-64`;
  const type = TYPES[u16(head, 16)];
  if (type !== undefined) return `it is ${type}, not a program`;

  const start = word(head, wide ? 32 : 28);
  const size = u16(head, wide ? 54 : 42);
  const count = u16(head, wide ? 56 : 44);
  if (size !== (wide ? 56 : 32) || count === 0 || size * count > MAX_PROGRAM_HEADERS) return damaged;
  if (start + size * count > fstatSync(fd).size) return damaged;
  const headers = read(fd, start, size * count);
  if (headers.length < size * count) return damaged;
  for (let at = 0; at < headers.length; at += size) {
    if (u32(headers, at) !== PT_INTERP) continue;
    const offset = word(headers, at + (wide ? 8 : 4));
    const length = word(headers, at + (wide ? 32 : 16));
    if (length < 2 || length > MAX_INTERPRETER || offset + length > fstatSync(fd).size) return damaged;
    const interpreter = read(fd, offset, length - 1).toString();
    return interpreterProblem(interpreter, libraryRemark(interpreter, wide), MAX_SCRIPTS);
  }
  return undefined;
}

/** Names the C library that the image lacks, judged by the name of its loader. */
function libraryRemark(interpreter: string, wide: boolean): string {
  const library = /\/ld-musl/.test(interpreter) ? "musl" : /\/ld-linux/.test(interpreter) ? "glibc" : undefined;
  const words = [wide ? "" : "a 32-bit program", library === undefined ? "" : `linked with ${library}`];
  const text = words.filter((word) => word !== "").join(", ");
  return text === "" ? "" : ` (${text})`;
}

// --- mounts -------------------------------------------------------------------------

/** Names the mount with "noexec" that a file lies on, if there is one (proc_pid_mountinfo(5)). */
function noexec(path: string): string | undefined {
  try {
    const file = realpathSync(path);
    let mountPoint = "";
    let options = "";
    for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
      const fields = line.split(" ");
      const point = (fields[4] ?? "").replace(/\\([0-7]{3})/g, (_, octal) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      );
      const holds = point === "/" || file === point || file.startsWith(`${point}/`);
      // If two mounts have the same mount point, the later one is on top.
      if (point !== "" && holds && point.length >= mountPoint.length) [mountPoint, options] = [point, fields[5] ?? ""];
    }
    return options.split(",").includes("noexec") ? `${mountPoint} is mounted noexec` : undefined;
  } catch {
    return undefined;
  }
}
