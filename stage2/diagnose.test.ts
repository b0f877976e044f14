import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { mkfifo } from "../shared/syscall/file.ts";
import { runs32Bit } from "../test/helpers/kernel.ts";
import { diagnose, findProblem } from "./diagnose.ts";

interface Elf {
  /** e_ident[EI_CLASS]: 1 is 32 bit, 2 is 64. */
  wide?: boolean;
  big?: boolean;
  machine?: number;
  type?: number;
  interpreter?: string;
  /** Overrides of e_phnum and e_phoff. */
  count?: number;
  offset?: number;
}

/** An ELF header with a PT_INTERP, or with one PT_NULL (elf(5)). */
function elf({ wide = true, big = false, machine = 62, type = 2, interpreter, count = 1, offset }: Elf): Buffer {
  const [header, entry] = wide ? [64, 56] : [52, 32];
  const file = Buffer.alloc(header + entry);
  const u16 = (value: number, at: number) => (big ? file.writeUInt16BE(value, at) : file.writeUInt16LE(value, at));
  const u32 = (value: number, at: number) => (big ? file.writeUInt32BE(value, at) : file.writeUInt32LE(value, at));
  const word = (value: number, at: number) => {
    if (!wide) u32(value, at);
    else if (big) file.writeBigUInt64BE(BigInt(value), at);
    else file.writeBigUInt64LE(BigInt(value), at);
  };
  file.write("\x7fELF", "latin1");
  file[4] = wide ? 2 : 1;
  file[5] = big ? 2 : 1;
  file[6] = 1;
  u16(type, 16);
  u16(machine, 18);
  word(offset ?? header, wide ? 32 : 28);
  u16(entry, wide ? 54 : 42);
  u16(count, wide ? 56 : 44);
  const text = Buffer.from(interpreter === undefined ? "" : `${interpreter}\0`);
  u32(interpreter === undefined ? 0 : 3, header);
  word(file.length, header + (wide ? 8 : 4));
  word(text.length, header + (wide ? 32 : 16));
  return Buffer.concat([file, text]);
}

const root = mkdtempSync(join(tmpdir(), "rkt-diagnose-"));
after(() => rmSync(root, { recursive: true }));
const here = (name: string): string => join(root, name);

function put(name: string, content: string | Buffer, mode = 0o755): string {
  writeFileSync(here(name), content);
  chmodSync(here(name), mode);
  return here(name);
}

const MODE = "mode 0644";

let writer: number | undefined;
after(() => {
  if (writer !== undefined) closeSync(writer);
});

