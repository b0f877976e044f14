/** `--port`, `--hostname`, `--dns` and `--hosts-entry`. Pure. */

import { usageError } from "../../shared/errors.ts";
import type { Rule } from "../../shared/schema/place.ts";
import { acName, ipv4 } from "../../shared/schema/values.ts";
import { checked, parseInteger, parsePair, refuse } from "../cli/values.ts";
import type { HostsEntry, PortRequest } from "./request.ts";

const MAX_PORT = 65_535;

/** `NAME:HOSTPORT` or `NAME:HOSTIP:HOSTPORT`; the port of the host may be a range, `FIRST-LAST`. */
export function parsePort(text: string): PortRequest {
  const form = "NAME:[HOSTIP:]HOSTPORT[-LAST]";
  const [name = "", ...rest] = text.split(":");
  const hostPorts = rest.pop();
  if (hostPorts === undefined || rest.length > 1)
    refuse("port", text, "must be a port's name and a port of the host", form);
  const [hostIP] = rest;
  const [first = "", last, ...more] = hostPorts.split("-");
  const hostPort = parseInteger("port", first, 1, MAX_PORT);
  if (more.length > 0) refuse("port", text, "has more than one range", form);
  const count = last === undefined ? 1 : parseInteger("port", last, hostPort, MAX_PORT) - hostPort + 1;
  return {
    name: checked("port", name, acName),
    hostPort,
    ...(count === 1 ? {} : { count }),
    hostIP: hostIP === undefined ? undefined : checked("port", hostIP, ipv4),
  };
}

const HOST_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;

/** hostname(7); 64 bytes is the kernel's limit. */
export const hostname: Rule = (text) =>
  text.length <= 64 && text.split(".").every((label) => HOST_LABEL.test(label))
    ? undefined
    : 'must be at most 64 letters, digits, inner "-" and "."';

/** One word of resolv.conf(5). */
export const resolverWord: Rule = (text) =>
  /^[^\s#;\u0000-\u0020\u007f]+$/.test(text) ? undefined : "must be one word";

/** An IP address. It does not use node:net, which takes 2 ms to load. */
export const ipAddress: Rule = (text) => {
  const valid = ipv4(text) === undefined || (/^[0-9a-f:.]+$/i.test(text) && URL.canParse(`http://[${text}]/`));
  return valid ? undefined : "must be an IP address";
};

/** Parses `IP=HOST`, several joined by ",". All names of an address become one entry. */
export function parseHostsEntries(texts: readonly string[]): "host" | HostsEntry[] {
  if (texts.includes("host")) {
    if (texts.length > 1) throw usageError("--hosts-entry=host stands alone");
    return "host";
  }
  const entries = new Map<string, HostsEntry>();
  for (const pair of texts.flatMap((text) => text.split(","))) {
    const { name: address, value: name } = parsePair("hosts-entry", pair);
    checked("hosts-entry", address, ipAddress);
    checked("hosts-entry", name, hostname);
    const entry = entries.get(address) ?? { address, names: [] };
    entry.names.push(name);
    entries.set(address, entry);
  }
  return [...entries.values()];
}
