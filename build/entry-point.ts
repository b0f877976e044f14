/**
 * Adds code to an executable that runs before the program's own first instruction (ADR 9). It removes the caller's
 * environment, so that neither the runtime nor a library obeys a variable of it, and inserts options of the build before
 * the arguments. The build gives this code to the runtime of the executables and of the stage1 image
 * (build/runtime.ts).
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
const MAX_OPTIONS = 8;
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

/** A copy of the executable that starts without environment variables, and with `options` before its arguments. */
export function withOwnEntryPoint(program: Buffer, options: readonly string[] = []): Buffer {
  // Each option takes 8 bytes of the stack, and the stack pointer must stay a multiple of 16.
  if (options.length % 2 !== 0) throw unexpected("the options before its arguments must be even in number");
  // The code's distances are bytes of up to 127.
  if (options.length > MAX_OPTIONS) throw unexpected(`there are more than ${MAX_OPTIONS} options before its arguments`);
  const segments = readSegments(program);
  const entry = Number(program.readBigUInt64LE(E_ENTRY));
  const page = freePage(program.length, segments);
  const tableSize = (segments.length + 1) * PHDR;
  const code = entryCode(options, { from: page.address + tableSize, to: entry });
  const size = tableSize + code.length;
  if (size > PAGE) throw unexpected("its table of segments and the options are longer than a page");

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

// --- the code -----------------------------------------------------------------------------

/**
 * At the start the stack has argc, argv, a null pointer, envp, a null pointer, and the auxiliary vector. rdx must not
 * change: the dynamic linker has put a function there for the C library. Each instruction has its bytes in hexadecimal.
 */
const EMPTY_ENVIRONMENT: readonly [bytes: string, instruction: string][] = [
  ["48 8b 04 24", "mov rax, [rsp]             ; argc"],
  ["48 8d 4c c4 10", "lea rcx, [rsp+rax*8+16]    ; envp"],
  ["48 83 39 00", "next: cmp qword [rcx], 0"],
  ["74 0d", "je empty"],
  ["48 c7 01 00 00 00 00", "mov qword [rcx], 0"],
  ["48 83 c1 08", "add rcx, 8"],
  ["eb ed", "jmp next"],
  // empty:
];

/** Bytes of a `jmp` to an instruction that is given by its distance. */
const JUMP = 5;

/** The code, which lies at the address `from` and jumps to `to` at its end. The options' texts follow the jump. */
function entryCode(options: readonly string[], { from, to }: { from: number; to: number }): Buffer {
  const emptying = Buffer.concat(EMPTY_ENVIRONMENT.map(([bytes]) => hex(bytes)));
  const inserting = options.length === 0 ? Buffer.alloc(0) : insertOptions(options);
  const end = emptying.length + inserting.length + JUMP;
  const jump = Buffer.concat([hex("e9"), int32(to - (from + end))]); // jmp to
  return Buffer.concat([emptying, inserting, jump, ...options.map(bytesOf)]);
}

/**
 * Moves the stack pointer down by a pointer for each option, and writes there the new argc, argv[0], and pointers to the
 * options. The last of these replaces the old argv[0]; what follows it is in place already. rax is argc.
 */
function insertOptions(options: readonly string[]): Buffer {
  const n = options.length;
  const first = Buffer.concat([
    hex("48 8b 4c 24 08"), // mov rcx, [rsp+8]   ; argv[0]
    Buffer.from([0x48, 0x83, 0xec, 8 * n]), // sub rsp, 8 * n
    Buffer.from([0x48, 0x83, 0xc0, n]), // add rax, n
    hex("48 89 04 24"), // mov [rsp], rax
    hex("48 89 4c 24 08"), // mov [rsp+8], rcx
  ]);
  const [LOAD, STORE] = [7, 5];
  const end = first.length + n * (LOAD + STORE);
  let [at, text] = [first.length, end + JUMP];
  const stores = options.flatMap((option, i) => {
    const load = Buffer.concat([hex("48 8d 0d"), int32(text - (at + LOAD))]); // lea rcx, [rip+...]   ; text
    const store = Buffer.from([0x48, 0x89, 0x4c, 0x24, 16 + 8 * i]); // mov [rsp+16+8*i], rcx
    at += LOAD + STORE;
    text += bytesOf(option).length;
    return [load, store];
  });
  // test rax, rax; jz end. Before Linux 5.18 a program may have no arguments at all: then options can't be inserted.
  const ifArguments = Buffer.concat([hex("48 85 c0 74"), Buffer.from([end])]);
  return Buffer.concat([ifArguments, first, ...stores]);
}

const bytesOf = (option: string): Buffer => Buffer.from(`${option}\0`, "latin1");

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
