/**
 * Keeps a container on the default network from passing for a neighbour: what
 * comes in at its port of the bridge has its own addresses as the sender's, or
 * is dropped (ebtables(8)). With CAP_NET_RAW, which apps have by default, it could
 * otherwise answer for the gateway, or be known to the metadata service as another.
 *
 * IPv6 neighbour discovery says in its payload what it is about, which no rule
 * reads: of it, only advertisements of routers are dropped.
 */

import { spawnSync } from "node:child_process";
import { errorCode, errorText } from "../shared/errors.ts";
import { isObject } from "../shared/schema/place.ts";
import { addressesOf, type CniResult, HOST_PATH, hostVeths } from "./cni.ts";

/** By name: a rule set for the nft variant, which has --noflush. The other would flush what is not ours. */
const RESTORE = "ebtables-nft-restore";

/** ebtables' names have 31 characters at most. */
const chainOf = (containerId: string): string => `RKT-${containerId.replaceAll("-", "").slice(0, 24)}`;

/** Input of ebtables-restore for a container's attachment; undefined when the plugin has not said what there is to be said. */
export function guardRules(containerId: string, result: CniResult | undefined): string | undefined {
  const [veth] = hostVeths(result);
  const mac = containerMac(result);
  if (veth === undefined || mac === undefined) return undefined;
  const chain = chainOf(containerId);
  const addresses = addressesOf(result).map((address) => address.replace(/\/.*/, ""));
  const own = addresses.flatMap((address) =>
    address.includes(":")
      ? [`-p IPv6 -s ${mac} --ip6-src ${address} -j RETURN`]
      : [
          `-p IPv4 -s ${mac} --ip-src ${address} -j RETURN`,
          `-p ARP -s ${mac} --arp-mac-src ${mac} --arp-ip-src ${address} -j RETURN`,
        ],
  );
  const linkLocal = [
    `-p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type router-advertisement -j DROP`,
    `-p IPv6 -s ${mac} --ip6-src fe80::/10 -j RETURN`,
    // Before it has an address.
    `-p IPv6 -s ${mac} --ip6-src :: -j RETURN`,
  ];
  return [
    "*filter",
    `:${chain} RETURN`,
    ...[...linkLocal, ...own, "-j DROP"].map((rule) => `-A ${chain} ${rule}`),
    ...HOOKS.map((hook) => `-A ${hook} -i ${veth} -j ${chain}`),
    "",
  ].join("\n");
}

const HOOKS = ["INPUT", "FORWARD"];

/** Shell that takes the rules away. */
export function guardRelease(containerId: string, result: CniResult | undefined): string {
  const [veth] = hostVeths(result);
  if (veth === undefined) return "";
  const chain = chainOf(containerId);
  const lines = [...HOOKS.map((hook) => `-D ${hook} -i ${veth} -j ${chain}`), `-F ${chain}`, `-X ${chain}`];
  return `${RESTORE} --noflush 2>/dev/null <<'EOF'
*filter
${lines.join("\n")}
EOF
`;
}

/**
 * Without the program, or in a kernel without bridge tables, there is no guard (docs/networking.md): gives what the
 * person should know then.
 */
export function installGuard(rules: string): string | undefined {
  const { error, status, stderr } = spawnSync(RESTORE, ["--noflush"], {
    env: { PATH: HOST_PATH },
    input: rules,
    encoding: "utf8",
    stdio: ["pipe", "ignore", "pipe"],
  });
  if (status === 0) return undefined;
  const missing = error !== undefined && errorCode(error) === "ENOENT";
  const [line = ""] = (error === undefined ? stderr : errorText(error)).split("\n");
  const reason = missing ? `there is no ${RESTORE}` : line;
  return `the container can pass for its neighbours on the default network: ${reason}`;
}

/** The address of the container's own interface: the one that is in a namespace. */
function containerMac(result: CniResult | undefined): string | undefined {
  const interfaces = result?.["interfaces"];
  if (!Array.isArray(interfaces)) return undefined;
  for (const one of interfaces)
    if (isObject(one) && typeof one["sandbox"] === "string" && one["sandbox"] !== "") {
      const mac = one["mac"];
      if (typeof mac === "string" && /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) return mac;
    }
  return undefined;
}
