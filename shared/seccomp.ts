/**
 * Which system calls an app may make: from its isolators (ace.md,
 * "os/linux/seccomp-*-set") to a filter that libseccomp can compile, and the
 * filter of an app that says nothing. Pure.
 */

import type { KnownIsolators, SeccompSet } from "./schema/isolators.ts";
import { errorNumber, expandSystemCalls } from "./schema/system-calls.ts";

/** What becomes of a call; a number is the errno it fails with. "kill" ends the process with SIGSYS. */
export type FilterAction = "allow" | "kill" | number;

export interface FilterRule {
  call: string;
  action: FilterAction;
  /** On one argument, by its number: that `value` is what is left of it under the mask. */
  argument?: { index: number; mask: number; value: number };
}

export interface SystemCallFilter {
  /** For calls without a rule. */
  otherwise: FilterAction;
  rules: FilterRule[];
}

const EPERM = 1;
const ENOSYS = 38;

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: a namespace makes its maker root in it. */
const NAMESPACE_FLAGS = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000];
const ALL_NAMESPACE_FLAGS = NAMESPACE_FLAGS.reduce((all, flag) => all | flag);

/** TIOCSTI and TIOCLINUX type on a terminal what another will read. The kernel takes 32 bits of the request. */
const TYPING_REQUESTS = [0x5412, 0x541c];

/** Of an app without a seccomp isolator: what containers have been left by is refused, and nothing else. */
export const defaultFilter = (): SystemCallFilter => removing({ set: ["@rkt/default-blacklist"], errno: "EPERM" });

/** The filter an app's isolators ask for; undefined for an app that may do everything. */
export function isolatorFilter(isolators: KnownIsolators): SystemCallFilter | undefined {
  const retain = isolators["os/linux/seccomp-retain-set"];
  const remove = isolators["os/linux/seccomp-remove-set"];
  if (retain !== undefined) return retain.set.includes("@appc.io/all") ? undefined : retaining(retain);
  // "can be effectively used to opt-in implementation-specific seccomp filtering" (ace.md)
  if (remove === undefined || remove.set.includes("@appc.io/empty")) return defaultFilter();
  return removing(remove);
}

const blocked = ({ errno }: SeccompSet): FilterAction => (errno === undefined ? "kill" : (errorNumber(errno) ?? EPERM));

const expand = (names: readonly string[]): Set<string> =>
  new Set(names.flatMap((name) => expandSystemCalls(name) ?? []));

const isDefaultSet = (name: string): boolean => /^@.*\/default-/.test(name);

/** Without which no app starts, returns from a signal or ends. No wildcard takes them away; their names do, but for execve. */
const LIFE_CYCLE = ["execve", "exit", "exit_group", "rt_sigreturn", "sigreturn"];

function removing(isolator: SeccompSet): SystemCallFilter {
  const action = blocked(isolator);
  const calls = expand(isolator.set);
  for (const name of LIFE_CYCLE) if (!isolator.set.includes(name)) calls.delete(name);
  const rules = [...calls].map((call): FilterRule => ({ call, action }));
  const onArguments = isolator.set.some(isDefaultSet) ? argumentRules(action) : [];
  return { otherwise: "allow", rules: [...rules, ...onArguments.filter(({ call }) => !calls.has(call))] };
}

/** What the default lists mean of calls that have other uses besides. */
function argumentRules(action: FilterAction): FilterRule[] {
  return [
    ...NAMESPACE_FLAGS.map(
      (flag): FilterRule => ({ call: "clone", action, argument: { index: 0, mask: flag, value: flag } }),
    ),
    // Its flags are in memory, which no filter reads; C libraries then use clone.
    { call: "clone3", action: ENOSYS },
    ...TYPING_REQUESTS.map(
      (value): FilterRule => ({ call: "ioctl", action, argument: { index: 1, mask: 0xffffffff, value } }),
    ),
  ];
}

function retaining(isolator: SeccompSet): SystemCallFilter {
  const calls = expand([...isolator.set, ...LIFE_CYCLE]);
  const named = new Set(isolator.set);
  const allow = (call: string): FilterRule => {
    // Named, it is allowed as it is; the default lists mean threads and processes.
    if (call !== "clone" || named.has(call)) return { call, action: "allow" };
    return { call, action: "allow", argument: { index: 0, mask: ALL_NAMESPACE_FLAGS, value: 0 } };
  };
  const rules = [...calls].map(allow);
  if (isolator.set.some(isDefaultSet) && !calls.has("clone3")) rules.push({ call: "clone3", action: ENOSYS });
  return { otherwise: blocked(isolator), rules };
}
