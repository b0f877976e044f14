/**
 * A shared object (elf(5)) of 400 bytes with one function, which makes a system call and returns what the kernel
 * answered: the result, or the negative errno. It is written here in machine code (x86-64), like the programs of
 * build/, because the project has no compiler for it, and libc's syscall(2) puts the errno into a variable.
 */

/** The function: `long system_call(long number, long a, long b, long c, long d, long e)`. */
export const ENTRY = "system_call";

/** From the registers of a function's arguments to those of the kernel's (syscall(2), "Architecture calling conventions"). */
const CODE: readonly [bytes: string, instruction: string][] = [
  ["48 89 f8", "mov rax, rdi"],
  ["48 89 f7", "mov rdi, rsi"],
  ["48 89 d6", "mov rsi, rdx"],
  ["48 89 ca", "mov rdx, rcx"],
  ["4d 89 c2", "mov r10, r8"],
  ["4d 89 c8", "mov r8, r9"],
  ["0f 05", "syscall"],
  ["c3", "ret"],
];

const [EHDR, PHDR, DYN, SYM] = [64, 56, 16, 24];
const PAGE = 4096;
const [ET_DYN, EM_X86_64, EV_CURRENT] = [3, 62, 1];
const [PT_LOAD, PT_DYNAMIC] = [1, 2];
const [X, W, R] = [1, 2, 4];
const [DT_NULL, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT] = [0, 4, 5, 6, 10, 11];
const STB_GLOBAL_FUNC = 0x12;

/**
 * The file. All but the code is loaded with the address that is its offset, and writable, because the dynamic linkers
 * before glibc 2.35 write into the dynamic section. The code has the page behind it.
 */
export function sharedObject(): Buffer {
  const names = Buffer.from(`\0${ENTRY}\0`);
  const code = Buffer.from(CODE.map(([bytes]) => bytes.replaceAll(" ", "")).join(""), "hex");
  const dynamicSize = 6 * DYN;
  const dynamic = EHDR + 3 * PHDR;
  // One bucket, which begins with symbol 1, and a chain for each of two symbols.
  const hashTable = [1, 2, 1, 0, 0];
  const hash = dynamic + dynamicSize;
  const symbols = align(hash + hashTable.length * 4);
  const strings = symbols + 2 * SYM;
  const text = align(strings + names.length);
  const size = text + code.length;

  const file = Buffer.alloc(size);
  file.write("\x7fELF\x02\x01\x01", "latin1");
  file.writeUInt16LE(ET_DYN, 16);
  file.writeUInt16LE(EM_X86_64, 18);
  file.writeUInt32LE(EV_CURRENT, 20);
  file.writeBigUInt64LE(BigInt(EHDR), 32); // e_phoff
  file.writeUInt16LE(EHDR, 52);
  file.writeUInt16LE(PHDR, 54);
  const segments = [
    { type: PT_LOAD, flags: R | W, offset: 0, address: 0, size: text, alignment: PAGE },
    { type: PT_LOAD, flags: R | X, offset: text, address: PAGE + text, size: code.length, alignment: PAGE },
    { type: PT_DYNAMIC, flags: R | W, offset: dynamic, address: dynamic, size: dynamicSize, alignment: 8 },
  ];
  file.writeUInt16LE(segments.length, 56);
  for (const [i, segment] of segments.entries()) writeSegment(file, EHDR + i * PHDR, segment);
  const entries = [
    [DT_HASH, hash],
    [DT_STRTAB, strings],
    [DT_SYMTAB, symbols],
    [DT_STRSZ, names.length],
    [DT_SYMENT, SYM],
    [DT_NULL, 0],
  ] as const;
  for (const [i, [tag, value]] of entries.entries()) {
    file.writeBigUInt64LE(BigInt(tag), dynamic + i * DYN);
    file.writeBigUInt64LE(BigInt(value), dynamic + i * DYN + 8);
  }
  for (const [i, value] of hashTable.entries()) file.writeUInt32LE(value, hash + i * 4);
  const symbol = symbols + SYM;
  file.writeUInt32LE(1, symbol); // st_name
  file.writeUInt8(STB_GLOBAL_FUNC, symbol + 4);
  file.writeUInt16LE(1, symbol + 6); // st_shndx: anything but SHN_UNDEF
  file.writeBigUInt64LE(BigInt(PAGE + text), symbol + 8);
  file.writeBigUInt64LE(BigInt(code.length), symbol + 16);
  names.copy(file, strings);
  code.copy(file, text);
  return file;
}

const align = (at: number): number => Math.ceil(at / 16) * 16;

interface Segment {
  type: number;
  flags: number;
  offset: number;
  address: number;
  size: number;
  alignment: number;
}

function writeSegment(file: Buffer, at: number, segment: Segment): void {
  file.writeUInt32LE(segment.type, at);
  file.writeUInt32LE(segment.flags, at + 4);
  file.writeBigUInt64LE(BigInt(segment.offset), at + 8);
  for (const field of [16, 24]) file.writeBigUInt64LE(BigInt(segment.address), at + field); // p_vaddr, p_paddr
  for (const field of [32, 40]) file.writeBigUInt64LE(BigInt(segment.size), at + field); // p_filesz, p_memsz
  file.writeBigUInt64LE(BigInt(segment.alignment), at + 48);
}
