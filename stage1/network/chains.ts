/**
 * Chains of rkt's own in the host's iptables: made all at once or not at all,
 * and found again by the rule that leads a built-in chain to them.
 */

import { spawnSync } from "node:child_process";
import { errorCode, errorText } from "../../shared/errors.ts";
import { HOST_PATH } from "./cni.ts";

export interface Chain {
  table: string;
  /** The built-in chain that leads to it. */
  hook: string;
  name: string;
}

export interface ChainFailure {
  reason: string;
  /** Why the program could not be run; undefined when it has said itself what is wrong. */
  cause: Error | undefined;
}

/** The name of a container's own chains: ebtables' have 31 characters at most, iptables' 28. */
export const containerChain = (containerId: string): string => `RKT-${containerId.replaceAll("-", "").slice(0, 24)}`;

/** Why a program that makes rules failed: it is not there, or the first line of what was said. */
export function whyFailed(program: string, error: Error | undefined, stderr: string): string {
  if (error !== undefined && errorCode(error) === "ENOENT") return `there is no ${program}`;
  return (error === undefined ? stderr : errorText(error)).split("\n")[0] ?? "";
}

/** Makes chains by input of iptables-restore, unless the first is there; again when somebody has flushed its table. */
export function installChains(
  tables: string,
  chains: readonly [Chain, ...Chain[]],
  rules: string,
): ChainFailure | undefined {
  const run = (command: string, args: readonly string[], input = "") =>
    spawnSync(command, args, { env: { PATH: HOST_PATH }, input, encoding: "utf8" });
  const [{ table, hook, name }] = chains;
  if (run(tables, ["-w", "-t", table, "-C", hook, "-j", name]).status === 0) return undefined;
  // Parts of them may be left.
  run("sh", ["-c", removeChains(tables, chains)]);
  const program = `${tables}-restore`;
  const { error, status, stderr } = run(program, ["-w", "--noflush"], rules);
  // EPIPE is one that has ended early: it says why itself.
  if (error !== undefined && errorCode(error) !== "EPIPE")
    return { reason: `cannot run ${program}: ${errorText(error)}`, cause: error };
  return status === 0 ? undefined : { reason: `${program}: ${stderr.trim()}`, cause: undefined };
}

/** Shell that takes chains away, and says nothing of those that are not there. */
export function removeChains(tables: string, chains: readonly Chain[]): string {
  const removals = chains.map(
    ({ table, hook, name }) =>
      `${tables} -w -t ${table} -D ${hook} -j ${name}; ${tables} -w -t ${table} -F ${name}; ${tables} -w -t ${table} -X ${name}`,
  );
  return `{ ${removals.join("; ")}; } 2>/dev/null`;
}
