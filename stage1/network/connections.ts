/**
 * Limits how many connections a container has in the host's table of them (conntrack), whose size is
 * `nf_conntrack_max`. Without a limit, one container could fill the table, for example by datagrams to a peer that
 * answers. Then the host could make no new connection, not even over its loopback interface.
 *
 * The rule sees only the first packet of a connection, before the kernel puts the connection into the table. It does not
 * count TCP connections that have been closed: when the table is nearly full, the kernel itself removes these
 * (nf_conntrack, early drop).
 */

import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { errorCode } from "../../shared/errors.ts";

/** A container's share of the table is one in so many, and at least so many connections. */
const SHARE = 16;

/** The number of connections that a container may have at once. `max` is `nf_conntrack_max`, `memory` the machine's. */
export const connectionShare = (max: string | undefined, memory: number): number =>
  Math.max(SHARE, Math.floor((max === undefined ? usualTable(memory) : Number(max)) / SHARE));

/** The size that the kernel chooses by the machine's memory (nf_conntrack_init_start), if it has made no table yet. */
const usualTable = (memory: number): number => (memory > 4 * 2 ** 30 ? 262_144 : 65_536);

/** A line for iptables-restore: drops the first packet of a connection if its sender, behind `device`, has its share. */
export function connectionRule(chain: string, device: string, addressBits: 32 | 128): string {
  const share = connectionShare(conntrack("max"), totalmem());
  const first = "-m conntrack --ctstate NEW ! --ctstatus CONFIRMED";
  return `-A ${chain} -i ${device} ${first} -m connlimit --connlimit-above ${share} --connlimit-mask ${addressBits} --connlimit-saddr -j DROP\n`;
}

/** Whether the host tracks connections. If it does not, a rule that counts them would make it begin. */
export const tracksConnections = (): boolean => Number(conntrack("count") ?? 0) > 0;

function conntrack(name: "max" | "count"): string | undefined {
  try {
    return readFileSync(`/proc/sys/net/netfilter/nf_conntrack_${name}`, "latin1");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
