/**
 * The built-in networks: "default", a bridge with NAT (ADR 3), and "default-restricted", which reaches no further than
 * the host. A network of the administrator's with the same name replaces one. The caller holds the network's lock.
 *
 * The first container of a network makes its bridge, subnets and rules, and the release of the last one removes them.
 * The leases say which containers there are.
 */

import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { errorCode, RktError } from "../../shared/errors.ts";
import { NETWORK_STATE } from "../../shared/contract/host-state.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { isObject } from "../../shared/schema/place.ts";
import type { Json } from "../../shared/schema/types.ts";
import { writeWhole } from "../../shared/write-whole.ts";
import { type Chain, installChains, removeChains } from "./chains.ts";
import { connectionRule } from "./connections.ts";
import type { NetworkConf, PluginConf } from "./network-conf.ts";
import { quoted } from "./quoted.ts";
import { chooseSubnet, parseAddress, type Prefix, routePrefixes } from "./subnet.ts";

export const DEFAULT_NETWORK = "default";
const RESTRICTED_NETWORK = "default-restricted";
export const BUILT_IN_NETWORKS = [DEFAULT_NETWORK, RESTRICTED_NETWORK];
const BUILT_IN = "built in";
export const BRIDGE = "rkt0";
const NAT_CHAIN = "RKT-NAT";
const FORWARD_CHAIN = "RKT-FORWARD";
const SHARE_CHAIN = "RKT-SHARE";
const CHAINS: readonly [Chain, ...Chain[]] = [
  { table: "nat", hook: "POSTROUTING", name: NAT_CHAIN },
  { table: "filter", hook: "FORWARD", name: FORWARD_CHAIN },
  { table: "mangle", hook: "PREROUTING", name: SHARE_CHAIN },
];
const leasesOf = (network: string): string => `${NETWORK_STATE.leases}/${network}`;
const subnetsOf = (network: string): string =>
  network === DEFAULT_NETWORK ? NETWORK_STATE.subnets : NETWORK_STATE.restrictedSubnets;
/** Where stage 0's metadata service listens. */
const METADATA_ADDRESS = "169.254.169.255";

/** Publishes ports. It is left out without ports, because its DEL goes through all tables even then. */
export const PORTMAP: PluginConf = { type: "portmap", capabilities: { portMappings: true }, snat: true };

export interface Subnets {
  ipv4: string;
  /** Undefined if the host has no IPv6. */
  ipv6?: string | undefined;
}

export const isBuiltIn = ({ file }: NetworkConf): boolean => file === BUILT_IN;

/** The built-in network of that name, if there is one. */
export function builtInNetwork(name: string, subnets: Subnets, ports: boolean): NetworkConf | undefined {
  if (name === DEFAULT_NETWORK) return defaultNetwork(subnets, ports);
  return name === RESTRICTED_NETWORK ? restrictedNetwork(subnets) : undefined;
}

/**
 * It has no default route and no masquerading: it reaches the host, its metadata service, and the network's containers.
 */
function restrictedNetwork({ ipv4 }: Subnets): NetworkConf {
  const routes: Json[] = [{ dst: `${METADATA_ADDRESS}/32` }];
  return {
    name: RESTRICTED_NETWORK,
    cniVersion: "1.0.0",
    file: BUILT_IN,
    disableCheck: false,
    plugins: [
      {
        type: "ptp",
        ipam: { type: "host-local", dataDir: NETWORK_STATE.leases, ranges: [[{ subnet: ipv4 }]], routes },
      },
    ],
  };
}

function defaultNetwork(subnets: Subnets, ports: boolean): NetworkConf {
  const { ipv4, ipv6 } = subnets;
  const routes: Json[] = [{ dst: "0.0.0.0/0" }, ...(ipv6 === undefined ? [] : [{ dst: "::/0" }])];
  const ranges: Json[] = [[{ subnet: ipv4 }], ...(ipv6 === undefined ? [] : [[{ subnet: ipv6 }]])];
  return {
    name: DEFAULT_NETWORK,
    cniVersion: "1.0.0",
    file: BUILT_IN,
    disableCheck: false,
    plugins: [
      {
        type: "bridge",
        bridge: BRIDGE,
        isGateway: true,
        // So that a container reaches its own published ports.
        hairpinMode: true,
        ipam: { type: "host-local", dataDir: NETWORK_STATE.leases, ranges, routes },
      },
      ...(ports ? [PORTMAP] : []),
    ],
  };
}

// --- subnets ----------------------------------------------------------------------------

/** The subnets that running containers use, else new ones, which are written to their file by way of `temporary`. */
export function currentSubnets(network: string, busybox: string, temporary: HostPath): Subnets {
  if (hasLeases(network)) {
    const kept = keptSubnets(network);
    if (kept !== undefined) return kept;
  }
  const chosen = network === DEFAULT_NETWORK ? newSubnets(busybox) : { ipv4: chooseSubnet(takenPrefixes(), "last") };
  writeWhole(subnetsOf(network), `${JSON.stringify(chosen)}\n`, 0o644, temporary);
  return chosen;
}

function newSubnets(busybox: string): Subnets {
  // A release that was cut short leaves the bridge, whose address would then count as one of the host's.
  spawnSync(busybox, ["ip", "link", "del", BRIDGE], { env: {}, stdio: "ignore" });
  return {
    ipv4: chooseSubnet(takenPrefixes(), "first"),
    ...(hasIPv6(procNet("ipv6_route"), forwardsIPv6()) ? { ipv6: uniqueLocalSubnet() } : {}),
  };
}

