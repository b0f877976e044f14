/**
 * What an image's own isolators let its app do beyond what an app that says
 * nothing may do. That the image is run was decided by somebody who may not
 * have read its manifest. Pure.
 */

import type { Protection } from "../../shared/contract/annotations.ts";
import { DEFAULT_CAPABILITIES } from "../../shared/schema/capabilities.ts";
import { type KnownIsolators, understandIsolators } from "../../shared/schema/isolators.ts";
import type { Isolator, RuntimeApp } from "../../shared/schema/types.ts";
import { expandSystemCalls } from "../../shared/schema/system-calls.ts";
import { allows, defaultFilter, isolatorFilter, namesDefault, type SystemCallFilter } from "../../shared/seccomp.ts";
import { MULTIPLEXERS, systemCallNumbers } from "../../shared/system-call-numbers.ts";

/** What the container makes of it. */
export interface Surroundings {
  /** What the command line does away with anyway. */
  unprotected: readonly Protection[];
  /** Root inside is nobody outside. */
  privateUsers: boolean;
}

/**
 * A line for the person, or none. `asked` is from the command line, whose
 * retain-set or filter has taken the place of the image's.
 */
export function widening(
  { name, app }: RuntimeApp,
  asked: readonly Isolator[],
  { unprotected, privateUsers }: Surroundings,
): string[] {
  const { known } = understandIsolators(app?.isolators ?? [], { object: `app ${name}`, path: "isolators" });
  const replaced = (isolators: RegExp) => asked.some((isolator) => isolators.test(isolator.name));
  const parts: { more: string; option: string }[] = [];
  if (!unprotected.includes("capabilities") && !replaced(/^os\/linux\/capabilities-retain-set$/)) {
    const retained = known["os/linux/capabilities-retain-set"] ?? [];
    const more = retained.filter((capability) => !DEFAULT_CAPABILITIES.includes(capability));
    if (more.length > 0) parts.push({ more: more.join(", "), option: "--caps-retain" });
  }
  if (!unprotected.includes("seccomp") && !replaced(/^os\/linux\/seccomp-/)) {
    const filter = isolatorFilter(known);
    const calls = filter === undefined ? [] : furtherCalls(filter, known);
    const more = filter === undefined ? "no system call filter" : `the system calls ${shortened(calls)}`;
    if (filter === undefined || calls.length > 0) parts.push({ more, option: "--seccomp" });
  }
  if (parts.length === 0) return [];
  const [more, options] = [parts.map((part) => part.more).join("; "), parts.map(({ option }) => option).join(", ")];
  const root = !privateUsers && isHostsRoot(known, unprotected) ? ", which is as good as root on the host" : "";
  return [`app ${name}: its image asks for more than the default: ${more}${root} (${options} to decide otherwise)`];
}

/**
 * Calls by which a capability that a container can have is one over the host. Others, CAP_SYS_MODULE say, no app
 * of a container has, whatever it retains.
 */
const ROOTS: Readonly<Record<string, readonly string[]>> = {
  CAP_SYS_ADMIN: ["bpf", "fanotify_init", "fsopen", "mount", "move_mount", "open_tree", "open_tree_attr", "swapon"],
  CAP_DAC_READ_SEARCH: ["open_by_handle_at"],
};

function isHostsRoot(known: KnownIsolators, unprotected: readonly Protection[]): boolean {
  const filter = unprotected.includes("seccomp") ? undefined : isolatorFilter(known);
  const retained = known["os/linux/capabilities-retain-set"] ?? [];
  return Object.entries(ROOTS).some(
    ([capability, calls]) =>
      (unprotected.includes("capabilities") || retained.includes(capability)) &&
      calls.some((call) => filter === undefined || allows(filter, call) !== "no"),
  );
}

/** Where the default filter looks at arguments, and a list of ordinary calls does not: the least of what it lets pass. */
const LOOKED_AT = ["ioctl", "personality", "socket"];

/** Calls that the default filter refuses, and this one does not or not as much. */
function furtherCalls(filter: SystemCallFilter, known: KnownIsolators): string[] {
  const usual = defaultFilter();
  // Beside a default list a call is named for one reason: that no argument of it is looked at.
  const retain = known["os/linux/seccomp-retain-set"];
  const meant = retain !== undefined && namesDefault(retain) ? retain.set : [];
  const apart = [...LOOKED_AT, ...MULTIPLEXERS.map(({ call }) => call)].filter((call) => !meant.includes(call));
  const machines = [systemCallNumbers("x86_64"), systemCallNumbers("i386")];
  return (expandSystemCalls("@appc.io/all") ?? []).filter((call) => {
    if (apart.includes(call) || !machines.some((numbers) => numbers.has(call))) return false;
    const [now, before] = [allows(filter, call), allows(usual, call)];
    return (now === "yes" && before !== "yes") || (now === "partly" && before === "no");
  });
}

/** Named before others. */
const WORST = ["mount", "ptrace", "bpf", "init_module"];
const NAMED = 4;

function shortened(calls: readonly string[]): string {
  const sorted = [...WORST.filter((call) => calls.includes(call)), ...calls.filter((call) => !WORST.includes(call))];
  if (sorted.length <= NAMED + 1) return sorted.join(", ");
  return `${sorted.slice(0, NAMED).join(", ")} and ${sorted.length - NAMED} more`;
}
