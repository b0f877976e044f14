/**
 * Reads from the container manifest which networks and ports it asks for. Stage 0 uses this to refuse invalid requests
 * early, stage 1 to fulfil them. Pure.
 */

import { RktError } from "./errors.ts";
import { ANNOTATIONS } from "./contract/annotations.ts";
import { annotation } from "./schema/image-manifest.ts";
import type { ExposedPort, PodManifest, Port } from "./schema/types.ts";

export interface NetworkChoice {
  name: string;
  /** CNI_ARGS: `KEY=VALUE`, joined by ";"; may be empty. */
  args: string;
}

/** "none": a network namespace with loopback alone. */
export type NetworkRequest = "host" | "none" | NetworkChoice[];

/** A port mapping of CNI (CONVENTIONS.md, portMappings). */
export interface PortMapping {
  hostPort: number;
  containerPort: number;
  protocol: "tcp" | "udp";
  hostIP?: string;
}

/** Stands for the default network and all of the administrator's. No network can have this name. */
export const ALL_NETWORKS = "all";

/** CNI's rule for a network's name (SPEC.md, "Network configuration format"). */
export const NETWORK_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const ARGUMENT = /^[A-Za-z0-9_]+=[^\s;,]*$/;

/** `host`, `none`, or `NAME[:KEY=VALUE[;KEY=VALUE…]],…`. */
export function networkRequest(manifest: PodManifest): NetworkRequest {
  const text = annotation(manifest.annotations, ANNOTATIONS.network) ?? "host";
  if (text === "host" || text === "none") return text;
  const choices = text.split(",").map(choice);
  for (const [i, { name }] of choices.entries()) {
    if (name === "host" || name === "none") refuse(text, `"${name}" stands alone`);
    if (choices.findIndex((other) => other.name === name) < i) refuse(text, `network "${name}" is named twice`);
  }
  return choices;
}

function choice(text: string): NetworkChoice {
  const colon = text.indexOf(":");
  const name = colon < 0 ? text : text.slice(0, colon);
  const args = colon < 0 ? "" : text.slice(colon + 1);
  if (!NETWORK_NAME.test(name)) refuse(text, `"${name}" is no network's name`);
  if (args !== "" && !args.split(";").every((argument) => ARGUMENT.test(argument)))
    refuse(text, `the arguments "${args}" are not KEY=VALUE;KEY=VALUE`);
  return { name, args };
}

function refuse(text: string, reason: string): never {
  throw new RktError("bad-network", `--net=${text}: ${reason}`, {
    hint: "--net=NAME[:KEY=VALUE;KEY=VALUE],NAME2, --net=host or --net=none",
  });
}

/** Of one container: each costs the plugin portmap rules, and the next container that publishes one waits for it. */
const MOST_PORTS = 512;

/** The ports to publish, ranges spelled out. */
export function portMappings(manifest: PodManifest): PortMapping[] {
  const there = manifest.apps.flatMap(({ app }) => app?.ports ?? []);
  const wanted = manifest.ports.map((exposed) => {
    const [port, second] =
      exposed.podPort === undefined ? there.filter(({ name }) => name === exposed.name) : [exposed.podPort];
    if (second !== undefined)
      throw new RktError("ambiguous-port", `more than one app has a port called ${exposed.name}`, {
        hint: "a podPort beside it says which one is meant",
      });
    if (port === undefined) throw new RktError("no-such-port", `no app has a port called ${exposed.name}`);
    // How many ports of the host are taken is for whoever takes them to say, not for an image.
    if (exposed.podPort === undefined && port.count > 1) refuseRange(exposed, port);
    return { exposed, port };
  });
  const count = wanted.reduce((sum, { port }) => sum + port.count, 0);
  if (count > MOST_PORTS)
    throw new RktError("bad-port", `${count} ports of the host are to be published: ${MOST_PORTS} are the most`, {
      hint: "publish fewer, or give the container the host's network (--net=host)",
    });
  const mappings = wanted.flatMap(({ exposed, port }) => mappingsOf(exposed, port));
  for (const [i, mapping] of mappings.entries())
    if (mappings.slice(0, i).some((other) => conflicting(mapping, other)))
      throw new RktError("port-in-use", `port ${portName(mapping)} of the host is to be published twice`, {
        hint: "give one of the --port options another port of the host",
      });
  return mappings;
}

function refuseRange({ name, hostPort }: ExposedPort, { port, count, protocol }: Port): never {
  throw new RktError("bad-port", `port ${name} is a range of ${count} ports in its image, and ${hostPort} is one`, {
    hint: `--port=${name}:${hostPort}-${hostPort + count - 1} publishes all of it, --port=${port}-${protocol}:${hostPort} the first`,
  });
}

function mappingsOf({ name, hostPort, hostIP }: ExposedPort, port: Port): PortMapping[] {
  const { protocol } = port;
  if (protocol !== "tcp" && protocol !== "udp")
    throw new RktError("bad-port", `port ${name} has protocol "${protocol}": only tcp and udp can be published`, {
      hint: "leave the port out: containers of the same network reach it without",
    });
  if (hostPort + port.count - 1 > 65_535 || port.port + port.count - 1 > 65_535)
    throw new RktError("bad-port", `port ${name} is a range of ${port.count} ports, which ends after 65535`, {
      hint: "begin it at a lower port, of the host and of the container",
    });
  return Array.from({ length: port.count }, (_, i) => ({
    hostPort: hostPort + i,
    containerPort: port.port + i,
    protocol,
    ...(hostIP === undefined || hostIP === "0.0.0.0" ? {} : { hostIP }),
  }));
}

/** Refuses to publish ports of a container without its own network. */
export function refusePorts(network: "host" | "none", ports: readonly PortMapping[]): void {
  for (const port of ports) {
    if (network === "host" && port.hostPort === port.containerPort && port.hostIP === undefined) continue;
    throw new RktError(
      "bad-network",
      network === "none"
        ? `port ${portName(port)} can't be published: the container has no network`
        : `port ${portName(port)} can't lead to port ${port.containerPort}: the container shares the host's network`,
      { hint: "--net gives the container a network of its own" },
    );
  }
}

/** Without an address a port is published on all of them. */
function conflicting(a: PortMapping, b: PortMapping): boolean {
  return a.protocol === b.protocol && a.hostPort === b.hostPort && sameAddress(a.hostIP, b.hostIP);
}

export function sameAddress(a: string | undefined, b: string | undefined): boolean {
  return a === undefined || b === undefined || a === b;
}

/** `tcp 8080`, `tcp 192.0.2.1:8080`: for people. */
export function portName({ protocol, hostPort, hostIP }: PortMapping): string {
  return `${protocol} ${hostIP === undefined ? "" : `${hostIP}:`}${hostPort}`;
}
