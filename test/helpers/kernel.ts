/** Tests of what this machine's kernel can do. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** An i386 program that only calls `exit(0)`, by interrupt 0x80 (elf(5)). */
function exit32(): Buffer {
  const base = 0x08048000;
  const code = Buffer.from([0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80]);
  const file = Buffer.alloc(52 + 32 + code.length);
  file.write("\x7fELF\x01\x01\x01", "latin1");
  file.writeUInt16LE(2, 16);
  file.writeUInt16LE(3, 18);
  file.writeUInt32LE(1, 20);
  file.writeUInt32LE(base + 84, 24);
  file.writeUInt32LE(52, 28);
  for (const [at, value] of [
    [40, 52],
    [42, 32],
    [44, 1],
  ] as const)
    file.writeUInt16LE(value, at);
  const segment = [1, 0, base, base, file.length, file.length, 5, 0x1000];
  for (const [i, value] of segment.entries()) file.writeUInt32LE(value, 52 + 4 * i);
  code.copy(file, 84);
  return file;
}

let answer: boolean | undefined;

/** Whether the kernel runs 32-bit programs: it may be built or booted without support for them (ia32_emulation=). */
export function runs32Bit(): boolean {
  if (answer !== undefined) return answer;
  const dir = mkdtempSync(join(tmpdir(), "rkt-kernel-"));
  try {
    const path = join(dir, "exit");
    writeFileSync(path, exit32(), { mode: 0o755 });
    answer = spawnSync(path).status === 0;
  } finally {
    rmSync(dir, { recursive: true });
  }
  return answer;
}