const takenPrefixes = (): Prefix[] => [...routePrefixes(procNet("fib_trie")), ...nameServers()];

function hasLeases(network: string): boolean {
  try {
    return readdirSync(leasesOf(network)).some((name) => /^\d|:/.test(name));
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

function keptSubnets(network: string): Subnets | undefined {
  try {
    return parseSubnets(readFileSync(subnetsOf(network), "utf8"));
  } catch {
    return undefined;
  }
}

/** Parses subnets strictly, because they become a part of firewall rules. Undefined if the text is anything else. */
export function parseSubnets(text: string): Subnets | undefined {
  const value: Json = JSON.parse(text);
  if (!isObject(value)) return undefined;
  const { ipv4, ipv6 } = value;
  if (typeof ipv4 !== "string" || !isSubnet(ipv4, 4)) return undefined;
  if (ipv6 === undefined) return { ipv4 };
  return typeof ipv6 === "string" && isSubnet(ipv6, 6) ? { ipv4, ipv6 } : undefined;
}

function isSubnet(text: string, version: 4 | 6): boolean {
  const [, address = "", length = ""] = /^([0-9a-f.:]+)\/([0-9]{1,3})$/.exec(text) ?? [];
  return isIP(address) === version && Number(length) <= (version === 4 ? 32 : 128);
}

function procNet(name: string): string {
  try {
    return readFileSync(`/proc/net/${name}`, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "";
    throw error;
  }
}

/**
 * The host's name servers: the host may reach them by the default route, so that no prefix shows that they are taken.
 */
function nameServers(): { address: number; length: number }[] {
  try {
    return [...readFileSync("/etc/resolv.conf", "utf8").matchAll(/^nameserver\s+(\S+)/gm)].flatMap(([, server]) => {
      const address = parseAddress(server ?? "");
      return address === undefined ? [] : [{ address, length: 32 }];
    });
  } catch {
    return [];
  }
}

function forwardsIPv6(): boolean {
  try {
    return readFileSync("/proc/sys/net/ipv6/conf/all/forwarding", "utf8").trim() === "1";
  } catch {
    return false;
  }
}

const RTF_ADDRCONF = 0x40000;

/**
 * Whether the host has an IPv6 default route that remains once forwarding is on. A route from a router's advertisement
 * does not, because a host that forwards ignores advertisements (ip-sysctl, accept_ra).
 */
export function hasIPv6(ipv6Route: string, forwarding: boolean): boolean {
  return ipv6Route.split("\n").some((line) => {
    const [destination, length, , , gateway, , , , flags, device] = line.trim().split(/\s+/);
    if (destination === undefined || flags === undefined || device === "lo") return false;
    const isDefault = /^0+$/.test(destination) && length === "00" && gateway !== undefined && !/^0+$/.test(gateway);
    return isDefault && (forwarding || (Number.parseInt(flags, 16) & RTF_ADDRCONF) === 0);
  });
}

/** RFC 4193: fd00::/8, 40 random bits, subnet 0. */
function uniqueLocalSubnet(): string {
  const id = randomBytes(5).toString("hex");
  return `fd${id.slice(0, 2)}:${id.slice(2, 6)}:${id.slice(6, 10)}::/64`;
}

// --- rules ------------------------------------------------------------------------------

/**
 * What is not forwarded: link-local destinations are those of the host's own link (RFC 3927, 2.7), and what is there is the
 * host's, as the credentials that a cloud gives it at 169.254.169.254. A request to the metadata service while it is not
 * there has a token, and would go to whoever has its address on that link. But a cloud's name server may be there, too.
 */
const LINK_LOCAL = [
  `-d ${METADATA_ADDRESS}/32 -j REJECT --reject-with icmp-admin-prohibited`,
  "-d 169.254.0.0/16 -p udp -m udp --dport 53 -j ACCEPT",
  "-d 169.254.0.0/16 -p tcp -m tcp --dport 53 -j ACCEPT",
  "-d 169.254.0.0/16 -j REJECT --reject-with icmp-admin-prohibited",
];

/** The kernel itself forwards nothing to IPv6's link-local addresses. */
const FAMILIES = {
  iptables: { multicast: "224.0.0.0/4", bits: 32, refused: LINK_LOCAL },
  ip6tables: { multicast: "ff00::/8", bits: 128, refused: [] },
} as const;

/**
 * Input of iptables-restore --noflush. Rules are appended: the administrator's come first. The host forwards packets,
 * so its neighbours could route theirs to the bridge: only those for published ports and answers pass.
 */
export function rules(tables: keyof typeof FAMILIES, subnet: string): string {
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
export function installRules(network: string, subnets: Subnets): void {
  if (network !== DEFAULT_NETWORK) return;
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

/** Shell for the end of a container's release: removes the whole network if no container has a lease. */
export function releaseUnused(network: string, subnets: Subnets, busybox: string): string {
  const tables = subnets.ipv6 === undefined ? ["iptables"] : ["iptables", "ip6tables"];
  const bridge = `  ${quoted(busybox)} ip link del ${BRIDGE} 2>/dev/null || ip link del ${BRIDGE} 2>/dev/null
${tables.map((name) => `  ${removeChains(name, CHAINS)}\n`).join("")}`;
  return `if ! ls ${quoted(leasesOf(network))} 2>/dev/null | grep -q -e '^[0-9]' -e :; then
${network === DEFAULT_NETWORK ? bridge : ""}  rm -rf ${quoted(leasesOf(network))} ${quoted(subnetsOf(network))}
fi
`;
}
