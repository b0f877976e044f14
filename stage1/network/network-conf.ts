/**
 * Reads the administrator's CNI network configurations: `*.conf` (one plugin) and `*.conflist` files (CNI's SPEC.md,
 * "Network configuration format"). An error names the file and the field. Unknown fields are passed to the plugins.
 */

import { readdirSync } from "node:fs";
import { MAX_LIST_BYTES, readRegular } from "../../shared/bounded-read.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { NETWORK_CONFIG } from "../../shared/contract/configuration.ts";
import { parseJson } from "../../shared/schema/json.ts";
import {
  boolean,
  entries,
  fields,
  finish,
  isObject,
  items,
  optionalString,
  type Place,
  report,
  root,
  string,
} from "../../shared/schema/place.ts";
import type { Json } from "../../shared/schema/types.ts";
import { requireTrustedConfig } from "../../shared/trusted-path.ts";
import { NETWORK_NAME } from "../../shared/network-request.ts";

export type PluginConf = { [key: string]: Json } & { type: string };

export interface NetworkConf {
  name: string;
  cniVersion: string;
  /** The file that it was read from, for messages. */
  file: string;
  plugins: PluginConf[];
  disableCheck: boolean;
}

/** Known versions of the CNI specification: the results of a newer one may be different. */
const VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];
/** For a configuration that names no version: the first with CHECK, which every plugin in use supports. */
const USUAL_VERSION = "0.4.0";

const oneOf = (versions: readonly string[]) => (text: string) =>
  versions.includes(text) ? undefined : `must be one of ${versions.join(", ")}`;
const networkName = (text: string) =>
  NETWORK_NAME.test(text) ? undefined : 'must be letters, digits, "_", "." and "-", and begin with a letter or digit';
const pluginName = (text: string) =>
  /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text) ? undefined : "must be the file name of a plugin";

export function parseNetworkConf(text: string | Uint8Array, file: string): NetworkConf {
  const place = root(canonical(parseJson(text, file), CONF_KEYS), file);
  const field = fields(place);
  const list = file.endsWith(".conflist");
  const name = string(field("name"), networkName);
  const version = optionalString(field("cniVersion"), oneOf(VERSIONS)) ?? USUAL_VERSION;
  const disableCheck = list && boolean(field("disableCheck"));
  const places = list ? items(field("plugins")) : [place];
  if (list && places.length === 0) report(field("plugins"), "must name at least one plugin");
  return finish(place, { name, cniVersion: version, file, plugins: places.map(pluginConf), disableCheck });
}

/** The keys that are read here, and those of their members. */
interface Keys {
  [key: string]: Keys;
}
const PLUGIN_KEYS: Keys = {
  name: {},
  type: {},
  cniVersion: {},
  capabilities: {},
  args: {},
  dns: {},
  ipMasq: {},
  ipam: { type: {}, dataDir: {} },
};
const CONF_KEYS: Keys = { ...PLUGIN_KEYS, disableCheck: {}, plugins: PLUGIN_KEYS };

/**
 * Spells the keys as CNI does. Plugins, and rkt 1.30, ignore their case (Go's encoding/json). If a key is there in two
 * spellings, CNI's own is used.
 */
function canonical(value: Json, keys: Keys): Json {
  if (Array.isArray(value)) return value.map((item) => canonical(item, keys));
  if (!isObject(value)) return value;
  const spelling = new Map(Object.keys(keys).map((key) => [key.toLowerCase(), key]));
  const members = Object.entries(value).flatMap(([key, member]): [string, Json][] => {
    const known = spelling.get(key.toLowerCase());
    if (known === undefined) return [[key, member]];
    return key === known || !Object.hasOwn(value, known) ? [[known, canonical(member, keys[known] ?? {})]] : [];
  });
  return Object.fromEntries(members);
}

function pluginConf(place: Place): PluginConf {
  const field = fields(place);
  const type = string(field("type"), pluginName);
  const ipam = field("ipam");
  // An empty ipam says that the network gives no addresses.
  if (entries(ipam).length > 0) string(fields(ipam)("type"), pluginName);
  entries(field("capabilities"));
  return { ...(isObject(place.value) ? place.value : {}), type };
}

/** The plugin that gives addresses, if there is one. */
export function ipamType(conf: PluginConf): string | undefined {
  const ipam = conf["ipam"];
  return isObject(ipam) && typeof ipam["type"] === "string" ? ipam["type"] : undefined;
}

export function hasCapability(conf: PluginConf, name: string): boolean {
  const capabilities = conf["capabilities"];
  return isObject(capabilities) && capabilities[name] === true;
}

/**
 * The administrator's networks by name. If two have one name, the first is used; the machine's come before the
 * system's.
 */
export function readNetworkConfs(dirs: readonly string[]): Map<string, NetworkConf> {
  const confs = new Map<string, NetworkConf>();
  for (const dir of dirs.map((config) => `${config}/${NETWORK_CONFIG}`))
    for (const file of confFiles(dir)) {
      const conf = parseNetworkConf(read(file), file);
      if (!confs.has(conf.name)) confs.set(conf.name, conf);
    }
  return confs;
}

function confFiles(dir: string): string[] {
  try {
    return readdirSync(dir)
      .filter((name) => name.endsWith(".conf") || name.endsWith(".conflist"))
      .sort()
      .map((name) => `${dir}/${name}`);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw new RktError("bad-network-conf", `cannot read the network configurations: ${errorText(error)}`, {
      cause: error,
    });
  }
}

function read(file: string): Uint8Array {
  requireTrustedConfig(file);
  try {
    return readRegular(file, MAX_LIST_BYTES);
  } catch (error) {
    throw new RktError("bad-network-conf", `cannot read a network configuration: ${errorText(error)}`, {
      cause: error,
    });
  }
}
