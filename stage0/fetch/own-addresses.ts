/**
 * Addresses of this machine and of its cloud: a server that a person did not
 * name must not send rkt, which is root, there.
 */

import { type LookupAddress, lookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { networkInterfaces } from "node:os";
import { HttpError, ITSELF } from "./http-error.ts";

const OWN = new BlockList();
for (const [net, prefix] of [
  ["0.0.0.0", 8],
  ["127.0.0.0", 8],
  // Link-local: metadata services of clouds answer there, and give root's secrets.
  ["169.254.0.0", 16],
  // Alibaba Cloud's is elsewhere.
  ["100.100.100.200", 32],
] as const) {
  OWN.addSubnet(net, prefix, "ipv4");
}
for (const [net, prefix] of [
  ["::", 127],
  ["fe80::", 10],
  // Amazon's metadata service.
  ["fd00:ec2::254", 128],
] as const) {
  OWN.addSubnet(net, prefix, "ipv6");
}

/** Also of an interface of this machine, as they are now. An IPv4 address in an IPv6 address is the IPv4 address. */
export function isOwnAddress(address: string): boolean {
  const plain = address.replace(/%.*$/, "");
  const family = isIP(plain);
  if (family === 0) return false;
  if (OWN.check(plain, family === 4 ? "ipv4" : "ipv6")) return true;
  const inner = family === 6 ? embedded(groupsOf(plain)) : undefined;
  if (inner !== undefined) return isOwnAddress(inner);
  const shown = family === 6 ? groupsOf(plain).join() : plain;
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .some((own) => (own.family === "IPv6" ? groupsOf(own.address).join() : own.address) === shown);
}

/** The eight numbers of an IPv6 address. */
function groupsOf(address: string): number[] {
  // A URL has an address in its shortest form, without dots.
  const text = new URL(`http://[${address.replace(/%.*$/, "")}]/`).hostname.slice(1, -1);
  const [head = [], tail = []] = text.split("::").map((part) => (part === "" ? [] : part.split(":")));
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => "0");
  return [...head, ...zeros, ...tail].map((group) => Number.parseInt(group, 16));
}

/** The first groups of IPv6 addresses that lead to the IPv4 address in their last two. */
const EMBEDDING = [
  // IPv4-mapped, IPv4-compatible and IPv4-translated (RFC 4291, RFC 2765).
  [0, 0, 0, 0, 0, 0xffff],
  [0, 0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0xffff, 0],
  // NAT64 (RFC 6052, RFC 8215).
  [0x64, 0xff9b, 0, 0, 0, 0],
  [0x64, 0xff9b, 1],
];
const SIX_TO_FOUR = 0x2002;

function embedded(groups: readonly number[]): string | undefined {
  // 6to4 has it after its first group (RFC 3056).
  const at = groups[0] === SIX_TO_FOUR ? 1 : EMBEDDING.some((first) => first.every((group, i) => group === groups[i])) ? 6 : undefined;
  if (at === undefined) return undefined;
  return groups.slice(at, at + 2).flatMap((group) => [group >> 8, group & 255]).join(".");
}

/** Of a URL: a name that always means this machine, or an address of it. */
export function isOwnHost({ hostname }: URL): boolean {
  const host = hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "");
  return host === "localhost" || host.endsWith(".localhost") || isOwnAddress(host);
}

export const leadsHere = (shown: string, host: string): HttpError =>
  new HttpError("bad-redirect", `get ${shown}: it leads to ${host}, which is this machine, its link or its cloud's metadata service`, { hint: ITSELF });

/** Looks up a name, and refuses it if it stands for such an address. */
export const lookupElsewhere: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, options, (error, address: string | LookupAddress[], family) => {
    const addresses = Array.isArray(address) ? address.map((each) => each.address) : [address];
    if (error === null && addresses.some(isOwnAddress)) callback(leadsHere(hostname, hostname), "", 0);
    else callback(error, address, family);
  });
};
