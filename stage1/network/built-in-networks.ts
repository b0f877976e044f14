/**
 * The built-in networks: "default", a bridge with NAT (ADR 3), and "default-restricted", which reaches no further than
 * the host. If the administrator configures a network of the same name, that one is used instead.
 *
 * The first container of a network makes its subnets, bridge and rules, and the release of the last one removes them.
 * The leases say which containers there are. The caller holds the network's lock.
 */

import { NETWORK_STATE } from "../../shared/contract/host-state.ts";
import type { Json } from "../../shared/schema/types.ts";
import { leasesOf, subnetsFile } from "./built-in-subnets.ts";
import { BRIDGE, DEFAULT_NETWORK, installBridgeRules, METADATA_ADDRESS, removeBridge } from "./default-bridge.ts";
import type { NetworkConf, PluginConf } from "./network-conf.ts";
import { quoted } from "./quoted.ts";
import type { Subnets } from "./subnet.ts";

const RESTRICTED_NETWORK = "default-restricted";
export const BUILT_IN_NETWORKS = [DEFAULT_NETWORK, RESTRICTED_NETWORK];
/** Stands in a built-in network for the file of an administrator's network. */
const BUILT_IN = "built in";

/** Publishes ports. A network without ports does without it, because its DEL goes through all tables even then. */
export const PORTMAP: PluginConf = { type: "portmap", capabilities: { portMappings: true }, snat: true };

export const isBuiltIn = ({ file }: NetworkConf): boolean => file === BUILT_IN;

/** The built-in network of that name, if there is one. `ports`: whether the container publishes any. */
export function builtInNetwork(name: string, subnets: Subnets, ports: boolean): NetworkConf | undefined {
  if (name === DEFAULT_NETWORK) return defaultNetwork(subnets, ports);
  return name === RESTRICTED_NETWORK ? restrictedNetwork(subnets) : undefined;
}

/**
 * Pairs of interfaces with the host, without a default route or NAT. From one a container reaches the host and its
 * metadata service.
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

/** Makes the network's rules on the host if they are missing. The restricted network's are each container's own. */
export function installRules(network: string, subnets: Subnets): void {
  if (network === DEFAULT_NETWORK) installBridgeRules(subnets);
}

/** Shell for the end of a container's release: removes the whole network if no container has a lease. */
export function releaseUnused(network: string, subnets: Subnets, busybox: string): string {
  return `if ! ls ${quoted(leasesOf(network))} 2>/dev/null | grep -q -e '^[0-9]' -e :; then
${network === DEFAULT_NETWORK ? removeBridge(subnets, busybox) : ""}  rm -rf ${quoted(leasesOf(network))} ${quoted(subnetsFile(network))}
fi
`;
}
