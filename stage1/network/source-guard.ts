/**
 * Stops a container on the default network from using a neighbour's address: the rules drop each frame from its port of
 * the bridge whose sender's addresses are not the container's (ebtables(8)). With CAP_NET_RAW, which apps have by
 * default, it could otherwise answer for the gateway, or appear as another container to the metadata service.
 *
 * The bridge learns a port's addresses from the frames that it receives there. If it learned a false one, it would send
 * a neighbour's traffic to this container. So the rules are where a frame has not been learned from yet: in nat
 * PREROUTING, and in filter INPUT for frames to link-local destinations, which skip PREROUTING. Frames to
 * 01:80:c2:00:00:0e (LLDP) would skip both; a bit in the bridge's `group_fwd_mask` makes them pass PREROUTING.
 *
 * IPv6 neighbour discovery names addresses in its payload, which no rule can read: of it, the rules drop only router
 * advertisements.
 */

import { spawnSync } from "node:child_process";
import { errorText } from "../../shared/errors.ts";
import { containerChain, whyFailed } from "./chains.ts";
import { addressesOf, bareAddress, type CniResult, containerMac, HOST_PATH, hostVeths } from "./cni.ts";
import { BRIDGE } from "./default-bridge.ts";

/** The nft variant, by its own name: the other one has no --noflush, and would remove the rules of others. */
const RESTORE = "ebtables-nft-restore";

/**
 * Input of ebtables-restore for a container's attachment; undefined if the plugin's result does not name the
 * interfaces.
 */
export function guardRules(containerId: string, result: CniResult | undefined): string | undefined {
  const [veth] = hostVeths(result);
  const mac = containerMac(result);
  if (veth === undefined || mac === undefined) return undefined;
  const chain = containerChain(containerId);
  const addresses = addressesOf(result).map(bareAddress);
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
    `-p IPv6 -s ${mac} --ip6-src ${linkLocalAddress(mac)} -j RETURN`,
    // The unspecified address: the container's own address is not set yet.
    `-p IPv6 -s ${mac} --ip6-src :: --ip6-proto ipv6-icmp -j RETURN`,
  ];
  const lines = HOOKS.flatMap(([table, hook]) => [
    `*${table}`,
    `:${chain} RETURN`,
    ...[...linkLocal, ...own, "-j DROP"].map((rule) => `-A ${chain} ${rule}`),
    `-A ${hook} -i ${veth} -j ${chain}`,
  ]);
  return `${lines.join("\n")}\n`;
}

const HOOKS = [
  ["nat", "PREROUTING"],
  ["filter", "INPUT"],
] as const;

/** Shell that removes the rules. */
export function guardRelease(containerId: string, result: CniResult | undefined): string {
  const [veth] = hostVeths(result);
  if (veth === undefined) return "";
  const chain = containerChain(containerId);
  return HOOKS.map(
    ([table, hook]) => `${RESTORE} --noflush 2>/dev/null <<'EOF'
*${table}
-D ${hook} -i ${veth} -j ${chain}
-F ${chain}
-X ${chain}
EOF
`,
  ).join("");
}

/**
 * Makes the rules. If that fails (no such program, a kernel without bridge tables), there is no guard
 * (docs/use/networking.md): returns a warning for the user.
 */
export function installGuard(rules: string, busybox: string): string | undefined {
  const { error, status, stderr } = spawnSync(RESTORE, ["--noflush"], {
    env: { PATH: HOST_PATH },
    input: rules,
    encoding: "utf8",
    stdio: ["pipe", "ignore", "pipe"],
  });
  if (status === 0) return guardLinkLocal(busybox);
  return unguarded(whyFailed(RESTORE, error, stderr));
}

const unguarded = (reason: string): string =>
  `the container can pass for its neighbours on the default network: ${reason}`;

const LLDP = `0x${(1 << 0x0e).toString(16)}`;

/**
 * Makes LLDP frames pass the rules. The mounted sysfs may show another network namespace, so it is mounted again. If it
 * shows this one already, the kernel refuses a second mount in the same place (EBUSY).
 */
function guardLinkLocal(busybox: string): string | undefined {
  const file = `/sys/class/net/${BRIDGE}/bridge/group_fwd_mask`;
  const script = `said=$("$0" mount -t sysfs sysfs /sys 2>&1) || case $said in *busy*) ;; *) echo "$said" >&2; exit 1 ;; esac
read -r mask <${file} && { [ "$mask" = ${LLDP} ] || echo ${LLDP} >${file}; }`;
  const { error, status, stderr } = spawnSync(busybox, ["unshare", "-m", busybox, "sh", "-c", script, busybox], {
    env: {},
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
  });
  return status === 0
    ? undefined
    : unguarded(`group_fwd_mask: ${error === undefined ? stderr.trim() : errorText(error)}`);
}

/** The link-local address that the container's kernel makes from an Ethernet address (RFC 4291, appendix A). */
export function linkLocalAddress(mac: string): string {
  const [first = 0, second = 0, ...rest] = mac.split(":").map((byte) => Number.parseInt(byte, 16));
  const bytes = [first ^ 2, second, rest[0] ?? 0, 0xff, 0xfe, ...rest.slice(1)];
  const words = [0, 2, 4, 6].map((at) => (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)).toString(16));
  return `fe80::${words.join(":")}`;
}
