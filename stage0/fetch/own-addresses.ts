/**
 * Addresses of this machine and of its cloud: a server that a person did not
 * name must not send rkt, which is root, there.
 */

import { type LookupAddress, lookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { HttpError, ITSELF } from "./http-error.ts";

const OWN = new BlockList();
for (const [net, prefix] of [
  ["0.0.0.0", 8],
  ["127.0.0.0", 8],
  // Link-local: metadata services of clouds answer there, and give root's secrets.
  ["169.254.0.0", 16],
] as const) {
  OWN.addSubnet(net, prefix, "ipv4");
}
for (const [net, prefix] of [
  ["::", 127],
  ["fe80::", 10],
] as const) {
  OWN.addSubnet(net, prefix, "ipv6");
}

/** An IPv4 address in IPv6's form is the IPv4 address. */
export function isOwnAddress(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && OWN.check(address, family === 4 ? "ipv4" : "ipv6");
}

/** Of a URL: a name that always means this machine, or an address of it. */
export function isOwnHost({ hostname }: URL): boolean {
  const host = hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "");
  return host === "localhost" || host.endsWith(".localhost") || isOwnAddress(host);
}

export const leadsHere = (shown: string, host: string): HttpError =>
  new HttpError("bad-redirect", `get ${shown}: it leads to ${host}, which is this machine or its link`, { hint: ITSELF });

/** Looks up a name, and refuses it if it stands for such an address. */
export const lookupElsewhere: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, options, (error, address: string | LookupAddress[], family) => {
    const addresses = Array.isArray(address) ? address.map((each) => each.address) : [address];
    if (error === null && addresses.some(isOwnAddress)) callback(leadsHere(hostname, hostname), "", 0);
    else callback(error, address, family);
  });
};
