/** Checks ports that are published, and ports whose sockets an app is started with. Pure. */

import { RktError } from "../../shared/errors.ts";
import { networkRequest, portMappings, refusePorts } from "../../shared/network-request.ts";
import type { ExposedPort, PodManifest, RuntimeApp } from "../../shared/schema/types.ts";
import type { PortRequest } from "./request.ts";

/**
 * Refuses a port that two apps would be started with: the apps share the container's ports, and a socket is one app's.
 */
export function checkSockets(apps: readonly RuntimeApp[]): void {
  const taken = new Map<string, string>();
  for (const { name: app, app: section } of apps)
    for (const { name, protocol, port, count } of section?.ports.filter(({ socketActivated }) => socketActivated) ??
      []) {
      if (protocol !== "tcp" && protocol !== "udp")
        throw new RktError(
          "bad-port",
          `app ${app}: port ${name} is to be listened on, and its protocol is ${protocol}`,
          {
            hint: "an app can be started with sockets of tcp and udp",
          },
        );
      for (let number = port; number < port + count; number++) {
        const key = `${number}/${protocol}`;
        const other = taken.get(key);
        if (other !== undefined)
          throw new RktError("duplicate-port", `app ${other} and app ${app} are both to be started with port ${key}`, {
            hint: "run them in containers of their own, each with --net",
          });
        taken.set(key, app);
      }
    }
}

/** Refuses early what stage 1 would refuse after the container has been made. */
export function checkPorts(manifest: PodManifest): void {
  const ports = portMappings(manifest);
  const network = networkRequest(manifest);
  if (network === "host" || network === "none") refusePorts(network, ports);
}

export function exposedPorts(asked: readonly PortRequest[], apps: readonly RuntimeApp[]): ExposedPort[] {
  const there = apps.flatMap(({ app }) => app?.ports ?? []);
  return asked.map(({ name, hostPort, count = 1, hostIP }) => {
    const [port, second] = there.filter((candidate) => candidate.name === name);
    if (second !== undefined)
      throw new RktError("ambiguous-port", `more than one app has a port called ${name}`, {
        hint: `give the number: --port ${second.port}:${hostPort}`,
      });
    if (port === undefined) return { name, hostPort, hostIP, podPort: numberedPort(name, count, there) };
    if (count === 1) return { name, hostPort, hostIP, podPort: undefined };
    if (count > port.count)
      throw new RktError(
        "bad-port",
        `port ${name} of the image is ${port.count === 1 ? "one" : `a range of ${port.count}`}, and ${count} of the host are to lead to it`,
        {
          hint: `--port=${name}:${hostPort}${port.count === 1 ? "" : `-${hostPort + port.count - 1}`}`,
        },
      );
    return { name, hostPort, hostIP, podPort: { ...port, count, socketActivated: false } };
  });
}

/** `80` or `80-udp`: a port that no image names, and those after it. */
function numberedPort(name: string, count: number, there: readonly { name: string }[]): ExposedPort["podPort"] {
  const [, digits, protocol = "tcp"] = /^([0-9]{1,5})(?:-(tcp|udp))?$/.exec(name) ?? [];
  const port = Number(digits);
  if (port >= 1 && port <= 65_535) return { name, protocol, port, count, socketActivated: false };
  throw new RktError("no-such-port", `no app has a port called ${name}`, {
    hint: there.length === 0 ? "give its number" : `there are ${there.map((other) => other.name).join(", ")}`,
  });
}
