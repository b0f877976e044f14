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

/** The ports' files are hard links to this one, so that each has the container's UUID in it from the start. */
export const ownFile = (uuid: string): string => `.${uuid}`;

/** Throws if one of the ports is taken. The container's teardown then releases those that were reserved before. */
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
      taken(mapping, portFile(mapping));
    }
  }
  // Of two that meet here, both may see the other and give up; never both stay: each looks when all of its own are there.
  const published = byPort(mappings);
  for (const name of readdirSync(NETWORK_STATE.ports)) {
    const mapping = published.get(name.split("-", 2).join("-"))?.find((one) => overlaps(name, one));
    if (mapping !== undefined) taken(mapping, name);
  }
  for (const protocol of new Set(mappings.map((mapping) => mapping.protocol)))
    for (const table of ["", "6"]) refuseListener(mappings, protocol, table);
}

/** Mappings by protocol and port, as a port's file begins. */
function byPort(mappings: readonly PortMapping[]): ReadonlyMap<string, readonly PortMapping[]> {
  return Map.groupBy(mappings, ({ protocol, hostPort }) => `${protocol}-${hostPort}`);
}

/** Whether another mapping's file is for the same port, on an address in common. */
export function overlaps(name: string, mapping: PortMapping): boolean {
  if (name === portFile(mapping)) return false;
  const [protocol, port, address] = name.split("-");
  return protocol === mapping.protocol && Number(port) === mapping.hostPort && sameAddress(address, mapping.hostIP);
}

function taken(mapping: PortMapping, file: string): never {
  let holder = "another container";
  try {
    holder = `container ${readFileSync(`${NETWORK_STATE.ports}/${file}`, "utf8").trim()}`;
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
  throw new RktError("port-in-use", `port ${portName(mapping)} of the host is published by ${holder}`, {
    hint: "publish another port, or stop that container; if it was killed, `rkt gc` releases the port",
  });
}

function refuseListener(mappings: readonly PortMapping[], protocol: PortMapping["protocol"], table: string): void {
  const wanted = byPort(mappings.filter((mapping) => mapping.protocol === protocol));
  let busy: PortMapping | undefined;
  try {
    // Containers with the host's network may have millions of sockets: one reading for all ports.
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

/** TCP_LISTEN, and the state of an unconnected UDP socket (TCP_CLOSE). */
const WAITING = new Set(["0A", "07"]);

/** The first mapping whose port of the host a socket of /proc/net/{tcp,udp}[6] (proc(5)) waits at. */
export function listenedOn(
  table: Iterable<string>,
  wanted: (port: number) => readonly PortMapping[],
): PortMapping | undefined {
  for (const line of table) {
    const [, local = "", , state = ""] = line.trim().split(/\s+/);
    const [address = "", port = ""] = local.split(":");
    if (!WAITING.has(state)) continue;
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
