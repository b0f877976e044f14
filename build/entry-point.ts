/**
 * Adds the first instructions of our executables (ADR 9). They remove the caller's environment before the runtime or a
 * library can use it, and give the runtime the options of the build. They are written here in machine code (x86-64),
 * like build/exec-helper.ts.
 *
 * The dynamic linker has run before them, but no code of the program. The program and the C library find the
 * environment in the array that the kernel has made on the stack (System V ABI, "Process Initialization"): the
 * instructions empty that array. The texts stay in memory, so our programs can read the caller's variables in
 * /proc/self/environ (shared/callers-environment.ts).
 *
 * The code does not depend on the program. The ELF file (elf(5)) gets one more segment at its end, with the code and a
 * longer table of segments.
 */

import { RktError } from "../shared/errors.ts";

const [EHDR, PHDR] = [64, 56];
const PAGE = 4096;
/** elf(5): e_type, e_machine, p_type and p_flags. */
const [ET_EXEC, ET_DYN, EM_X86_64] = [2, 3, 62];
const [PT_LOAD, PT_INTERP, PT_PHDR] = [1, 3, 6];
const [X, R] = [1, 4];

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
  // The stack pointer must stay a multiple of 16.
  if (options.length % 2 !== 0) throw unexpected("the options before its arguments must be even in number");
  const segments = readSegments(program);
  const entry = Number(program.readBigUInt64LE(24));
  const place = freePlace(program.length, segments);
  const code = entryCode(options, { from: place.address + (segments.length + 1) * PHDR, to: entry });
  const size = (segments.length + 1) * PHDR + code.length;
  if (size > PAGE) throw unexpected("its table of segments and the options are longer than a page");
  const own = { type: PT_LOAD, flags: R | X, ...place, fileSize: size, size, align: PAGE };

  const table = segments.map((segment) =>
    segment.type === PT_PHDR
      ? { ...segment, ...place, fileSize: (segments.length + 1) * PHDR, size: (segments.length + 1) * PHDR }
      : segment,
  );
  // Loaded segments must be in the order of their addresses.
  const next = table.findIndex(({ type, address }) => type === PT_LOAD && address > place.address);
  table.splice(next < 0 ? table.findLastIndex(({ type }) => type === PT_LOAD) + 1 : next, 0, own);

  const patched = Buffer.alloc(place.offset + size);
  program.copy(patched);
  patched.writeBigUInt64LE(BigInt(place.address + table.length * PHDR), 24);
  patched.writeBigUInt64LE(BigInt(place.offset), 32);
  patched.writeUInt16LE(table.length, 56);
  for (const [i, segment] of table.entries()) writeSegment(patched, place.offset + i * PHDR, segment);
  code.copy(patched, place.offset + table.length * PHDR);
  return patched;
}

/**
 * Finds a page after the end of the file whose address is free. Its address must have the same distance to its offset
 * as the first segment's, because kernels before 5.18 compute the address of the table of segments in this way.
 */
function freePlace(length: number, segments: readonly Segment[]): { offset: number; address: number } {
  const loaded = segments.filter(({ type }) => type === PT_LOAD);
  const first = loaded[0];
  if (first === undefined) throw unexpected("it has nothing to load");
  const page = (at: number) => Math.ceil(at / PAGE) * PAGE;
  for (let offset = page(length); ; offset += PAGE) {
    const address = first.address - first.offset + offset;
    const taken = ({ address: start, size }: Segment) => start < address + PAGE && page(start + size) > address;
    if (!loaded.some(taken)) return { offset, address };
  }
}

function readSegments(program: Buffer): Segment[] {
  const isElf = program.length >= EHDR && program.toString("latin1", 0, 6) === "\x7fELF\x02\x01";
  if (!isElf || program.readUInt16LE(18) !== EM_X86_64) throw unexpected("it is no ELF executable of x86-64");
  if (![ET_EXEC, ET_DYN].includes(program.readUInt16LE(16)) || program.readUInt16LE(54) !== PHDR)
    throw unexpected("it is no ELF executable that this build knows");
  const table = Number(program.readBigUInt64LE(32));
  const count = program.readUInt16LE(56);
  if (table + count * PHDR > program.length) throw unexpected("its table of segments is cut off");
  const segments = Array.from({ length: count }, (_, i) => readSegment(program, table + i * PHDR));
  // A static program's C library looks for the auxiliary vector right after the environment, and would not find it.
  if (!segments.some(({ type }) => type === PT_INTERP)) throw unexpected("it is linked statically");
  // Without it, the dynamic linker could not find out where a program without a fixed address was loaded.
  if (!segments.some(({ type }) => type === PT_PHDR)) throw unexpected("its table of segments has no entry for itself");
  const entry = Number(program.readBigUInt64LE(24));
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

/** The code, which lies at the address `from` and jumps to `to` at its end. */
function entryCode(options: readonly string[], { from, to }: { from: number; to: number }): Buffer {
  const words = EMPTY_ENVIRONMENT.map(([bytes]) => hex(bytes));
  const texts = Buffer.from(options.map((option) => `${option}\0`).join(""), "latin1");
  const n = options.length;
  if (n > 0) {
    const insertion = [
      hex("48 8b 4c 24 08"), // mov rcx, [rsp+8]   ; argv[0]
      Buffer.from([0x48, 0x83, 0xec, 8 * n]), // sub rsp, 8 * n
      Buffer.from([0x48, 0x83, 0xc0, n]), // add rax, n
      hex("48 89 04 24"), // mov [rsp], rax
      hex("48 89 4c 24 08"), // mov [rsp+8], rcx
    ];
    const before = sizeOf(words) + 5 + sizeOf(insertion);
    const STORE = 12;
    let text = before + n * STORE + 5;
    for (const [i, option] of options.entries()) {
      // lea rcx, [rip+text]; mov [rsp+16+8*i], rcx. The last one replaces the old argv[0].
      const lea = Buffer.concat([hex("48 8d 0d"), int32(text - (before + i * STORE + 7))]);
      insertion.push(lea, Buffer.from([0x48, 0x89, 0x4c, 0x24, 16 + 8 * i]));
      text += Buffer.byteLength(option, "latin1") + 1;
    }
    // test rax, rax; jz end. Before Linux 5.18 a program may have no arguments at all: then options can't be inserted.
    words.push(Buffer.concat([hex("48 85 c0 74"), Buffer.from([sizeOf(insertion)])]), ...insertion);
  }
  const end = sizeOf(words) + 5;
  words.push(Buffer.concat([hex("e9"), int32(to - (from + end))])); // end: jmp to
  return Buffer.concat([...words, texts]);
}

const hex = (bytes: string): Buffer => Buffer.from(bytes.replaceAll(" ", ""), "hex");

const sizeOf = (parts: readonly Buffer[]): number => parts.reduce((sum, { length }) => sum + length, 0);

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

const unexpected = (what: string): RktError =>
  new RktError("bad-runtime", `cannot give the runtime an entry point of ours: ${what}`, {
    hint: "is it another version? build/entry-point.ts says what it expects",
  });
