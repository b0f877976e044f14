/**
 * The bridge of the default network (ADR 3), and its rules in the host's iptables: NAT, what is forwarded, and each
 * container's share of connections. The plugin `bridge` makes the bridge itself when the first container is added.
 */

import { RktError } from "../../shared/errors.ts";
import { type Chain, installChains, removeChains } from "./chains.ts";
import { connectionRule } from "./connections.ts";
import { quoted } from "./quoted.ts";
import type { Subnets } from "./subnet.ts";

export const DEFAULT_NETWORK = "default";
export const BRIDGE = "rkt0";
/** The address at which stage 0's metadata service listens. */
export const METADATA_ADDRESS = "169.254.169.255";

const NAT_CHAIN = "RKT-NAT";
const FORWARD_CHAIN = "RKT-FORWARD";
const SHARE_CHAIN = "RKT-SHARE";
const CHAINS: readonly [Chain, ...Chain[]] = [
  { table: "nat", hook: "POSTROUTING", name: NAT_CHAIN },
  { table: "filter", hook: "FORWARD", name: FORWARD_CHAIN },
  { table: "mangle", hook: "PREROUTING", name: SHARE_CHAIN },
];

/**
 * Link-local destinations are those of the host's own link (RFC 3927, 2.7), so nothing is forwarded to them. A cloud
 * gives the host credentials at 169.254.169.254, for example. The metadata service's address comes first: if that
 * service does not run, a request to it still has a token, and any machine of the link that has this address would get
 * it. DNS is allowed, because a cloud's name server may have such an address, too.
 */
const LINK_LOCAL = [
  `-d ${METADATA_ADDRESS}/32 -j REJECT --reject-with icmp-admin-prohibited`,
  "-d 169.254.0.0/16 -p udp -m udp --dport 53 -j ACCEPT",
  "-d 169.254.0.0/16 -p tcp -m tcp --dport 53 -j ACCEPT",
  "-d 169.254.0.0/16 -j REJECT --reject-with icmp-admin-prohibited",
];

/** For IPv6 nothing is refused: the kernel itself forwards nothing to link-local addresses. */
const FAMILIES = {
  iptables: { multicast: "224.0.0.0/4", bits: 32, refused: LINK_LOCAL },
  ip6tables: { multicast: "ff00::/8", bits: 128, refused: [] },
} as const;

/**
 * Input of iptables-restore --noflush. The host forwards packets, so other machines on its links could route theirs to
 * the bridge: to a container pass only those for published ports, and answers. The rules are appended, so the
 * administrator's come first.
 */
function rules(tables: keyof typeof FAMILIES, subnet: string): string {
  const { multicast, bits, refused } = FAMILIES[tables];
  return `*nat
:${NAT_CHAIN} - [0:0]
-A ${NAT_CHAIN} -s ${subnet} ! -d ${multicast} ! -o ${BRIDGE} -j MASQUERADE
-A POSTROUTING -j ${NAT_CHAIN}
COMMIT
*filter
:${FORWARD_CHAIN} - [0:0]
${refused.map((rule) => `-A ${FORWARD_CHAIN} -i ${BRIDGE} ${rule}\n`).join("")}-A ${FORWARD_CHAIN} -i ${BRIDGE} -j ACCEPT
-A ${FORWARD_CHAIN} -o ${BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ${FORWARD_CHAIN} -o ${BRIDGE} -m conntrack --ctstate DNAT -j ACCEPT
-A ${FORWARD_CHAIN} -o ${BRIDGE} -j DROP
-A FORWARD -j ${FORWARD_CHAIN}
COMMIT
*mangle
:${SHARE_CHAIN} - [0:0]
${connectionRule(SHARE_CHAIN, BRIDGE, bits)}-A PREROUTING -j ${SHARE_CHAIN}
COMMIT
`;
}

/** Makes the rules if they are missing. */
export function installBridgeRules(subnets: Subnets): void {
  install("iptables", rules("iptables", subnets.ipv4));
  if (subnets.ipv6 !== undefined) install("ip6tables", rules("ip6tables", subnets.ipv6));
}

function install(tables: string, text: string): void {
  const failure = installChains(tables, CHAINS, text);
  if (failure === undefined) return;
  const message = `network ${DEFAULT_NETWORK}: ${failure.reason}`;
  if (failure.cause === undefined) throw new RktError("network-failed", message);
  throw new RktError("no-iptables", message, {
    hint: "install iptables: the default network needs it for NAT",
    cause: failure.cause,
  });
}

/** Shell that removes the bridge and the rules. */
export function removeBridge({ ipv6 }: Subnets, busybox: string): string {
  const tables = ipv6 === undefined ? ["iptables"] : ["iptables", "ip6tables"];
  return `  ${quoted(busybox)} ip link del ${BRIDGE} 2>/dev/null || ip link del ${BRIDGE} 2>/dev/null
${tables.map((name) => `  ${removeChains(name, CHAINS)}\n`).join("")}`;
}
