/**
 * Connections of a container in the host's table of them (conntrack), which holds `nf_conntrack_max`: one container that
 * fills it, by datagrams to a peer that answers, keeps the host from every new connection, its own loopback's too.
 *
 * The rule counts where a connection is new to the kernel, before it is put into the table: a packet of a known one is not
 * looked at, whether answered or not. Connections of TCP that have been closed are not counted. Of those the kernel itself
 * makes room when its table is nearly full (nf_conntrack, early drop).
 */

import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { errorCode } from "../../shared/errors.ts";

/** A container's part of the table: one of so many. */
const SHARE = 16;

/** Connections that a container may have at once, of what the kernel says that its table holds. */
export const connectionShare = (max: string | undefined, memory: number): number =>
  Math.max(SHARE, Math.floor((max === undefined ? usualTable(memory) : Number(max)) / SHARE));

/** What the kernel makes of the machine's memory (nf_conntrack_init_start) where it has not made a table yet. */
const usualTable = (memory: number): number => (memory > 4 * 2 ** 30 ? 262_144 : 65_536);

/** A line of iptables-restore: drops what would be one connection too many of a sender behind the interface. */
export function connectionRule(chain: string, device: string, addressBits: 32 | 128): string {
  const share = connectionShare(conntrack("max"), totalmem());
  const first = "-m conntrack --ctstate NEW ! --ctstatus CONFIRMED";
  return `-A ${chain} -i ${device} ${first} -m connlimit --connlimit-above ${share} --connlimit-mask ${addressBits} --connlimit-saddr -j DROP\n`;
}

/** Whether the host tracks connections. A rule that counts them would make it begin. */
export const tracksConnections = (): boolean => Number(conntrack("count") ?? 0) > 0;

function conntrack(name: "max" | "count"): string | undefined {
  try {
    return readFileSync(`/proc/sys/net/netfilter/nf_conntrack_${name}`, "latin1");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
