/**
 * A container on the restricted network reaches the host and nothing else. Rules for its veth pair drop all packets
 * that the host would forward from it or to it. Missing routes are not enough: with CAP_NET_RAW, which apps have by
 * default, a container sends without a route. The interface's `forwarding` switch is not enough either: a plugin of
 * another network that switches forwarding on for all interfaces also does so for this one.
 *
 * The host accepts from the container only packets with the container's own addresses, as on the default network
 * (source-guard.ts), because the metadata service knows containers by address. It also accepts no router
 * advertisements.
 *
 * It has a share of the host's connections (connections.ts), if the host tracks any.
 *
 * Forwarded packets are dropped in the table mangle: there no rule of anybody's in `filter` can accept them first.
 */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import { type Chain, containerChain, installChains, removeChains, whyFailed } from "./chains.ts";
import {
  addressesOf,
  type Attachment,
  bareAddress,
  type CniResult,
  containerMac,
  HOST_PATH,
  hostVeths,
} from "./cni.ts";
import { connectionRule, tracksConnections } from "./connections.ts";
import { linkLocalAddress } from "./source-guard.ts";

/** An attachment's veth pair, as the rules need it. */
export interface Pair {
  chain: string;
  veth: string;
  mac: string;
  /** IPv4 addresses of the container. */
  addresses: readonly string[];
  /** Whether its connections to the host are counted. */
  counted: boolean;
}

/** Throws "network-failed" if the plugin's result lacks something: without the rules the container must not start. */
export function pairOf({ conf, containerId }: Attachment, result: CniResult | undefined): Pair {
  const [veth] = hostVeths(result);
  const mac = containerMac(result);
  const addresses = addressesOf(result)
    .map(bareAddress)
    .filter((address) => !address.includes(":"));
  if (veth === undefined || mac === undefined || addresses.length === 0)
    throw new RktError("network-failed", `network ${conf.name}: the plugin has not named the interfaces it has made`, {
      hint: "is there another plugin ptp in a directory of yours? rkt's own names them",
    });
  return { chain: containerChain(containerId), veth, mac, addresses, counted: tracksConnections() };
}

const chainsOf = ({ chain, counted }: Pair): readonly [Chain, ...Chain[]] => [
  { table: "mangle", hook: "FORWARD", name: chain },
  { table: "raw", hook: "PREROUTING", name: chain },
  ...(counted ? [{ table: "mangle", hook: "INPUT", name: inputChain(chain) }] : []),
];

/** The name of the chain for INPUT. The table mangle has the chain for FORWARD already, and its name has full length. */
const inputChain = (chain: string): string => chain.replace(/^RKT-(.*).$/, "RKT-I$1");

/** Input of iptables-restore --noflush. */
export function ipv4Rules(pair: Pair): string {
  const senders = pair.addresses.map((address) => `-s ${address}/32 -j RETURN`);
  return rules(pair, senders, 32);
}

/** Input of ip6tables-restore --noflush: of IPv6 the container has its link-local address. */
export function ipv6Rules(pair: Pair): string {
  const senders = [
    "-p ipv6-icmp -m icmp6 --icmpv6-type router-advertisement -j DROP",
    `-s ${linkLocalAddress(pair.mac)}/128 -j RETURN`,
    // Before it has an address.
    "-s ::/128 -p ipv6-icmp -j RETURN",
  ];
  return rules(pair, senders, 128);
}

function rules({ chain, veth, counted }: Pair, senders: readonly string[], addressBits: 32 | 128): string {
  const input = inputChain(chain);
  const share = `:${input} - [0:0]\n${connectionRule(input, veth, addressBits)}-A INPUT -j ${input}\n`;
  return `*mangle
:${chain} - [0:0]
-A ${chain} -i ${veth} -j DROP
-A ${chain} -o ${veth} -j DROP
-A FORWARD -j ${chain}
${counted ? share : ""}COMMIT
*raw
:${chain} - [0:0]
${[...senders, "-j DROP"].map((rule) => `-A ${chain} -i ${veth} ${rule}\n`).join("")}-A PREROUTING -j ${chain}
COMMIT
`;
}

/**
 * Arguments of arptables, a command each, because arptables-restore would flush the rules of others. `--h-type 0/0`
 * matches every hardware type: without it a rule matches Ethernet alone, and the kernel accepts IEEE 802 as well.
 */
export function arpCommands({ chain, veth, mac, addresses }: Pair): string[] {
  return [
    `-N ${chain}`,
    ...addresses.map((address) => `-A ${chain} -i ${veth} --source-mac ${mac} --source-ip ${address} -j RETURN`),
    `-A ${chain} -i ${veth} --h-type 0/0 -j DROP`,
    `-A INPUT --h-type 0/0 -j ${chain}`,
  ];
}

const ARPTABLES = "arptables-nft";

/**
 * Makes the rules. Throws if those of iptables can't be made: without them the container must not start. Returns a
 * warning for the user if only those for ARP can't be made.
 */
export function installHostOnlyRules(pair: Pair, network: string): string | undefined {
  install("iptables", pair, ipv4Rules(pair), network);
  // A kernel without IPv6 has nothing to forward.
  if (existsSync("/proc/net/if_inet6")) install("ip6tables", pair, ipv6Rules(pair), network);
  for (const command of arpCommands(pair)) {
    const { error, status, stderr } = spawnSync(ARPTABLES, command.split(" "), {
      env: { PATH: HOST_PATH },
      encoding: "utf8",
    });
    if (status === 0) continue;
    return `the container can claim addresses that are not its own by ARP: ${whyFailed(ARPTABLES, error, stderr)}`;
  }
  return undefined;
}

function install(tables: string, pair: Pair, text: string, network: string): void {
  const failure = installChains(tables, chainsOf(pair), text);
  if (failure === undefined) return;
  throw new RktError("no-iptables", `network ${network}: ${failure.reason}`, {
    hint: `install ${tables}: it keeps containers of this network from reaching further than the host`,
    cause: failure.cause,
  });
}

/** Shell that removes the rules. */
export function hostOnlyRelease(pair: Pair): string {
  const { chain } = pair;
  const arp = [`-D INPUT --h-type 0/0 -j ${chain}`, `-F ${chain}`, `-X ${chain}`];
  return `${["iptables", "ip6tables"].map((tables) => `${removeChains(tables, chainsOf(pair))}\n`).join("")}{ ${arp
    .map((command) => `${ARPTABLES} ${command}`)
    .join("; ")}; } 2>/dev/null
`;
}
