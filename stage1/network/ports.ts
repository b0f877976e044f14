/**
 * Reserves ports of the host. Each published port has a file, so that no two containers publish the same one. A port
 * where a process of the host listens is refused.
 */

import { linkSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readLines } from "../../shared/bounded-read.ts";
import { errorCode, RktError } from "../../shared/errors.ts";
import { NETWORK_STATE } from "../../shared/contract/host-state.ts";
import { makeRuntimeDirectory } from "../../shared/runtime-directory.ts";
import { type PortMapping, portName, sameAddress } from "../../shared/network-request.ts";

/** `tcp-8080`, `udp-53-192.0.2.1`: the name of a port's file. */
export function portFile({ protocol, hostPort, hostIP }: PortMapping): string {
  return `${protocol}-${hostPort}${hostIP === undefined ? "" : `-${hostIP}`}`;
}

/** A file with the container's UUID. Its ports' files are hard links to it, and so have the UUID from the start. */
export const ownFile = (uuid: string): string => `.${uuid}`;

/** Throws if one of the ports is in use. The container's teardown then releases those that were reserved before. */
export function reservePorts(uuid: string, mappings: readonly PortMapping[]): void {
  makeRuntimeDirectory(NETWORK_STATE.ports);
  const own = `${NETWORK_STATE.ports}/${ownFile(uuid)}`;
  try {
    writeFileSync(own, `${uuid}\n`, { flag: "wx", mode: 0o644 });
    reserve(own, mappings);
  } finally {
    rmSync(own, { force: true });
  }
}

function reserve(own: string, mappings: readonly PortMapping[]): void {
  for (const mapping of mappings) {
    try {
      linkSync(own, `${NETWORK_STATE.ports}/${portFile(mapping)}`);
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw error;
      throw inUse(mapping, portFile(mapping));
    }
  }
  // Two containers may publish overlapping ports at the same time. Each looks for the other's files only when all of its
  // own are there, so at least one of them sees the other and fails. It may be both.
  const published = byPort(mappings);
  for (const name of readdirSync(NETWORK_STATE.ports)) {
    const mapping = published.get(name.split("-", 2).join("-"))?.find((one) => overlaps(name, one));
    if (mapping !== undefined) throw inUse(mapping, name);
  }
  for (const protocol of new Set(mappings.map((mapping) => mapping.protocol)))
    for (const table of ["", "6"]) refuseListener(mappings, protocol, table);
}

/** Mappings by protocol and port, as a port's file begins. */
function byPort(mappings: readonly PortMapping[]): ReadonlyMap<string, readonly PortMapping[]> {
  return Map.groupBy(mappings, ({ protocol, hostPort }) => `${protocol}-${hostPort}`);
}

/** Whether `name` is the file of another mapping, for the same port and a common address. */
export function overlaps(name: string, mapping: PortMapping): boolean {
  if (name === portFile(mapping)) return false;
  const [protocol, port, address] = name.split("-");
  return protocol === mapping.protocol && Number(port) === mapping.hostPort && sameAddress(address, mapping.hostIP);
}

/** The error that another container publishes the port; `file` is that container's. */
function inUse(mapping: PortMapping, file: string): RktError {
  let holder = "another container";
  try {
    holder = `container ${readFileSync(`${NETWORK_STATE.ports}/${file}`, "utf8").trim()}`;
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
  return new RktError("port-in-use", `port ${portName(mapping)} of the host is published by ${holder}`, {
    hint: "publish another port, or stop that container; if it was killed, `rkt gc` releases the port",
  });
}

/** Throws if a process of the host listens on one of the ports. `table` is "" for IPv4, "6" for IPv6. */
function refuseListener(mappings: readonly PortMapping[], protocol: PortMapping["protocol"], table: string): void {
  const wanted = byPort(mappings.filter((mapping) => mapping.protocol === protocol));
  let busy: PortMapping | undefined;
  try {
    // The table is read once for all ports, because containers with the host's network may have millions of sockets.
    busy = listenedOn(readLines(`/proc/net/${protocol}${table}`), (port) => wanted.get(`${protocol}-${port}`) ?? []);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return;
    throw error;
  }
  if (busy !== undefined)
    throw new RktError("port-in-use", `a process of the host listens on port ${portName(busy)}`, {
      hint: `\`ss -lnp 'sport = :${busy.hostPort}'\` shows which; publish another port`,
    });
}

/** The states of a TCP socket that listens (TCP_LISTEN) and of an unconnected UDP socket (TCP_CLOSE). */
const LISTENING = new Set(["0A", "07"]);

/** The first mapping on whose host port a socket listens, by the lines of /proc/net/{tcp,udp}[6] (proc(5)). */
export function listenedOn(
  table: Iterable<string>,
  wanted: (port: number) => readonly PortMapping[],
): PortMapping | undefined {
  for (const line of table) {
    const [, local = "", , state = ""] = line.trim().split(/\s+/);
    const [address = "", port = ""] = local.split(":");
    if (!LISTENING.has(state)) continue;
    const found = wanted(Number.parseInt(port, 16)).find(
      ({ hostIP }) => hostIP === undefined || /^0+$/.test(address) || address.endsWith(kernelAddress(hostIP)),
    );
    if (found !== undefined) return found;
  }
  return undefined;
}

/** An IPv4 address as the kernel prints it: hex digits of a little-endian word. */
function kernelAddress(ip: string): string {
  const bytes = ip.split(".").map((part) => Number(part).toString(16).padStart(2, "0").toUpperCase());
  return bytes.toReversed().join("");
}
