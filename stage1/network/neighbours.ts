/**
 * Neighbours of a container. The kernel's tables of them (ARP, IPv6 neighbour discovery) are one for the machine, across
 * network namespaces: `net.ipv4.neigh.default.gc_thresh3` and IPv6's, 1024 each. An app without any right fills them: by
 * addresses of its own link, or, with SO_DONTROUTE and SO_BINDTODEVICE, by any. So rules say how many next hops a container
 * has at once, where the kernel has not yet made an entry: in the container's own namespace, and on the default network in
 * the host's, for what is forwarded to neighbours of the host.
 *
 * The table in the container goes with its namespace, and takes CAP_NET_ADMIN to change. The host's goes when its socket is
 * closed, which the container holds as long as it lives.
 *
 * A gateway is not counted, so a container that uses its share up keeps its way out.
 */

import { closeSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { errorCode, errorText } from "../../shared/errors.ts";
import { NETLINK_NETFILTER, netlinkRequest, netlinkSocket } from "../../shared/syscall/netlink.ts";
import { addressesOf, type Attachment, bareAddress, type CniResult, gatewaysOf, hostVeths } from "./cni.ts";
import { isBuiltIn } from "./built-in-networks.ts";
import { BRIDGE, DEFAULT_NETWORK } from "./default-bridge.ts";
import { inNamespace } from "./namespace.ts";
import {
  ACCEPT,
  countNextHop,
  DROP,
  type Family,
  HOOK,
  newTable,
  type NextHopSet,
  nextHopIs,
  notFrom,
  notTo,
  sourceIs,
  type Table,
} from "./nftables.ts";

/** A container's part of the machine's tables: one of so many. */
const SHARE = 16;
/** What the tables hold where the kernel does not say it, as in a network namespace that is not the machine's first. */
const USUAL_TABLE = 1024;
/** Milliseconds for which a next hop is counted: as long as the kernel keeps an entry that nobody uses (gc_stale_time). */
const COUNTED = 60_000;

/** Next hops that a container may have at once, of what the kernel says that its table holds. */
export const shareOf = (table: string | undefined): number =>
  Math.max(SHARE, Math.floor((table === undefined ? USUAL_TABLE : Number(table)) / SHARE));

function tableSize(family: Family): string | undefined {
  try {
    return readFileSync(`/proc/sys/net/ipv${family}/neigh/default/gc_thresh3`, "latin1");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Networks on which a container needs its gateway, and few others: ours, and pairs of interfaces with the host. */
const isGuarded = ({ conf }: Attachment): boolean => isBuiltIn(conf) || conf.plugins[0]?.type === "ptp";

/**
 * Makes the rules. `keep` must stay open while the container lives; `told` is what the person should know when there are
 * none, as in a kernel without nf_tables.
 */
export function guardNeighbours(
  attachment: Attachment,
  result: CniResult | undefined,
  namespace: number,
): { keep: number[]; told: string | undefined } {
  if (!isGuarded(attachment)) return { keep: [], told: undefined };
  const { ifName, containerId } = attachment;
  try {
    closeSync(inNamespace(namespace, () => make(containerTable(ifName, gatewaysOf(result)))));
  } catch (error) {
    return { keep: [], told: unguarded("", error) };
  }
  const from = forwarded(attachment, result);
  if (from === undefined) return { keep: [], told: undefined };
  try {
    return { keep: [make(hostTable(`rkt-${containerId}-${ifName}`, from))], told: undefined };
  } catch (error) {
    return { keep: [], told: unguarded(" with those that the host forwards to", error) };
  }
}

interface Forwarded {
  /** The host's interface that the container's packets come in by. */
  device: string;
  /** Its senders, where others have the interface, too. */
  senders: readonly string[] | undefined;
}

/** Undefined where the host forwards nothing. On the default network a container's senders are its own (source-guard.ts). */
function forwarded({ conf }: Attachment, result: CniResult | undefined): Forwarded | undefined {
  if (!isBuiltIn(conf)) return hostVeths(result).map((device) => ({ device, senders: undefined }))[0];
  return conf.name === DEFAULT_NETWORK ? { device: BRIDGE, senders: addressesOf(result).map(bareAddress) } : undefined;
}

const unguarded = (how: string, error: unknown): string =>
  `the container can fill the host's tables of neighbours${how}: ${errorText(error)}`;

function make(table: Table): number {
  const socket = netlinkSocket(NETLINK_NETFILTER);
  try {
    netlinkRequest(socket, newTable(table));
    return socket;
  } catch (error) {
    closeSync(socket);
    throw error;
  }
}

const setOf = (family: Family): NextHopSet => ({
  name: `hops${family}`,
  family,
  size: shareOf(tableSize(family)),
  timeout: COUNTED,
});
const sets = [4, 6] as const;

/**
 * Of all that leaves by the interface, whether kernel or app sends it. A network namespace forwards if the machine does: what a
 * neighbour sends to be sent back to the same network is dropped, so that it takes nothing of the container's share.
 */
export function containerTable(ifName: string, gateways: readonly string[]): Table {
  const always = [...gateways.flatMap(alwaysReached), ...ROUTERS];
  return {
    name: `rkt-${ifName}`,
    owned: false,
    sets: sets.map(setOf),
    chains: [
      { name: "back", hook: HOOK.forward, rules: [[...notFrom(ifName), ACCEPT], [...notTo(ifName), ACCEPT], [DROP]] },
      {
        name: "hops",
        hook: HOOK.postrouting,
        rules: [
          [...notTo(ifName), ACCEPT],
          ...always.map((address) => [...nextHopIs(familyOf(address), addressBytes(address)), ACCEPT]),
          ...sets.map((family) => [...countNextHop(family, setOf(family).name), ACCEPT]),
          [DROP],
        ],
      },
    ],
  };
}

/** Of what the host forwards for the container. */
export function hostTable(name: string, { device, senders }: Forwarded): Table {
  const counted = (family: Family) => [...countNextHop(family, setOf(family).name), ACCEPT];
  const ofSender = (sender: string) => {
    const from = sourceIs(familyOf(sender), addressBytes(sender));
    return [
      [...from, ...counted(familyOf(sender))],
      [...from, DROP],
    ];
  };
  return {
    name,
    owned: true,
    sets: sets.map(setOf),
    chains: [
      {
        name: "hops",
        hook: HOOK.forward,
        rules: [
          [...notFrom(device), ACCEPT],
          ...(senders === undefined ? [...sets.map(counted), [DROP]] : senders.flatMap(ofSender)),
        ],
      },
    ],
  };
}

/** RFC 4291: all routers; RFC 3810: all that listen to MLDv2. The kernel itself sends to them when an interface comes up. */
const ROUTERS = ["ff02::2", "ff02::16"];

/** A gateway, and where it is asked for its Ethernet address. */
const alwaysReached = (gateway: string): string[] =>
  isIP(gateway) === 6 ? [gateway, solicitedNode(addressBytes(gateway))] : [gateway];

/** RFC 4291, 2.7.1. */
function solicitedNode(address: Buffer): string {
  const [high = 0, middle = 0, low = 0] = address.subarray(13);
  return `ff02::1:ff${high.toString(16).padStart(2, "0")}:${((middle << 8) | low).toString(16)}`;
}

const familyOf = (address: string): Family => (isIP(address) === 6 ? 6 : 4);

/** An address in the order of the network. */
export function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split(".").map(Number));
  const [before = "", after] = address.split("::");
  const words = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((word) => Number.parseInt(word, 16));
  const [first, last] = [words(before), words(after ?? "")];
  const bytes = Buffer.alloc(16);
  for (const [i, word] of first.entries()) bytes.writeUInt16BE(word, 2 * i);
  for (const [i, word] of last.entries()) bytes.writeUInt16BE(word, 16 - 2 * (last.length - i));
  return bytes;
}
