/**
 * System call filters by libseccomp (seccomp_init(3) and its family). Like
 * `linux.ts`, it makes calls and throws; which filter, others decide.
 */

import { closeSync, fstatSync, readSync } from "node:fs";
import type { FilterAction, SystemCallFilter } from "../seccomp.ts";
import { cString, memfdCreate, SyscallError } from "./linux.ts";

const SCMP_ACT_KILL_PROCESS = 0x80000000;
const SCMP_ACT_ERRNO = 0x00050000;
const SCMP_ACT_ALLOW = 0x7fff0000;
const SCMP_CMP_MASKED_EQ = 7;
/** 32-bit programs make other calls by the same numbers. */
const SCMP_ARCH_X86 = 0x40000003;
const SCMP_ERROR = -1;

const LIBRARY = "libseccomp.so.2";

function actionCode(action: FilterAction): number {
  if (action === "allow") return SCMP_ACT_ALLOW;
  return action === "kill" ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO | action;
}

/**
 * The filter as a BPF program of the kernel's (struct sock_filter[]), for
 * x86-64 and 32-bit x86; calls of any other kind end the process.
 */
export function compileFilter(filter: SystemCallFilter, library = LIBRARY): Buffer {
  const { lib } = process.getBuiltinModule("node:ffi").dlopen(library);
  const init = lib.getFunction("seccomp_init", { return: "pointer", arguments: ["u32"] });
  const release = lib.getFunction("seccomp_release", { return: "void", arguments: ["pointer"] });
  const addArch = lib.getFunction("seccomp_arch_add", { return: "i32", arguments: ["pointer", "u32"] });
  const resolve = lib.getFunction("seccomp_syscall_resolve_name", { return: "i32", arguments: ["buffer"] });
  const addRule = lib.getFunction("seccomp_rule_add_array", {
    return: "i32",
    arguments: ["pointer", "u32", "i32", "u32", "buffer"],
  });
  const exportBpf = lib.getFunction("seccomp_export_bpf", { return: "i32", arguments: ["pointer", "i32"] });

  const context = init(actionCode(filter.otherwise));
  if (context === 0n) throw new Error("seccomp_init failed");
  const check = (name: string, result: unknown, what?: string) => {
    if (Number(result) < 0) throw new SyscallError(name, -Number(result), what);
  };
  const program = memfdCreate("seccomp");
  try {
    check("seccomp_arch_add", addArch(context, SCMP_ARCH_X86));
    for (const { call, action, argument } of filter.rules) {
      if (action === filter.otherwise) continue;
      const number = Number(resolve(cString(call)));
      if (number === SCMP_ERROR) throw new Error(`libseccomp knows no system call "${call}"`);
      const comparison = Buffer.alloc(24);
      comparison.writeUInt32LE(argument?.index ?? 0, 0);
      comparison.writeUInt32LE(SCMP_CMP_MASKED_EQ, 4);
      comparison.writeBigUInt64LE(BigInt(argument?.mask ?? 0), 8);
      comparison.writeBigUInt64LE(BigInt(argument?.value ?? 0), 16);
      const comparisons = argument === undefined ? 0 : 1;
      check("seccomp_rule_add", addRule(context, actionCode(action), number, comparisons, comparison), call);
    }
    check("seccomp_export_bpf", exportBpf(context, program));
    const bytes = Buffer.alloc(fstatSync(program).size);
    readSync(program, bytes, 0, bytes.length, 0);
    return bytes;
  } finally {
    closeSync(program);
    release(context);
  }
}
