/**
 * Runs CNI plugins (CNI's SPEC.md, "Execution protocol"): a plugin gets its configuration on standard input and its
 * parameters in the environment, and writes a result or an error as JSON to standard output.
 */

import { spawnSync } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { isIP } from "node:net";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { isObject } from "../../shared/schema/place.ts";
import type { Json } from "../../shared/schema/types.ts";
import { hasCapability, ipamType, type NetworkConf, type PluginConf } from "./network-conf.ts";
import { distrustAbove, distrustOf, wayOut } from "../../shared/trusted-path.ts";
import type { PortMapping } from "../../shared/network-request.ts";

/** PATH of the plugins, for the host's own tools (iptables). */
export const HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Long enough for DHCP. */
const TIMEOUT_MS = 120_000;

/** One interface of the container, and the network it leads to. */
export interface Attachment {
  /** For the built-in network: complete only while this process holds its lock. */
  conf: NetworkConf;
  containerId: string;
  ifName: string;
  args: string;
  portMappings: readonly PortMapping[];
  /** The administrator's directories of plugins, absolute, in the order of the search. */
  pluginDirs: readonly string[];
  /** The stage1 image's directory of plugins, which is searched last. */
  ownPlugins: string;
  /** The stage1 image's busybox, for tools that the host may lack. */
  busybox: string;
}

export type CniResult = { [key: string]: Json };

export interface Invocation {
  path: string;
  env: Record<string, string>;
  input: string;
}

type PluginSearch = Pick<Attachment, "conf" | "pluginDirs" | "ownPlugins">;

const searched = ({ pluginDirs, ownPlugins }: PluginSearch): string[] => [...pluginDirs, ownPlugins];

/** Finds the plugin's file; `search.conf` is the network that needs it, for messages. */
export function findPlugin(type: string, search: PluginSearch): string {
  const { conf, ownPlugins } = search;
  for (const dir of searched(search)) {
    const path = `${dir}/${type}`;
    if (!isProgram(path)) continue;
    if (dir !== ownPlugins) for (const one of [dir, path]) requireTrusted(one, type, conf);
    return path;
  }
  throw new RktError("no-plugin", `network ${conf.name} (${conf.file}): there is no plugin "${type}"`, {
    hint: `plugins are looked for in ${searched(search).join(", ")}`,
  });
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // The next directory may have it.
    return false;
  }
}

/** Root runs the plugin, so only root may be able to write it. */
function requireTrusted(path: string, type: string, conf: NetworkConf): void {
  const above = distrustAbove(path);
  const why = above === undefined ? distrustOf(statSync(path)) : undefined;
  if (above === undefined && why === undefined) return;
  const place = above?.path ?? path;
  const message = `network ${conf.name} (${conf.file}): plugin ${type} is not run: ${place} ${above?.why ?? why}`;
  throw new RktError("foreign-plugin", message, { hint: wayOut(place) });
}

/** The programs that a plugin needs: its own, and its IPAM plugin's. */
export function programsOf(plugin: PluginConf, attachment: Attachment): string[] {
  const ipam = ipamType(plugin);
  return [plugin.type, ...(ipam === undefined ? [] : [ipam])].map((type) => findPlugin(type, attachment));
}

/** Throws if a plugin of the network is missing. Called before anything is changed. */
export function requirePlugins(attachment: Attachment): void {
  for (const plugin of attachment.conf.plugins) programsOf(plugin, attachment);
}

/** How a plugin is run. An empty `netns` says that the namespace no longer exists. */
export function invocation(
  command: "ADD" | "CHECK" | "DEL",
  plugin: PluginConf,
  attachment: Attachment,
  netns: string,
  prevResult: CniResult | undefined,
): Invocation {
  const { conf, containerId, ifName, args, portMappings } = attachment;
  const { capabilities: _, ...own } = plugin;
  const runtimeConfig = hasCapability(plugin, "portMappings")
    ? { portMappings: portMappings.map((m) => ({ ...m })) }
    : {};
  const input: Json = {
    ...own,
    cniVersion: conf.cniVersion,
    name: conf.name,
    ...(Object.keys(runtimeConfig).length === 0 ? {} : { runtimeConfig }),
    ...(prevResult === undefined ? {} : { prevResult }),
  };
  const env: Record<string, string> = {
    PATH: HOST_PATH,
    CNI_COMMAND: command,
    CNI_CONTAINERID: containerId,
    CNI_NETNS: netns,
    CNI_IFNAME: ifName,
    // Every plugin of a list gets all arguments, also those for another.
    CNI_ARGS: args === "" ? "" : `IgnoreUnknown=1;${args}`,
    CNI_PATH: searched(attachment).join(":"),
  };
  return { path: findPlugin(plugin.type, attachment), env, input: JSON.stringify(input) };
}

/** ADD of a network, plugin after plugin; the last result. `lockFd` is inherited by the plugins. */
export function addAll(
  attachment: Attachment,
  netns: string,
  lockFd: number,
  plugins: readonly PluginConf[] = attachment.conf.plugins,
  before?: CniResult,
): CniResult | undefined {
  let prevResult = before;
  for (const plugin of plugins)
    prevResult = invoke(invocation("ADD", plugin, attachment, netns, prevResult), plugin, attachment, lockFd);
  return prevResult;
}

