/**
 * Shell that releases the host's resources of a CNI plugin when the plugin's file no longer exists, for example because
 * the data directory with the stage1 image was lost (ADR 3). It knows the plugins of the stage1 image, and how they
 * name chains and interfaces (containernetworking/plugins 1.1.1). All that lies in the container's network namespace
 * vanishes with it. Pure.
 */

import { createHash } from "node:crypto";
import { isObject } from "../../shared/schema/place.ts";
import { addressesOf, type Attachment, bareAddress, type CniResult } from "./cni.ts";
import type { PluginConf } from "./network-conf.ts";
import { quoted } from "./quoted.ts";

/** host-local's default directory. */
const LEASES = "/var/lib/cni/networks";

/** Plugins that hold only addresses, veth pairs and masquerading rules, which are released elsewhere. */
const HOLD_NOTHING = ["bridge", "ptp", "macvlan", "ipvlan", "vlan", "host-device", "tuning", "sbr", "vrf"];
/** IPAM plugins that keep no record on the host. A DHCP server ends the lease of a vanished client by itself. */
const KEEP_NO_LEASE = ["static", "dhcp"];

export function releaseWithoutPlugin(plugin: PluginConf, attachment: Attachment, result: CniResult | undefined): string {
  return `${releaseAddresses(plugin, attachment)}${releaseOwn(plugin, attachment, result)}`;
}

function releaseOwn({ type }: PluginConf, attachment: Attachment, result: CniResult | undefined): string {
  const { conf, containerId } = attachment;
  if (HOLD_NOTHING.includes(type)) return "  :\n";
  switch (type) {
    case "portmap":
      return chainSweep(`CNI-DN-${digest(conf.name, containerId).slice(0, 21)}`);
    case "bandwidth":
      return `  ip link del bwp${digest(conf.name, containerId).slice(0, 12)} 2>/dev/null\n  :\n`;
    case "firewall":
      return addressesOf(result).map(firewallSweep).join("") || "  :\n";
    default:
      return lost(type);
  }
}

function releaseAddresses(plugin: PluginConf, { conf, containerId }: Attachment): string {
  const ipam = plugin["ipam"];
  if (!isObject(ipam) || typeof ipam["type"] !== "string" || KEEP_NO_LEASE.includes(ipam["type"])) return "";
  if (ipam["type"] !== "host-local") return lost(ipam["type"]);
  const base = typeof ipam["dataDir"] === "string" && ipam["dataDir"] !== "" ? ipam["dataDir"] : LEASES;
  return `  for lease in ${quoted(`${base}/${conf.name}`)}/*; do
    if grep -qsF ${containerId} "$lease"; then rm -f "$lease"; fi
  done
`;
}

const lost = (type: string): string =>
  `  echo "plugin ${type} is gone, and what it holds of the host is not known" >&2; status=1\n`;

/** The digest from which plugins make the names of chains and interfaces. */
export const digest = (network: string, containerId: string): string =>
  createHash("sha512").update(`${network}${containerId}`).digest("hex");

/** Shell that removes a chain of the table nat, and the rules that jump to it. A missing chain is no error. */
export function chainSweep(chain: string): string {
  return `for tables in iptables ip6tables; do
  { echo '*nat'; $tables-save -t nat | sed -n '/ -j ${chain}$/s/^-A /-D /p'
    echo '-F ${chain}'; echo '-X ${chain}'; echo COMMIT
  } 2>/dev/null | $tables-restore -w --noflush 2>/dev/null
done
`;
}

/** Shell that removes the rules that the plugin firewall made for an address. */
function firewallSweep(address: string): string {
  const host = bareAddress(address);
  const [tables, length] = host.includes(":") ? ["ip6tables", 128] : ["iptables", 32];
  return `  { echo '*filter'
    ${tables}-save -t filter | grep -F -e '-A CNI-FORWARD ' | grep -F ' ${host}/${length} ' | sed 's/^-A /-D /'
    echo COMMIT
  } 2>/dev/null | ${tables}-restore -w --noflush 2>/dev/null
`;
}
