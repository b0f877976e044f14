/**
 * What an administrator has written for podman about registries: where their
 * images are asked for, which are blocked, and with which rkt does without TLS.
 *
 * Of containers-registries.conf(5), version 2, `[[registry]]` counts, and
 * `[[registry.mirror]]` in it. What short names mean does not depend on the
 * machine, so that `unqualified-search-registries` and `[aliases]` are not used.
 * Version 1 is refused if it blocks something or makes it insecure.
 *
 * Source: containers-registries.conf(5), containers-registries.conf.d(5).
 */

import { parseToml, type TomlTable, type TomlValue } from "./toml.ts";
import { invalid, readTrustedFile, trustedFilesIn } from "./trusted-file.ts";

export interface ConfiguredRegistry {
  /** `docker.io/library`, `*.example.com`. */
  prefix: string;
  location: string;
  insecure: boolean;
  blocked: boolean;
  mirrorsByDigestOnly: boolean;
  mirrors: ConfiguredMirror[];
  /** The file that says so. */
  path: string;
}

export interface ConfiguredMirror {
  location: string;
  insecure: boolean;
  pull: "all" | "digest-only" | "tag-only";
}

export const CONTAINERS_CONFIG_DIR = "/etc/containers";

const MAX_REGISTRIES = 1000;
const MAX_MIRRORS = 100;

/** The registries of `registries.conf` and `registries.conf.d`; a later file's entry of a prefix takes an earlier one's place. */
export function readRegistriesConf(dir: string = CONTAINERS_CONFIG_DIR): ConfiguredRegistry[] {
  const found = new Map<string, ConfiguredRegistry>();
  for (const path of [`${dir}/registries.conf`, ...trustedFilesIn(`${dir}/registries.conf.d`, ".conf")]) {
    const text = readTrustedFile(path);
    if (text === undefined) continue;
    for (const registry of parseRegistriesConf(text, path)) found.set(registry.prefix, registry);
  }
  return [...found.values()];
}

/** The entries of one file; errors call it by `path`. */
export function parseRegistriesConf(text: string, path: string): ConfiguredRegistry[] {
  const document = parseToml(text, path);
  checkVersion1(document, path);
  const seen = new Set<string>();
  return tables(document, "registry", MAX_REGISTRIES, path).map((table, i) => {
    const registry = readRegistry(table, i, path);
    if (seen.has(registry.prefix)) throw invalid(path, `registry ${JSON.stringify(registry.prefix)} is given twice`);
    seen.add(registry.prefix);
    return registry;
  });
}

function readRegistry(table: TomlTable, i: number, path: string): ConfiguredRegistry {
  const where = `registry[${i}]`;
  const location = text(table, "location", where, path);
  const prefix = text(table, "prefix", where, path) ?? location;
  if (prefix === undefined) throw invalid(path, `${where}: it has neither a prefix nor a location`);
  const wildcard = prefix.startsWith("*.");
  checkPlace(wildcard ? prefix.slice(2) : prefix, `${where}.prefix`, path);
  if (wildcard && /[/:@]/.test(prefix)) throw invalid(path, `${where}.prefix: "*." goes before a host alone`);
  if (location === undefined && !wildcard) throw invalid(path, `${where}: it has no location`);
  if (location !== undefined) checkPlace(location, `${where}.location`, path);
  return {
    prefix,
    // Without a location a wildcard's registries are where they say they are.
    location: location ?? "",
    insecure: flag(table, "insecure", where, path),
    blocked: flag(table, "blocked", where, path),
    mirrorsByDigestOnly: flag(table, "mirror-by-digest-only", where, path),
    mirrors: tables(table, "mirror", MAX_MIRRORS, path).map((mirror, j) => readMirror(mirror, `${where}.mirror[${j}]`, path)),
    path,
  };
}

function readMirror(table: TomlTable, where: string, path: string): ConfiguredMirror {
  const location = text(table, "location", where, path);
  if (location === undefined) throw invalid(path, `${where}: it has no location`);
  checkPlace(location, `${where}.location`, path);
  const pull = text(table, "pull-from-mirror", where, path) ?? "all";
  if (pull !== "all" && pull !== "digest-only" && pull !== "tag-only")
    throw invalid(path, `${where}.pull-from-mirror: must be all, digest-only or tag-only`);
  return { location, insecure: flag(table, "insecure", where, path), pull };
}

/** A host with a port and a path of repositories, and no URL. */
function checkPlace(place: string, where: string, path: string): void {
  const fits =
    place.length <= 512 &&
    /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[\w][\w.-]*)?(?:@sha256:[0-9a-f]{64})?$/.test(place);
  if (!fits || !URL.canParse(`https://${place.split("/")[0]}/`)) throw invalid(path, `${where}: must be HOST[:PORT][/PATH], got ${JSON.stringify(place.slice(0, 60))}`);
}

function checkVersion1(document: TomlTable, path: string): void {
  const old = document["registries"];
  if (!isTable(old)) return;
  for (const name of ["insecure", "block"]) {
    const { registries: list } = isTable(old[name]) ? (old[name] as TomlTable) : {};
    if (Array.isArray(list) && list.length > 0)
      throw invalid(path, `registries.${name} is of the file's version 1; write [[registry]] with ${name === "block" ? "blocked" : name} = true`);
  }
}

// --- which entry is for an image -----------------------------------------------------------

/** The entry whose prefix is the longest that fits `docker.io/library/nginx:1.25`. */
export function registryFor(registries: readonly ConfiguredRegistry[], reference: string): ConfiguredRegistry | undefined {
  const fitting = registries.filter(({ prefix }) => fitsPrefix(prefix, reference));
  return fitting.sort((a, b) => b.prefix.length - a.prefix.length)[0];
}

function fitsPrefix(prefix: string, reference: string): boolean {
  if (prefix.startsWith("*.")) {
    const [host = ""] = reference.split("/");
    return host.replace(/:[0-9]+$/, "").endsWith(prefix.slice(1));
  }
  // A prefix ends where a part of the reference does.
  return reference.startsWith(prefix) && /^(?:$|[/:@])/.test(reference.slice(prefix.length));
}

/** The repository at another place: what comes after the prefix stays. */
export function relocated({ prefix }: ConfiguredRegistry, location: string, repository: string): string {
  if (!prefix.startsWith("*.")) return location + repository.slice(prefix.length);
  return location === "" ? repository : location + repository.slice(repository.indexOf("/"));
}

// --- values ----------------------------------------------------------------------------------

const isTable = (value: TomlValue | undefined): value is TomlTable =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);

function tables(table: TomlTable, name: string, most: number, path: string): TomlTable[] {
  const list = table[name];
  if (list === undefined) return [];
  if (!Array.isArray(list) || !list.every(isTable)) throw invalid(path, `${name}: must be written [[${name}]]`);
  if (list.length > most) throw invalid(path, `${name}: must be at most ${most} times there`);
  return list;
}

function text(table: TomlTable, name: string, where: string, path: string): string | undefined {
  const value = table[name];
  if (value === undefined || value === "") return undefined;
  if (typeof value !== "string") throw invalid(path, `${where}.${name}: must be a string`);
  return value;
}

function flag(table: TomlTable, name: string, where: string, path: string): boolean {
  const value = table[name];
  if (value === undefined) return false;
  if (typeof value !== "boolean") throw invalid(path, `${where}.${name}: must be true or false`);
  return value;
}
