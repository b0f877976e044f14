/**
 * The subnets of the built-in networks. The first container of a network chooses them, so that they overlap nothing that
 * the host reaches, and writes them to a file. Further containers read them there, as long as one has a lease. The
 * caller holds the network's lock.
 */

import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { errorCode } from "../../shared/errors.ts";
import { NETWORK_STATE } from "../../shared/contract/host-state.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { isObject } from "../../shared/schema/place.ts";
import type { Json } from "../../shared/schema/types.ts";
import { writeWhole } from "../../shared/write-whole.ts";
import { BRIDGE, DEFAULT_NETWORK } from "./default-bridge.ts";
import { chooseSubnet, parseAddress, type Prefix, routePrefixes, type Subnets } from "./subnet.ts";

/** The directory with the plugin host-local's leases: a file for each address of a container. */
export const leasesOf = (network: string): string => `${NETWORK_STATE.leases}/${network}`;

/** The file with the network's subnets. */
export const subnetsFile = (network: string): HostPath =>
  network === DEFAULT_NETWORK ? NETWORK_STATE.subnets : NETWORK_STATE.restrictedSubnets;

/** The subnets that running containers use, else new ones, which are written to their file by way of `temporary`. */
export function currentSubnets(network: string, busybox: string, temporary: HostPath): Subnets {
  const kept = hasLeases(network) ? keptSubnets(network) : undefined;
  if (kept !== undefined) return kept;
  const chosen = network === DEFAULT_NETWORK ? newSubnets(busybox) : { ipv4: chooseSubnet(prefixesInUse(), "last") };
  writeWhole(subnetsFile(network), `${JSON.stringify(chosen)}\n`, 0o644, temporary);
  return chosen;
}

function newSubnets(busybox: string): Subnets {
  // A release that was interrupted leaves the bridge, whose address would then count as one of the host's.
  spawnSync(busybox, ["ip", "link", "del", BRIDGE], { env: {}, stdio: "ignore" });
  return {
    ipv4: chooseSubnet(prefixesInUse(), "first"),
    ...(hasIPv6(procNet("ipv6_route"), forwardsIPv6()) ? { ipv6: uniqueLocalSubnet() } : {}),
  };
}

const prefixesInUse = (): Prefix[] => [...routePrefixes(procNet("fib_trie")), ...nameServers()];

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
    return parseSubnets(readFileSync(subnetsFile(network), "utf8"));
  } catch {
    return undefined;
  }
}

/** Parses subnets strictly, because they become a part of firewall rules. Undefined if the text is anything else. */
function parseSubnets(text: string): Subnets | undefined {
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
 * The addresses of the host's name servers. The host may reach these by its default route, so no route shows that they
 * are in use.
 */
function nameServers(): Prefix[] {
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
function hasIPv6(ipv6Route: string, forwarding: boolean): boolean {
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
