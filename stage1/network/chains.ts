/**
 * rkt's own chains in the host's iptables. rkt makes all chains of a set at once or none, and recognises a set by the
 * rule that jumps to it from a built-in chain.
 */

import { spawnSync } from "node:child_process";
import { errorCode, errorText } from "../../shared/errors.ts";
import { HOST_PATH } from "./cni.ts";

export interface Chain {
  table: string;
  /** The built-in chain that jumps to it. */
  hook: string;
  name: string;
}

export interface ChainFailure {
  reason: string;
  /** Why the program could not be run; undefined if it ran, and reported the failure. */
  cause: Error | undefined;
}

/** The name of a container's own chains. ebtables allows 31 characters, iptables 28. */
export const containerChain = (containerId: string): string => `RKT-${containerId.replaceAll("-", "").slice(0, 24)}`;

/** Why a program that makes rules failed: it is not installed, or the first line of its message. */
export function whyFailed(program: string, error: Error | undefined, stderr: string): string {
  if (error !== undefined && errorCode(error) === "ENOENT") return `there is no ${program}`;
  return (error === undefined ? stderr : errorText(error)).split("\n")[0] ?? "";
}

/** Makes chains with iptables-restore (`rules` is its input), if the first one is missing. */
export function installChains(
  tables: string,
  chains: readonly [Chain, ...Chain[]],
  rules: string,
): ChainFailure | undefined {
  const run = (command: string, args: readonly string[], input = "") =>
    spawnSync(command, args, { env: { PATH: HOST_PATH }, input, encoding: "utf8" });
  const [{ table, hook, name }] = chains;
  if (run(tables, ["-w", "-t", table, "-C", hook, "-j", name]).status === 0) return undefined;
  // Some of the chains may exist: somebody may have flushed one table.
  run("sh", ["-c", removeChains(tables, chains)]);
  const program = `${tables}-restore`;
  const { error, status, stderr } = run(program, ["-w", "--noflush"], rules);
  // EPIPE: the program ended before it had read all its input. Its own message says why.
  if (error !== undefined && errorCode(error) !== "EPIPE")
    return { reason: `cannot run ${program}: ${errorText(error)}`, cause: error };
  return status === 0 ? undefined : { reason: `${program}: ${stderr.trim()}`, cause: undefined };
}

/** Shell that removes chains. A missing chain is no error. */
export function removeChains(tables: string, chains: readonly Chain[]): string {
  const removals = chains.map(
    ({ table, hook, name }) =>
      `${tables} -w -t ${table} -D ${hook} -j ${name}; ${tables} -w -t ${table} -F ${name}; ${tables} -w -t ${table} -X ${name}`,
  );
  return `{ ${removals.join("; ")}; } 2>/dev/null`;
}
