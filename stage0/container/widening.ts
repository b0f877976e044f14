/**
 * What an image's own isolators let its app do beyond what an app that says
 * nothing may do. That the image is run was decided by somebody who may not
 * have read its manifest. Pure.
 */

import type { Protection } from "../../shared/layout.ts";
import { DEFAULT_CAPABILITIES } from "../../shared/schema/capabilities.ts";
import { understandIsolators } from "../../shared/schema/isolators.ts";
import type { Isolator, RuntimeApp } from "../../shared/schema/types.ts";
import { defaultFilter, isolatorFilter, type SystemCallFilter } from "../../shared/seccomp.ts";

/**
 * A line for the person, or none. `asked` is from the command line, whose
 * retain-set or filter takes the place of the image's; `unprotected` is what
 * the command line does away with anyway.
 */
export function widening(
  { name, app }: RuntimeApp,
  asked: readonly Isolator[],
  unprotected: readonly Protection[],
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
    const calls = filter === undefined ? [] : furtherCalls(filter);
    const more = filter === undefined ? "no system call filter" : `the system calls ${shortened(calls)}`;
    if (filter === undefined || calls.length > 0) parts.push({ more, option: "--seccomp" });
  }
  if (parts.length === 0) return [];
  const [more, options] = [parts.map((part) => part.more).join("; "), parts.map(({ option }) => option).join(", ")];
  return [`app ${name}: its image asks for more than the default: ${more} (${options} to decide otherwise)`];
}

/** Calls that the default filter refuses, and this one does not or not as much. */
function furtherCalls(filter: SystemCallFilter): string[] {
  const usual = defaultFilter();
  const calls = new Set(usual.rules.map(({ call }) => call));
  // No list of allowed calls refuses to type on a terminal, and an app's is the container's own.
  calls.delete("ioctl");
  return [...calls].filter((call) => {
    const now = allowed(filter, call);
    return now === "yes" || (now === "partly" && allowed(usual, call) === "no");
  });
}

/** "partly": by its arguments. */
function allowed({ otherwise, rules }: SystemCallFilter, call: string): "yes" | "partly" | "no" {
  const own = rules.filter((rule) => rule.call === call);
  const whole = own.find(({ argument }) => argument === undefined);
  if (own.length > 0 && whole === undefined) return "partly";
  return (whole?.action ?? otherwise) === "allow" ? "yes" : "no";
}

/** Named before others. */
const WORST = ["mount", "ptrace", "bpf", "init_module"];
const NAMED = 4;

function shortened(calls: readonly string[]): string {
  const sorted = [...WORST.filter((call) => calls.includes(call)), ...calls.filter((call) => !WORST.includes(call))];
  if (sorted.length <= NAMED + 1) return sorted.join(", ");
  return `${sorted.slice(0, NAMED).join(", ")} and ${sorted.length - NAMED} more`;
}
