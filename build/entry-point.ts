/**
 * Adds code to an executable that runs before the program's own first instruction (ADR 9). It removes the caller's
 * environment, so that neither the runtime nor a library obeys a variable of it, and marks the caller's descriptors
 * close-on-exec. The build gives this code to all executables (build/runtime.ts).
 *
 * At that time the dynamic linker has run, but no code of the program. The program and the C library take arguments and
 * environment from the stack, where the kernel has put them (System V ABI, "Process Initialization"). So the code changes
 * the pointers there. The texts of the environment stay in memory: our programs can read the caller's variables in
 * /proc/self/environ (shared/callers-environment.ts).
 *
 * The ELF file (elf(5)) gets a page at its end, with a longer table of segments and, behind the table, the code. The
 * table's new entry loads that page. The file's header is changed to start at the code, which ends with a jump to the
 * program's own entry point. The code does not depend on the program. It is machine code (x86-64), like
 * build/exec-helper.ts, because the project has no compiler.
 */

import { RktError } from "../shared/errors.ts";

/** Sizes of the file's header and of an entry in its table of segments. */
const [EHDR, PHDR] = [64, 56];
/** Offsets of fields in the file's header. */
const [E_TYPE, E_MACHINE, E_ENTRY, E_PHOFF, E_PHENTSIZE, E_PHNUM] = [16, 18, 24, 32, 54, 56];
const PAGE = 4096;
/** Values of e_type, e_machine, p_type and p_flags. */
const [ET_EXEC, ET_DYN, EM_X86_64] = [2, 3, 62];
const [PT_LOAD, PT_INTERP, PT_PHDR] = [1, 3, 6];
const [X, R] = [1, 4];

/** An entry of the table of segments ("program headers"). */
interface Segment {
  type: number;
  flags: number;
  offset: number;
  address: number;
  fileSize: number;
  size: number;
  align: number;
}

/** A copy of the executable that starts with our code. */
export function withOwnEntryPoint(program: Buffer): Buffer {
  const segments = readSegments(program);
  const entry = Number(program.readBigUInt64LE(E_ENTRY));
  const page = freePage(program.length, segments);
  const tableSize = (segments.length + 1) * PHDR;
  const code = entryCode({ from: page.address + tableSize, to: entry });
  const size = tableSize + code.length;
  if (size > PAGE) throw unexpected("its table of segments is longer than a page");

  const table = segments.map((segment) =>
    segment.type === PT_PHDR ? { ...segment, ...page, fileSize: tableSize, size: tableSize } : segment,
  );
  const added = { type: PT_LOAD, flags: R | X, ...page, fileSize: size, size, align: PAGE };
  // Loaded segments must be in the order of their addresses.
  const next = table.findIndex(({ type, address }) => type === PT_LOAD && address > page.address);
  table.splice(next < 0 ? table.findLastIndex(({ type }) => type === PT_LOAD) + 1 : next, 0, added);

  const changed = Buffer.alloc(page.offset + size);
  program.copy(changed);
  changed.writeBigUInt64LE(BigInt(page.address + tableSize), E_ENTRY);
  changed.writeBigUInt64LE(BigInt(page.offset), E_PHOFF);
  changed.writeUInt16LE(table.length, E_PHNUM);
  for (const [i, segment] of table.entries()) writeSegment(changed, page.offset + i * PHDR, segment);
  code.copy(changed, page.offset + tableSize);
  return changed;
}

/**
 * Finds a page after the end of the file whose address in memory is free. Address and offset must have the same
 * distance as those of the first segment, because kernels before 5.18 compute the address of the table of segments in
 * this way.
 */
function freePage(length: number, segments: readonly Segment[]): { offset: number; address: number } {
  const loaded = segments.filter(({ type }) => type === PT_LOAD);
  const first = loaded[0];
  if (first === undefined) throw unexpected("it has nothing to load");
  const pageEnd = (at: number) => Math.ceil(at / PAGE) * PAGE;
  for (let offset = pageEnd(length); ; offset += PAGE) {
    const address = first.address - first.offset + offset;
    const overlaps = ({ address: start, size }: Segment) => start < address + PAGE && pageEnd(start + size) > address;
    if (!loaded.some(overlaps)) return { offset, address };
  }
}

