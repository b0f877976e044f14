/**
 * Where signatures of registries' images lie: what an administrator has
 * written for podman below registries.d.
 *
 * These files are YAML, of which they use little: mappings of mappings and
 * texts. That much is read here, and anything else is an error with its line.
 *
 * Source: containers-registries.d(5).
 */

import { invalid, readTrustedFile, trustedFilesIn } from "./trusted-file.ts";

/** Without a configuration, signatures are there (root's place). */
export const DEFAULT_LOOKASIDE = "file:///var/lib/containers/sigstore";

export interface Lookasides {
  /** By `docker.io`, `docker.io/library`, `docker.io/library/nginx:1.25`. */
  places: Map<string, string>;
  default: string | undefined;
}

const MAX_SCOPES = 1000;

export function readLookasides(dir: string): Lookasides {
  const found: Lookasides = { places: new Map(), default: undefined };
  for (const path of trustedFilesIn(dir, ".yaml")) {
    const text = readTrustedFile(path);
    if (text !== undefined) addLookasides(found, text, path);
  }
  return found;
}

/** Two files that say where the signatures of one scope are contradict each other. */
export function addLookasides(found: Lookasides, text: string, path: string): void {
  const document = parseMappings(text, path);
  const general = lookasideOf(document.get("default-docker"), "default-docker", path);
  if (general !== undefined) {
    if (found.default !== undefined) throw invalid(path, "default-docker: another file gives it, too");
    found.default = general;
  }
  const scopes = document.get("docker");
  if (scopes === undefined || scopes === "") return;
  if (!(scopes instanceof Map)) throw invalid(path, "docker: must be a mapping");
  for (const [scope, value] of scopes) {
    const place = lookasideOf(value, `docker.${scope}`, path);
    if (place === undefined) continue;
    if (found.places.has(scope)) throw invalid(path, `docker.${scope}: another file gives it, too`);
    if (found.places.size === MAX_SCOPES) throw invalid(path, `docker: at most ${MAX_SCOPES} scopes`);
    found.places.set(scope, place);
  }
}

/** `sigstore` is what it was called before; both take a file:, http: or https: URL. */
function lookasideOf(value: Mapping | string | undefined, where: string, path: string): string | undefined {
  if (!(value instanceof Map)) return undefined;
  const place = value.get("lookaside") ?? value.get("sigstore");
  if (place === undefined || place === "") return undefined;
  const url = typeof place === "string" ? URL.parse(place) : null;
  if (url === null || !["file:", "http:", "https:"].includes(url.protocol) || url.search !== "" || url.hash !== "")
    throw invalid(path, `${where}.lookaside: must be a file:, http: or https: URL`);
  return url.href;
}

/** The directory of an image's signatures, of the scope that says most. `repository` is without the registry. */
export function lookasideFor(
  { places, default: general }: Lookasides,
  { name, repository, tag }: { name: string; repository: string; tag: string | undefined },
): URL {
  const scopes = [...(tag === undefined ? [] : [`${name}:${tag}`]), name];
  for (let at = name; at.includes("/"); ) {
    at = at.slice(0, at.lastIndexOf("/"));
    scopes.push(at);
  }
  const scope = scopes.find((each) => places.has(each));
  const base = new URL((scope === undefined ? undefined : places.get(scope)) ?? general ?? DEFAULT_LOOKASIDE);
  base.pathname = `${base.pathname.replace(/\/$/, "")}/${repository}`;
  return base;
}

// --- mappings in YAML --------------------------------------------------------------------

export type Mapping = Map<string, Mapping | string>;

const MAX_DEPTH = 8;

/** Nested mappings of plain or quoted texts; errors call the document by `path`. */
export function parseMappings(text: string, path: string): Mapping {
  const top: Mapping = new Map();
  const open: { indent: number; map: Mapping }[] = [{ indent: 0, map: top }];
  /** The key of the last line, if it had no value: what is indented below it is its mapping. */
  let waiting: { indent: number; key: string; map: Mapping } | undefined;
  text.split("\n").forEach((raw, i) => {
    const fail = (why: string) => invalid(path, `line ${i + 1}: ${why}`);
    const line = raw.replace(/\r$/, "");
    if (/^\s*(?:#.*)?$/.test(line) || /^(?:---|\.\.\.)\s*$/.test(line)) return;
    const indent = line.length - line.trimStart().length;
    if (line.slice(0, indent).includes("\t")) throw fail("a tab can't indent");
    if (waiting !== undefined && indent > waiting.indent) {
      if (open.length === MAX_DEPTH) throw fail("it is nested too deep");
      const map: Mapping = new Map();
      waiting.map.set(waiting.key, map);
      open.push({ indent, map });
    }
    waiting = undefined;
    while (open.length > 1 && (open.at(-1)?.indent ?? 0) > indent) open.pop();
    const { indent: level, map } = open.at(-1) as { indent: number; map: Mapping };
    if (level !== indent) throw fail("it is indented as no line above it");
    const pair = /^("(?:[^"\\])*"|'[^']*'|[^\s"'#&*!|>%@`{}[\],?-][^#{}[\],"'\t]*?)\s*:(?:\s+(.*))?$/.exec(line.trim());
    if (pair === null) throw fail("rkt reads only `key: value` here");
    const [, key = "", rest = ""] = pair;
    const name = unquoted(key, fail);
    if (map.has(name)) throw fail(`${name} is given twice`);
    const value = unquoted(rest, fail);
    map.set(name, value);
    if (rest === "" || rest.startsWith("#")) waiting = { indent, key: name, map };
  });
  return top;
}

function unquoted(text: string, fail: (why: string) => Error): string {
  const quoted = /^(?:"([^"\\]*)"|'([^']*)')\s*(?:#.*)?$/.exec(text);
  if (quoted !== null) return quoted[1] ?? quoted[2] ?? "";
  const plain = text.replace(/(?:^|\s+)#.*$/, "").trim();
  if (/^[[{"'&*!|>%@`-]|: /.test(plain)) throw fail("rkt reads only plain and quoted texts here");
  return plain;
}

