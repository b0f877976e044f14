/** Interprets a program of seccomp(2) as the kernel does (bpf(4)), for one call. */

import assert from "node:assert/strict";

export interface Call {
  machine: number;
  number: number;
  /** The lower halves of the arguments, and the upper. */
  low?: readonly number[];
  high?: readonly number[];
}

export const X86_64 = 0xc000003e;
export const I386 = 0x40000003;

export function runFilter(program: Uint8Array, { machine, number, low = [], high = [] }: Call): string {
  const words = [number, machine, 0, 0, ...Array.from({ length: 6 }, (_, i) => [low[i] ?? 0, high[i] ?? 0]).flat()];
  const view = new DataView(program.buffer, program.byteOffset, program.length);
  let accumulator = 0;
  for (let at = 0; at < program.length / 8; at++) {
    const [code, yes, no] = [view.getUint16(at * 8, true), view.getUint8(at * 8 + 2), view.getUint8(at * 8 + 3)];
    const value = view.getUint32(at * 8 + 4, true);
    if (code === 0x20) {
      assert.ok(value % 4 === 0 && value / 4 < words.length, `load of ${value}`);
      accumulator = (words[value / 4] ?? 0) >>> 0;
    } else if (code === 0x54) accumulator = (accumulator & value) >>> 0;
    else if (code === 0x15) at += accumulator === value ? yes : no;
    else if (code === 0x35) at += accumulator >= value ? yes : no;
    else if (code === 0x05) at += value;
    else if (code === 0x06) return answer(value);
    else assert.fail(`instruction ${code}`);
  }
  return assert.fail("the program has no end");
}

const ERRORS: Readonly<Record<number, string>> = { 1: "EPERM", 38: "ENOSYS" };

function answer(value: number): string {
  if (value === 0x7fff0000) return "allow";
  if (value === 0x80000000) return "kill";
  assert.equal(value & 0xffff0000, 0x00050000, `answer ${value.toString(16)}`);
  return ERRORS[value & 0xffff] ?? String(value & 0xffff);
}