/** Throws if the executable is of a kind for which the code would not work. */
function readSegments(program: Buffer): Segment[] {
  const isElf = program.length >= EHDR && program.toString("latin1", 0, 6) === "\x7fELF\x02\x01";
  if (!isElf || program.readUInt16LE(E_MACHINE) !== EM_X86_64) throw unexpected("it is no ELF executable of x86-64");
  if (![ET_EXEC, ET_DYN].includes(program.readUInt16LE(E_TYPE)) || program.readUInt16LE(E_PHENTSIZE) !== PHDR)
    throw unexpected("it is no ELF executable that this build knows");
  const table = Number(program.readBigUInt64LE(E_PHOFF));
  const count = program.readUInt16LE(E_PHNUM);
  if (table + count * PHDR > program.length) throw unexpected("its table of segments is cut off");
  const segments = Array.from({ length: count }, (_, i) => readSegment(program, table + i * PHDR));
  // A static program's C library looks for the auxiliary vector right after the environment, and would not find it.
  if (!segments.some(({ type }) => type === PT_INTERP)) throw unexpected("it is linked statically");
  // Without it, the dynamic linker could not find out where a program without a fixed address was loaded.
  if (!segments.some(({ type }) => type === PT_PHDR)) throw unexpected("its table of segments has no entry for itself");
  const entry = Number(program.readBigUInt64LE(E_ENTRY));
  const holds = ({ type, flags, address, fileSize }: Segment) =>
    type === PT_LOAD && (flags & X) !== 0 && entry >= address && entry < address + fileSize;
  if (!segments.some(holds)) throw unexpected("its entry point is not in its code");
  return segments;
}

function readSegment(program: Buffer, at: number): Segment {
  return {
    type: program.readUInt32LE(at),
    flags: program.readUInt32LE(at + 4),
    offset: Number(program.readBigUInt64LE(at + 8)),
    address: Number(program.readBigUInt64LE(at + 16)),
    fileSize: Number(program.readBigUInt64LE(at + 32)),
    size: Number(program.readBigUInt64LE(at + 40)),
    align: Number(program.readBigUInt64LE(at + 48)),
  };
}

function writeSegment(program: Buffer, at: number, segment: Segment): void {
  program.writeUInt32LE(segment.type, at);
  program.writeUInt32LE(segment.flags, at + 4);
  program.writeBigUInt64LE(BigInt(segment.offset), at + 8);
  program.writeBigUInt64LE(BigInt(segment.address), at + 16); // p_vaddr
  program.writeBigUInt64LE(BigInt(segment.address), at + 24); // p_paddr
  program.writeBigUInt64LE(BigInt(segment.fileSize), at + 32);
  program.writeBigUInt64LE(BigInt(segment.size), at + 40);
  program.writeBigUInt64LE(BigInt(segment.align), at + 48);
}

/**
 * At the start, the stack has argc, argv, a null pointer, envp and a null pointer. rdx must not be changed: it is the
 * dynamic linker's, for the C library. Each instruction has its bytes in hexadecimal.
 *
 * The call at the end is close_range(3, ~0, CLOSE_RANGE_CLOEXEC): the programs that this one starts inherit no
 * descriptor of its caller's. The runtime would do it from 4 on.
 */
const CODE: readonly [bytes: string, instruction: string][] = [
  ["48 8b 04 24", "mov rax, [rsp]             ; argc"],
  ["48 8d 4c c4 10", "lea rcx, [rsp+rax*8+16]    ; envp"],
  ["48 83 39 00", "next: cmp qword [rcx], 0"],
  ["74 0d", "je empty"],
  ["48 c7 01 00 00 00 00", "mov qword [rcx], 0"],
  ["48 83 c1 08", "add rcx, 8"],
  ["eb ed", "jmp next"],
  ["49 89 d0", "empty: mov r8, rdx"],
  ["b8 b4 01 00 00", "mov eax, 436               ; close_range"],
  ["bf 03 00 00 00", "mov edi, 3"],
  ["be ff ff ff ff", "mov esi, -1"],
  ["ba 04 00 00 00", "mov edx, 4                 ; CLOSE_RANGE_CLOEXEC"],
  ["0f 05", "syscall"],
  ["4c 89 c2", "mov rdx, r8"],
];

/** The code, which lies at the address `from` and jumps to `to` at its end. */
function entryCode({ from, to }: { from: number; to: number }): Buffer {
  const code = Buffer.concat(CODE.map(([bytes]) => hex(bytes)));
  return Buffer.concat([code, hex("e9"), int32(to - (from + code.length + 5))]); // jmp to
}

const hex = (bytes: string): Buffer => Buffer.from(bytes.replaceAll(" ", ""), "hex");

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

const unexpected = (what: string): RktError =>
  new RktError("bad-runtime", `cannot give the runtime an entry point of ours: ${what}`, {
    hint: "is it another version? build/entry-point.ts says what it expects",
  });
