/**
 * Limits how many neighbours a container makes the kernel remember. The kernel has one table of neighbours for IPv4
 * (ARP) and one for IPv6 (neighbour discovery), and all network namespaces of the machine share their size:
 * `net.ipv4.neigh.default.gc_thresh3`, and the same of IPv6, 1024 each. An app without any privilege could fill them. It
 * need only send to many addresses of its own link or, with SO_DONTROUTE and SO_BINDTODEVICE, to any addresses.
 *
 * So rules of nf_tables count the next hops to which a container sends, and drop packets to more than its share. They see
 * a packet before the kernel has made an entry for its next hop. There are two tables of rules:
 *
 * - in the container's own network namespace, for what the container sends. The table goes with the namespace; to change
 *   it, an app needs CAP_NET_ADMIN.
 * - in the host's, for what the host forwards to its own neighbours for the container. The kernel removes that table
 *   when its socket is closed, and the container holds the socket as long as it lives.
 *
 * A gateway is not counted, so a container that has used its share up still reaches other networks.
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

/** A container's share of a table is one in so many, and at least so many next hops. */
const SHARE = 16;
/** The usual size. The kernel shows the actual one only in the machine's first network namespace. */
const USUAL_TABLE = 1024;
/** Milliseconds for which a next hop is counted: as long as the kernel keeps an entry that nobody uses (gc_stale_time). */
const COUNTED = 60_000;

/** The number of next hops that a container may have at once. `table` is the size that the kernel shows. */
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

/**
 * Only on these networks are the rules made: the built-in ones, and pairs of interfaces with the host. There a container
 * needs its gateway, and few other neighbours.
 */
const isGuarded = ({ conf }: Attachment): boolean => isBuiltIn(conf) || conf.plugins[0]?.type === "ptp";

export interface NeighbourGuard {
  /** Must stay open as long as the container lives. */
  keep: number[];
  /** For the user, if the rules can't be made, as in a kernel without nf_tables. */
  warning: string | undefined;
}

/** Makes the rules for one interface of a container. */
export function guardNeighbours(
  attachment: Attachment,
  result: CniResult | undefined,
  namespace: number,
): NeighbourGuard {
  if (!isGuarded(attachment)) return { keep: [], warning: undefined };
  const { ifName, containerId } = attachment;
  try {
    closeSync(inNamespace(namespace, () => make(containerTable(ifName, gatewaysOf(result)))));
  } catch (error) {
    return { keep: [], warning: unguarded("", error) };
  }
  const origin = originOf(attachment, result);
  if (origin === undefined) return { keep: [], warning: undefined };
  try {
    return { keep: [make(hostTable(`rkt-${containerId}-${ifName}`, origin))], warning: undefined };
  } catch (error) {
    return { keep: [], warning: unguarded(" with those that the host forwards to", error) };
  }
}

/** How the host's rules know the packets that it forwards for a container. */
interface Origin {
  /** The host's interface at which the container's packets arrive. */
  device: string;
  /** The container's addresses, if other containers' packets arrive there, too. */
  senders: readonly string[] | undefined;
}

/**
 * Undefined if the host forwards nothing for the container. On the default network the sender's address can be relied
 * upon, because a container can use no other (source-guard.ts).
 */
function originOf({ conf }: Attachment, result: CniResult | undefined): Origin | undefined {
  if (!isBuiltIn(conf)) return hostVeths(result).map((device) => ({ device, senders: undefined }))[0];
  return conf.name === DEFAULT_NETWORK ? { device: BRIDGE, senders: addressesOf(result).map(bareAddress) } : undefined;
}

const unguarded = (how: string, error: unknown): string =>
  `the container can fill the host's tables of neighbours${how}: ${errorText(error)}`;

/** Makes a table in this thread's network namespace. Returns the socket that owns it. */
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
 * The table in the container's namespace. The chain "hops" counts all that leaves by the interface, whether an app or the
 * kernel sends it.
 *
 * The chain "back" is for what the namespace itself would forward, as it does if the machine does when the namespace is
 * made. Without the chain, a neighbour could use up the container's share by packets that it sends for others of the
 * same link.
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

/** The table in the host's namespace: counts the next hops of what the host forwards for the container. */
export function hostTable(name: string, { device, senders }: Origin): Table {
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

/** All routers (RFC 4291), and all that listen to MLDv2 (RFC 3810). The kernel sends to them when an interface comes up. */
const ROUTERS = ["ff02::2", "ff02::16"];

/** A gateway's address and, for IPv6, the multicast address to which the question for its Ethernet address goes. */
const alwaysReached = (gateway: string): string[] =>
  isIP(gateway) === 6 ? [gateway, solicitedNode(addressBytes(gateway))] : [gateway];

/** The solicited-node multicast address (RFC 4291, 2.7.1). */
function solicitedNode(address: Buffer): string {
  const [high = 0, middle = 0, low = 0] = address.subarray(13);
  return `ff02::1:ff${high.toString(16).padStart(2, "0")}:${((middle << 8) | low).toString(16)}`;
}

const familyOf = (address: string): Family => (isIP(address) === 6 ? 6 : 4);

/** The bytes of an address, in the network's order. */
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