/** In the order of what is looked at. `make` answers the path that is executed; `errno` is what Linux says to it. */
const cases: { name: string; make: (name: string) => string; errno: string; reason: string }[] = [
  { name: "missing", make: here, errno: "ENOENT", reason: "no such file" },
  { name: "missing directory", make: (name) => here(`${name}/program`), errno: "ENOENT", reason: "no such file" },
  {
    name: "file as a directory",
    make: (name) => `${put(name, "")}/program`,
    errno: "ENOTDIR",
    reason: "a part of its path is not a directory",
  },
  {
    name: "dangling link",
    make: (name) => {
      symlinkSync("/nowhere/at all", here(name));
      return here(name);
    },
    errno: "ENOENT",
    reason: 'it is a link to "/nowhere/at all", which does not exist',
  },
  {
    name: "loop",
    make: (name) => {
      symlinkSync(name, here(name));
      return here(name);
    },
    errno: "ELOOP",
    reason: "its path has too many symbolic links, a loop of them, or a link of /proc",
  },
  {
    name: "directory",
    make: (name) => {
      mkdirSync(here(name));
      return here(name);
    },
    errno: "EACCES",
    reason: "it is a directory",
  },
  {
    name: "fifo",
    make: (name) => {
      mkfifo(here(name), 0o755);
      return here(name);
    },
    errno: "EACCES",
    reason: "it is not a regular file",
  },
  {
    name: "mode",
    make: (name) => put(name, "#!/bin/sh\n", 0o644),
    errno: "EACCES",
    reason: `it is not executable (${MODE})`,
  },
  {
    name: "in use",
    make: (name) => {
      copyFileSync("/bin/true", here(name));
      writer = openSync(here(name), "r+");
      return here(name);
    },
    errno: "ETXTBSY",
    reason: "the file is open for writing",
  },
  { name: "empty", make: (name) => put(name, ""), errno: "ENOEXEC", reason: "it is empty" },
  {
    name: "script without a line",
    make: (name) => put(name, "echo hello\n"),
    errno: "ENOEXEC",
    reason: 'it is neither an ELF program nor a script that begins with "#!"',
  },
  {
    name: "byte order mark",
    make: (name) => put(name, "\ufeff#!/bin/sh\n"),
    errno: "ENOEXEC",
    reason: 'it is neither an ELF program nor a script that begins with "#!"',
  },
  {
    name: "interpreter missing",
    make: (name) => put(name, "#! /opt/no/bash -e\necho\n"),
    errno: "ENOENT",
    reason: 'its interpreter "/opt/no/bash" is not in the image',
  },
  {
    name: "interpreter not executable",
    make: (name) => put(name, `#!${put("plain", "", 0o644)}\n`),
    errno: "EACCES",
    reason: `its interpreter "${here("plain")}" cannot be executed: it is not executable (${MODE})`,
  },
  {
    name: "interpreter is a script of a missing one",
    make: (name) => put(name, `#!${put("outer", "#!/opt/no/inner\n")}\n`),
    errno: "ENOENT",
    reason: `its interpreter "${here("outer")}" cannot be executed: its interpreter "/opt/no/inner" is not in the image`,
  },
  {
    name: "script of itself",
    make: (name) => put(name, `#!${here(name)}\n`),
    errno: "ELOOP",
    reason: "its path has too many symbolic links, a loop of them, or a link of /proc",
  },
  {
    name: "carriage return",
    make: (name) => put(name, "#!/bin/sh\r\necho hello\r\n"),
    errno: "ENOENT",
    reason: 'its "#!" line ends in CR LF, as on Windows; it must end in LF',
  },
  {
    name: "nothing after #!",
    make: (name) => put(name, "#!  \n/bin/sh\n"),
    errno: "ENOEXEC",
    reason: 'its "#!" line names no interpreter',
  },
  {
    name: "long line",
    make: (name) => put(name, `#!/${"x".repeat(300)}\n`),
    errno: "ENOEXEC",
    reason: 'its "#!" line is longer than 255 bytes',
  },
  {
    name: "arm",
    make: (name) => put(name, elf({ machine: 183 })),
    errno: "ENOEXEC",
    reason: "it is made for aarch64, and this is x86-64",
  },
  {
    name: "arm 32",
    make: (name) => put(name, elf({ machine: 40, wide: false })),
    errno: "ENOEXEC",
    reason: "it is made for arm, and this is x86-64",
  },
  {
    name: "big endian",
    make: (name) => put(name, elf({ machine: 22, big: true })),
    errno: "ENOEXEC",
    reason: "it is made for s390x, and this is x86-64",
  },
  {
    name: "unheard of",
    make: (name) => put(name, elf({ machine: 9999 })),
    errno: "ENOEXEC",
    reason: "it is made for machine 9999, and this is x86-64",
  },
  {
    name: "object file",
    make: (name) => put(name, elf({ type: 1 })),
    errno: "ENOEXEC",
    reason: "it is an object file, not a program",
  },
  {
    name: "glibc missing",
    make: (name) => put(name, elf({ interpreter: "/opt/no/ld-linux-x86-64.so.2" })),
    errno: "ENOENT",
    reason: 'its interpreter "/opt/no/ld-linux-x86-64.so.2" is not in the image (linked with glibc)',
  },
  {
    name: "musl missing",
    make: (name) => put(name, elf({ interpreter: "/opt/no/ld-musl-x86_64.so.1", type: 3 })),
    errno: "ENOENT",
    reason: 'its interpreter "/opt/no/ld-musl-x86_64.so.1" is not in the image (linked with musl)',
  },
  {
    name: "other interpreter missing",
    make: (name) => put(name, elf({ interpreter: "/opt/no/rtld" })),
    errno: "ENOENT",
    reason: 'its interpreter "/opt/no/rtld" is not in the image',
  },
  {
    name: "32 bit, and no loader",
    make: (name) => put(name, elf({ wide: false, machine: 3, interpreter: "/opt/no/ld-linux.so.2" })),
    errno: runs32Bit() ? "ENOENT" : "ENOEXEC",
    reason: 'its interpreter "/opt/no/ld-linux.so.2" is not in the image (a 32-bit program, linked with glibc)',
  },
  {
    name: "interpreter of a program is no file",
    make: (name) => put(name, elf({ interpreter: "/proc" })),
    errno: "EACCES",
    reason: 'its interpreter "/proc" cannot be executed: it is a directory',
  },
  {
    name: "cut after the magic",
    make: (name) => put(name, "\x7fELF"),
    errno: "ENOEXEC",
    reason: "it is a damaged ELF file",
  },
  {
    name: "cut in the program headers",
    make: (name) => {
      const path = put(name, elf({ interpreter: "/bin/sh", count: 2 }));
      truncateSync(path, 100);
      return path;
    },
    errno: "ENOEXEC",
    reason: "it is a damaged ELF file",
  },
  {
    name: "no program headers",
    make: (name) => put(name, elf({ count: 0 })),
    errno: "ENOEXEC",
    reason: "it is a damaged ELF file",
  },
  {
    name: "program headers beyond the end",
    make: (name) => put(name, elf({ offset: 2 ** 40 })),
    errno: "ENOEXEC",
    reason: "it is a damaged ELF file",
  },
];

/** What execve(2) itself says to each path, asked in one process: libc's execvp would hand a file without a format to a shell. */
function errnos(paths: string[]): string[] {
  const ask = `
    const codes = JSON.parse(process.argv[1]).map((path) => {
      try { process.execve(path, [path], {}); } catch (error) { return error.code; }
    });
    process.stdout.write(JSON.stringify(codes));`;
  const out = execFileSync(process.execPath, ["--no-warnings", "-e", ask, JSON.stringify(paths)], { encoding: "utf8" });
  return JSON.parse(out);
}

let paths: string[] = [];
let codes: string[] = [];
before(() => {
  // No spaces: a "#!" line ends at one.
  paths = cases.map((c) => c.make(c.name.replaceAll(" ", "-")));
  codes = errnos(paths);
});

cases.forEach((c, i) => {
  test(c.name, () => {
    assert.equal(codes[i], c.errno);
    assert.equal(diagnose(paths[i] ?? "", Object.assign(new Error(), { code: codes[i] })), c.reason);
  });
});

test("a program without fault keeps the kernel's word", () => {
  assert.equal(diagnose("/bin/true", Object.assign(new Error(), { code: "EPERM" })), "EPERM");
});

test("nothing is looked at by a link of /proc: the root of another thread may be stage 1's", () => {
  // The kernel's own attempt would succeed here, where there is one root.
  const file = put("by-a-link", "#!/proc/self/root/bin/sh\n");
  assert.equal(
    findProblem(file),
    'its interpreter "/proc/self/root/bin/sh" cannot be executed: its path has too many symbolic links, a loop of them, or a link of /proc',
  );
});
