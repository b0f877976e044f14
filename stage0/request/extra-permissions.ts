/**
 * Finds permissions that an image's isolators give to its app beyond the defaults, to warn the user, who may not have
 * read the image's manifest. Pure.
 */

import type { Protection } from "../../shared/contract/annotations.ts";
import { DEFAULT_CAPABILITIES } from "../../shared/schema/capabilities.ts";
import { type KnownIsolators, understandIsolators } from "../../shared/schema/isolators.ts";
import type { Isolator, RuntimeApp } from "../../shared/schema/types.ts";
import { expandSystemCalls } from "../../shared/schema/system-calls.ts";
import { allows, defaultFilter, isolatorFilter, type SystemCallFilter } from "../../shared/seccomp.ts";
import { MULTIPLEXERS, systemCallNumbers } from "../../shared/system-call-numbers.ts";

/** Settings of the container on which the effect of such permissions depends. */
export interface ContainerSettings {
  /** Protections that the command line has switched off. */
  unprotected: readonly Protection[];
  /** The container's root is an ordinary user of the host. */
  privateUsers: boolean;
}

/**
 * Returns a line for the user, or none. `asked` are the isolators of the command line, which replace those of the
 * image.
 */
export function extraPermissions(
  { name, app }: RuntimeApp,
  asked: readonly Isolator[],
  { unprotected, privateUsers }: ContainerSettings,
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
 * Capabilities that reach the host, with the calls that they need for that. Other dangerous ones, such as
 * CAP_SYS_MODULE, no app of a container can have, whatever it retains.
 */
const ROOTS: Readonly<Record<string, readonly string[]>> = {
  CAP_SYS_ADMIN: ["bpf", "fanotify_init", "fsopen", "mount", "move_mount", "open_tree", "open_tree_attr", "swapon"],
  CAP_DAC_READ_SEARCH: ["open_by_handle_at"],
};

/**
 * Root that can make a user namespace has every capability in it, and its files are still the host's root's: it mounts
 * the cgroup file systems there, and writes to them.
 */
const MAKES_NAMESPACES = ["clone3", "unshare", "setns"];
const MOUNTS = ["mount", "fsmount"];

function isHostsRoot(known: KnownIsolators, unprotected: readonly Protection[]): boolean {
  const filter = unprotected.includes("seccomp") ? undefined : isolatorFilter(known);
  const can = (calls: readonly string[]) => calls.some((call) => filter === undefined || allows(filter, call) !== "no");
  const makes = can(MAKES_NAMESPACES) || filter === undefined || allows(filter, "clone") === "yes";
  if (makes && can(MOUNTS)) return true;
  const retained = known["os/linux/capabilities-retain-set"] ?? [];
  return Object.entries(ROOTS).some(
    ([capability, calls]) =>
      (unprotected.includes("capabilities") || retained.includes(capability)) &&
      can(calls),
  );
}

/** Calls that the default filter refuses, and this filter allows at least partly. */
function furtherCalls(filter: SystemCallFilter, known: KnownIsolators): string[] {
  const usual = defaultFilter();
  // They stand for other calls of 32-bit programs, which have rules of their own.
  const named = known["os/linux/seccomp-retain-set"]?.set ?? [];
  const apart = MULTIPLEXERS.map(({ call }) => call).filter((call) => !named.includes(call));
  const machines = [systemCallNumbers("x86_64"), systemCallNumbers("i386")];
  return (expandSystemCalls("@appc.io/all") ?? []).filter((call) => {
    if (apart.includes(call) || !machines.some((numbers) => numbers.has(call))) return false;
    const [now, before] = [allows(filter, call), allows(usual, call)];
    return (now === "yes" && before !== "yes") || (now === "partly" && before === "no");
  });
}

/** Calls that the message names first. */
const WORST = ["mount", "ptrace", "bpf", "init_module"];
const NAMED = 4;

function shortened(calls: readonly string[]): string {
  const sorted = [...WORST.filter((call) => calls.includes(call)), ...calls.filter((call) => !WORST.includes(call))];
  if (sorted.length <= NAMED + 1) return sorted.join(", ");
  return `${sorted.slice(0, NAMED).join(", ")} and ${sorted.length - NAMED} more`;
}
