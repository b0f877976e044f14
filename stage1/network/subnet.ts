/** Chooses a subnet that is not in use. Pure, IPv4. */

import { RktError } from "../../shared/errors.ts";
import { LOCAL_CONFIG_DIR, NETWORK_CONFIG } from "../../shared/contract/configuration.ts";

export interface Prefix {
  address: number;
  length: number;
}

/** Those of a built-in network. */
export interface Subnets {
  ipv4: string;
  /** Undefined if the host has no IPv6. */
  ipv6?: string | undefined;
}

export function parseAddress(text: string): number | undefined {
  const parts = text.split(".").map(Number);
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(text) || parts.some((part) => part > 255)) return undefined;
  return parts.reduce((sum, part) => sum * 256 + part, 0);
}

export function formatPrefix({ address, length }: Prefix): string {
  return `${[24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".")}/${length}`;
}

/**
 * The destinations in all routing tables, from /proc/net/fib_trie: `|-- ADDRESS` and below it `/LENGTH SCOPE TYPE` for
 * each route. Default routes (`/0`) are left out.
 */
export function routePrefixes(fibTrie: string): Prefix[] {
  const prefixes: Prefix[] = [];
  let address: number | undefined;
  for (const line of fibTrie.split("\n")) {
    const leaf = /\|-- ([\d.]+)$/.exec(line);
    if (leaf?.[1] !== undefined) address = parseAddress(leaf[1]);
    const length = Number(/^\s*\/(\d+) /.exec(line)?.[1] ?? 0);
    if (address !== undefined && length > 0) prefixes.push({ address, length });
  }
  return prefixes;
}

export function overlap(a: Prefix, b: Prefix): boolean {
  const bits = Math.min(a.length, b.length);
  return bits === 0 || (a.address ^ b.address) >>> (32 - bits) === 0;
}

/** The subnet of CoreOS's rkt, 172.16.28.0/24, then similar ones in every private range (RFC 1918). */
function* candidates(): Generator<Prefix> {
  const at = (a: number, b: number, c: number): Prefix => ({ address: ((a * 256 + b) * 256 + c) * 256, length: 24 });
  for (let b = 16; b < 32; b++) yield at(172, b, 28);
  for (let b = 0; b < 256; b++) yield at(10, b, 28);
  for (let c = 0; c < 256; c++) yield at(192, 168, c);
}

/** The first free candidate, or the last: the two built-in networks search from different ends. */
export function chooseSubnet(inUse: readonly Prefix[], end: "first" | "last" = "first"): string {
  for (const candidate of end === "first" ? candidates() : [...candidates()].reverse())
    if (!inUse.some((prefix) => overlap(prefix, candidate))) return formatPrefix(candidate);
  throw new RktError(
    "no-subnet",
    "the host has routes to every private range of addresses: none is left for containers",
    {
      hint: `define the network "default" with a range of your own in ${LOCAL_CONFIG_DIR}/${NETWORK_CONFIG}`,
    },
  );
}
