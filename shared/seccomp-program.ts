/**
 * Compiles a system call filter into the program that the kernel runs before each call (seccomp(2), struct
 * sock_filter): a binary search for the call's number, for 64-bit and for 32-bit programs, then tests of arguments
 * where rules have some. Pure.
 *
 * libseccomp is not used, because it handles a call that is newer than itself like an allowed or a known one.
 */

import type { FilterAction, FilterRule, SystemCallFilter } from "./seccomp.ts";
import { MULTIPLEXERS, systemCallNumbers } from "./system-call-numbers.ts";

const RETURN_KILL_PROCESS = 0x80000000;
const RETURN_ERRNO = 0x00050000;
const RETURN_ALLOW = 0x7fff0000;

/** Offsets in struct seccomp_data. */
const AT_NUMBER = 0;
const AT_MACHINE = 4;
const atArgument = (index: number): number => 16 + 8 * index;

/** AUDIT_ARCH_*, linux/audit.h. */
const MACHINES = { x86_64: 0xc000003e, i386: 0x40000003 };

/** Calls of the x32 ABI have this bit. Their numbers have other meanings. */
const X32 = 0x40000000;
/** The number by which a tracer makes the kernel skip a call, which then fails with ENOSYS. */
const NO_CALL = 0xffffffff;

interface Instruction {
  code: number;
  /** Instructions to skip, when a comparison holds and when not. */
  yes?: number;
  no?: number;
  value: number;
}

const load = (offset: number): Instruction => ({ code: 0x20, value: offset });
const mask = (value: number): Instruction => ({ code: 0x54, value });
const isEqual = (value: number, yes: number, no: number): Instruction => ({ code: 0x15, yes, no, value });
const isAtLeast = (value: number, yes: number, no: number): Instruction => ({ code: 0x35, yes, no, value });
const skip = (instructions: number): Instruction => ({ code: 0x05, value: instructions });

function answer(action: FilterAction): Instruction {
  const value =
    action === "allow" ? RETURN_ALLOW : action === "kill" ? RETURN_KILL_PROCESS : (RETURN_ERRNO | action) >>> 0;
  return { code: 0x06, value };
}

/** Compiles the filter to struct sock_filter[]. A call of any other architecture kills the process. */
export function filterProgram(filter: SystemCallFilter): Buffer {
  const [long, short] = [ofMachine("x86_64", filter), ofMachine("i386", filter)];
  const instructions = [
    load(AT_MACHINE),
    isEqual(MACHINES.x86_64, 2, 0),
    isEqual(MACHINES.i386, 2, 0),
    answer("kill"),
    skip(1 + short.length),
    load(AT_NUMBER),
    ...short,
    load(AT_NUMBER),
    ...long,
  ];
  const program = Buffer.alloc(instructions.length * 8);
  instructions.forEach(({ code, yes = 0, no = 0, value }, i) => {
    program.writeUInt16LE(code, i * 8);
    program.writeUInt8(yes, i * 8 + 2);
    program.writeUInt8(no, i * 8 + 3);
    program.writeUInt32LE(value >>> 0, i * 8 + 4);
  });
  return program;
}

/** The call numbers from `first` to the next range's, and the instructions that decide about them. */
interface Range {
  first: number;
  decision: Instruction[];
}

function ofMachine(machine: keyof typeof MACHINES, filter: SystemCallFilter): Instruction[] {
  const byNumber = new Map<number, Instruction[]>();
  const rules = Map.groupBy(filter.rules, ({ call }) => call);
  for (const [call, number] of systemCallNumbers(machine))
    byNumber.set(number, decision(rules.get(call) ?? partRules(call, rules, filter), filter.otherwise));
  const end = Math.max(...byNumber.keys()) + 1;
  const unknown = [answer(filter.unknown)];
  const ranges: Range[] = Array.from({ length: end }, (_, number) => ({
    first: number,
    decision: byNumber.get(number) ?? unknown,
  }));
  ranges.push({ first: end, decision: unknown });
  if (machine === "x86_64")
    ranges.push({ first: X32, decision: [answer("kill")] }, { first: NO_CALL, decision: unknown });
  return search(ranges.filter(({ decision: own }, i) => i === 0 || !isSame(own, ranges[i - 1]?.decision)));
}

/** Whether both decisions are the same single answer. */
const isSame = ([a, ...more]: Instruction[], other: Instruction[] | undefined): boolean =>
  more.length === 0 && other?.length === 1 && a?.value === other[0]?.value;

/**
 * The rules of a call that stands for others, made from theirs. A filter can't read the arguments of those, which are
 * in memory, so a call whose rules test arguments is refused.
 */
function partRules(
  call: string,
  rules: ReadonlyMap<string, FilterRule[]>,
  { otherwise }: SystemCallFilter,
): FilterRule[] {
  const multiplexer = MULTIPLEXERS.find((one) => one.call === call);
  if (multiplexer === undefined) return [];
  return Object.entries(multiplexer.parts).flatMap(([part, value]) => {
    const own = rules.get(part) ?? [];
    const decisive = own.find((rule) => rule.arguments === undefined);
    const refusal = own.some((rule) => rule.arguments !== undefined)
      ? [...own.map(({ action }) => action), otherwise].find((action) => action !== "allow")
      : undefined;
    const action = refusal ?? decisive?.action ?? otherwise;
    return action === otherwise ? [] : [{ call, action, arguments: [{ index: 0, mask: multiplexer.mask, value }] }];
  });
}

function decision(rules: readonly FilterRule[], otherwise: FilterAction): Instruction[] {
  const instructions: Instruction[] = [];
  for (const { action, arguments: tests } of rules) {
    if (tests === undefined) return [...instructions, answer(action)];
    // Built from the last test to the first: a test that fails skips all that follow it, and the answer.
    let own = [answer(action)];
    for (const { index, mask: bits, value } of tests.toReversed()) {
      const masked = bits === 0xffffffff ? [] : [mask(bits)];
      own = [load(atArgument(index)), ...masked, isEqual(value, 0, own.length), ...own];
    }
    instructions.push(...own);
  }
  return [...instructions, answer(otherwise)];
}

/** A conditional jump can skip 255 instructions; an unconditional one can skip any number. */
const NEAR = 255;

function search(ranges: readonly Range[]): Instruction[] {
  const [only, ...more] = ranges;
  if (only === undefined) throw new Error("no system calls");
  if (more.length === 0) return only.decision;
  const half = Math.ceil(ranges.length / 2);
  const [below, above] = [search(ranges.slice(0, half)), search(ranges.slice(half))];
  const from = (ranges[half] as Range).first;
  return below.length <= NEAR
    ? [isAtLeast(from, below.length, 0), ...below, ...above]
    : [isAtLeast(from, 0, 1), skip(below.length), ...below, ...above];
}