/**
 * Runs CHECK of each plugin of a network. Returns the faults that they report. The container starts all the same:
 * portmap 1.1.1, for one, looks for IPv6 rules when the container has no IPv6 address.
 */
export function checkAll(
  attachment: Attachment,
  netns: string,
  lockFd: number,
  result: CniResult | undefined,
): string[] {
  return attachment.conf.plugins.flatMap((plugin) => {
    try {
      invoke(invocation("CHECK", plugin, attachment, netns, result), plugin, attachment, lockFd);
      return [];
    } catch (error) {
      if (!(error instanceof RktError)) throw error;
      return [`CHECK: ${error.message}`];
    }
  });
}

function invoke(how: Invocation, plugin: PluginConf, { conf }: Attachment, lockFd: number): CniResult | undefined {
  const failed = (reason: string, cause?: unknown): RktError =>
    new RktError("network-failed", `network ${conf.name} (${conf.file}): plugin ${plugin.type}: ${reason}`, {
      cause,
      hint: hintFor(reason),
    });
  const done = spawnSync(how.path, [], {
    env: how.env,
    input: how.input,
    // If this process is killed, the plugin still holds the lock until it ends.
    stdio: ["pipe", "pipe", "pipe", lockFd],
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  // EPIPE: the plugin did not read its configuration. Its status and its answer still say what happened.
  if (done.error !== undefined && errorCode(done.error) !== "EPIPE") throw failed(errorText(done.error), done.error);
  const answer = asObject(done.stdout);
  if (done.status === 0) {
    if (answer === undefined && how.env["CNI_COMMAND"] === "ADD") throw failed("its result is no JSON object");
    return answer;
  }
  const said = [answer?.["msg"], answer?.["details"]].filter((part) => typeof part === "string" && part !== "");
  const text = said.length > 0 ? said.join(": ") : [done.stdout, done.stderr].join(" ").trim();
  throw failed(text === "" ? `it ended with ${done.signal ?? `status ${done.status}`} and said nothing` : text);
}

function asObject(text: string): CniResult | undefined {
  try {
    const value: Json = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function hintFor(reason: string): string | undefined {
  if (/no IP addresses available|no available addresses/i.test(reason))
    return "its range of addresses is used up: end containers, run `rkt gc`, or give the network a larger range";
  if (/failed to locate ip6?tables|ip6?tables["']?: executable file not found/i.test(reason))
    return "install iptables: the plugin needs it";
  if (/dialing DHCP daemon/i.test(reason))
    return "dhcp needs its daemon on the host: `dhcp daemon`, the same plugin (Debian: /usr/lib/cni/dhcp)";
  return undefined;
}

/** Addresses of the container's interface, with prefix length, from a result of any CNI version. */
export function addressesOf(result: CniResult | undefined): string[] {
  const found: Json[] = [];
  const ips = result?.["ips"];
  if (Array.isArray(ips)) found.push(...ips.map((ip) => (isObject(ip) ? (ip["address"] ?? null) : null)));
  for (const key of ["ip4", "ip6"]) {
    const old = result?.[key];
    if (isObject(old)) found.push(old["ip"] ?? null);
  }
  return found.filter(
    (address) => typeof address === "string" && /^[0-9a-fA-F.:]+\/\d{1,3}$/.test(address),
  ) as string[];
}

/** Gateways of the container's interface, likewise. */
export function gatewaysOf(result: CniResult | undefined): string[] {
  const ips = result?.["ips"];
  const parts = [...(Array.isArray(ips) ? ips : []), result?.["ip4"], result?.["ip6"]];
  return parts.flatMap((part) => {
    const gateway = isObject(part) ? part["gateway"] : undefined;
    return typeof gateway === "string" && isIP(gateway) !== 0 ? [gateway] : [];
  });
}

/** An address without its prefix length. */
export const bareAddress = (address: string): string => address.replace(/\/.*/, "");

/** Name servers that the plugins' result names. */
export function nameServersOf(result: CniResult | undefined): string[] {
  const dns = result?.["dns"];
  const servers = isObject(dns) ? dns["nameservers"] : undefined;
  return Array.isArray(servers)
    ? servers.filter((server) => typeof server === "string").filter((server) => /^[0-9a-fA-F.:]+$/.test(server))
    : [];
}

/** Names of the veth ends that lie on the host. */
export function hostVeths(result: CniResult | undefined): string[] {
  const interfaces = result?.["interfaces"];
  if (!Array.isArray(interfaces)) return [];
  return interfaces.flatMap((one) => {
    if (!isObject(one) || (one["sandbox"] !== undefined && one["sandbox"] !== "")) return [];
    const name = one["name"];
    return typeof name === "string" && /^veth[0-9a-zA-Z]{1,11}$/.test(name) ? [name] : [];
  });
}

/** The Ethernet address of the container's own interface: in the result it has a `sandbox`, its namespace. */
export function containerMac(result: CniResult | undefined): string | undefined {
  const interfaces = result?.["interfaces"];
  if (!Array.isArray(interfaces)) return undefined;
  for (const one of interfaces)
    if (isObject(one) && typeof one["sandbox"] === "string" && one["sandbox"] !== "") {
      const mac = one["mac"];
      if (typeof mac === "string" && /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) return mac;
    }
  return undefined;
}
