/**
 * Reads the parts of an x86-64 ELF file that the dynamic linker uses: the interpreter, the needed libraries and their
 * directories (elf(5), ld.so(8)).
 */

export interface ElfInfo {
  /** PT_INTERP: the path of the dynamic linker; undefined in libraries and static programs. */
  interpreter: string | undefined;
  /** DT_NEEDED, in order. */
  needed: string[];
  /** DT_RUNPATH, or the older DT_RPATH: directories, `$ORIGIN` not yet replaced. */
  runpath: string[];
}

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NULL = 0;
const DT_NEEDED = 1;
const DT_STRTAB = 5;
const DT_RPATH = 15;
const DT_RUNPATH = 29;

interface Segment {
  type: number;
  offset: number;
  address: number;
  size: number;
}

/** Undefined for any file that is no 64-bit little-endian x86-64 ELF file. */
export function parseElf(bytes: Uint8Array): ElfInfo | undefined {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const EM_X86_64 = 62;
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46) return undefined;
  if (file[4] !== 2 || file[5] !== 1 || file.readUInt16LE(18) !== EM_X86_64) return undefined;

  const segments = segmentsOf(file);
  const interp = segments.find((s) => s.type === PT_INTERP);
  const dynamic = segments.find((s) => s.type === PT_DYNAMIC);
  const entries = dynamic === undefined ? [] : dynamicEntries(file, dynamic);
  const strings = entries.find((e) => e.tag === DT_STRTAB);
  const base = strings === undefined ? 0 : fileOffset(segments, strings.value);
  const texts = (tag: number) => entries.filter((e) => e.tag === tag).map((e) => stringAt(file, base + e.value));
  const runpath = texts(DT_RUNPATH)[0] ?? texts(DT_RPATH)[0] ?? "";
  return {
    interpreter: interp === undefined ? undefined : stringAt(file, interp.offset),
    needed: texts(DT_NEEDED),
    runpath: runpath.split(":").filter((directory) => directory !== ""),
  };
}

function segmentsOf(file: Buffer): Segment[] {
  const table = Number(file.readBigUInt64LE(32));
  const [entrySize, count] = [file.readUInt16LE(54), file.readUInt16LE(56)];
  return Array.from({ length: count }, (_, i) => {
    const at = table + i * entrySize;
    return {
      type: file.readUInt32LE(at),
      offset: Number(file.readBigUInt64LE(at + 8)),
      address: Number(file.readBigUInt64LE(at + 16)),
      size: Number(file.readBigUInt64LE(at + 32)),
    };
  });
}

function dynamicEntries(file: Buffer, dynamic: Segment): { tag: number; value: number }[] {
  const entries: { tag: number; value: number }[] = [];
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16) {
    const tag = Number(file.readBigInt64LE(at));
    if (tag === DT_NULL) break;
    entries.push({ tag, value: Number(file.readBigUInt64LE(at + 8)) });
  }
  return entries;
}

/** The offset in the file of an address in the loaded program. */
function fileOffset(segments: readonly Segment[], address: number): number {
  const holder = segments.find((s) => s.type === PT_LOAD && address >= s.address && address < s.address + s.size);
  if (holder === undefined) throw new Error(`ELF address 0x${address.toString(16)} lies in no segment`);
  return address - holder.address + holder.offset;
}

function stringAt(file: Buffer, at: number): string {
  return file.toString("latin1", at, file.indexOf(0, at));
}
