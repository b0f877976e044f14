/**
 * The well-known isolators (ace.md, "Isolators") as typed values. The readers of manifests do not check them, so that
 * an image with a wrong isolator can still be stored, listed and inspected. The code that enforces an isolator reads it
 * here.
 *
 * Every function throws ManifestError, which names the place in the manifest.
 */

import { RLIMITS_ISOLATOR } from "../contract/annotations.ts";
import { capability } from "./capabilities.ts";
import { ManifestError, problem } from "./manifest-error.ts";
import {
  absent,
  boolean,
  entries,
  fields,
  finish,
  integer,
  items,
  optionalString,
  type Place,
  type Rule,
  report,
  root,
  show,
  string,
} from "./place.ts";
import { parseQuantity } from "./quantity.ts";
import { parseRlimit, RLIMITS, type Rlimit } from "./rlimits.ts";
import { errorName, systemCall } from "./system-calls.ts";
import type { Isolator, Json } from "./types.ts";

/** The place of a value: `{object: "manifest", path: "app.isolators[2].value"}`. */
export interface Where {
  object: string;
  path: string;
}

/** Amounts in base units. The default request is the limit (ace.md). */
export interface Resource {
  request: bigint | undefined;
  limit: bigint | undefined;
}

export interface SeccompSet {
  /** Names of system calls, and wildcards like `@appc.io/all`. */
  set: string[];
  /** The error of a blocked call, such as "EPERM". Undefined: the app dies of SIGSYS. */
  errno: string | undefined;
}

export interface SELinuxContext {
  user: string;
  role: string;
  type: string;
  level: string;
}

function read<T>(value: Json, where: Where, reader: (place: Place) => T): T {
  const place = root(value, where.object, where.path);
  return finish(place, reader(place));
}

/** resource/memory: bytes. */
export function parseMemory(value: Json, where: Where): Resource {
  return read(value, where, (place) => readResource(place, 0));
}

/**
 * resource/cpu: thousandths of a core. A limit below 1m, except 0, is an error, because it would silently be raised to
 * 1m.
 */
export function parseCPU(value: Json, where: Where): Resource {
  return read(value, where, (place) => {
    const resource = readResource(place, 3);
    const limit = fields(place)("limit");
    if (resource.limit === 1n && amountOf(limit, 9) !== 1_000_000n)
      report(limit, `must be at least 1m, got ${show(limit.value)}`);
    return resource;
  });
}

/** resource/block-bandwidth, resource/network-bandwidth (bytes per second), resource/block-iops. */
export function parseRate(value: Json, where: Where): bigint | undefined {
  return read(value, where, (place) => {
    const field = fields(place);
    if (!boolean(field("default"))) report(field("default"), "must be true");
    if (!absent(field("request"))) report(field("request"), "must not be given");
    return readAmount(field("limit"), 0);
  });
}

function readResource(place: Place, scale: 0 | 3): Resource {
  const field = fields(place);
  if (boolean(field("default"))) report(field("default"), "must not be true");
  const limit = readAmount(field("limit"), scale);
  const request = readAmount(field("request"), scale) ?? limit;
  if (limit !== undefined && request !== undefined && request > limit)
    report(field("request"), `must not be more than the limit, got ${show(field("request").value)}`);
  return { request, limit };
}

function readAmount(place: Place, scale: 0 | 3): bigint | undefined {
  if (absent(place)) return undefined;
  const { value } = place;
  const amount = amountOf(place, scale);
  if (amount === undefined) report(place, `must be an amount like "1.5", "500m", "2G" or "512Mi", got ${show(value)}`);
  else if (amount < 0n) report(place, `must not be negative, got ${show(value)}`);
  return amount;
}

const CONTROL = /[\u0000-\u001f]/;

function amountOf({ value }: Place, scale: 0 | 3 | 9): bigint | undefined {
  const text = typeof value === "number" ? String(value) : typeof value === "string" ? value : "";
  // As the spec's Go code, which trims spaces of the JSON text: a tab or a newline is an escape there, and not trimmed.
  return parseQuantity(CONTROL.test(text) ? text : text.trim(), scale);
}

/** os/linux/capabilities-retain-set and -remove-set: names, each once. */
export function parseCapabilities(value: Json, where: Where): string[] {
  return read(value, where, (place) => readSet(fields(place)("set"), capability));
}

/** os/linux/seccomp-retain-set. */
export function parseSeccomp(value: Json, where: Where): SeccompSet {
  return read(value, where, readSeccomp);
}

/** os/linux/seccomp-remove-set: it may not name the call that starts the app, because that would be blocked. */
export function parseSeccompRemove(value: Json, where: Where): SeccompSet {
  return read(value, where, (place) => {
    const result = readSeccomp(place);
    const reason = removesStart(result.set);
    if (reason !== undefined) report(fields(place)("set"), reason);
    return result;
  });
}

/** Why a remove-set is refused: it names the call that starts the app. */
export function removesStart(set: readonly string[]): string | undefined {
  if (!set.includes("execve") || set.includes("@appc.io/empty")) return undefined;
  return "must not have execve: no app starts without it";
}

function readSeccomp(place: Place): SeccompSet {
  const field = fields(place);
  return {
    set: readSet(field("set"), systemCall),
    errno: optionalString(field("errno"), (text) => (text === "" ? undefined : errorName(text))) || undefined,
  };
}

function readSet(place: Place, rule: Rule): string[] {
  const set = new Set(items(place).map((item) => string(item, rule)));
  if (set.size === 0) report(place, "must not be empty");
  return [...set];
}

/** os/linux/no-new-privileges. */
export function parseNoNewPrivileges(value: Json, where: Where): boolean {
  return read(value, where, boolean);
}

/** os/linux/oom-score-adj. */
export function parseOOMScoreAdj(value: Json, where: Where): number {
  return read(value, where, (place) => integer(place, -1000, 1000));
}

/** os/linux/cpu-shares. */
export function parseCPUShares(value: Json, where: Where): number {
  return read(value, where, (place) => integer(place, 2, 262_144));
}

const contextPart: Rule = (text) => (/^[^:\s]+$/.test(text) ? undefined : 'must be a word without ":"');
const contextLevel: Rule = (text) => (/^\S+$/.test(text) ? undefined : "must be a word");

/** os/linux/selinux-context. */
export function parseSELinuxContext(value: Json, where: Where): SELinuxContext {
  return read(value, where, (place) => {
    const field = fields(place);
    return {
      user: string(field("user"), contextPart),
      role: string(field("role"), contextPart),
      type: string(field("type"), contextPart),
      level: string(field("level"), contextLevel),
    };
  });
}

/** A name becomes a path below /proc/sys. It has no empty part, and so no "..". */
const SYSCTL = /^[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)+$/;
const sysctlValue: Rule = (text) =>
  /[\u0000-\u0008\u000a-\u001f\u007f]/.test(text) ? "must not contain control characters" : undefined;

/** os/unix/sysctl: kernel parameters by name, as given (`net.ipv4.tcp_fin_timeout`). */
export function parseSysctl(value: Json, where: Where): Map<string, string> {
  return read(value, where, (place) => {
    const settings = new Map<string, string>();
    for (const [name, setting] of entries(place)) {
      if (!SYSCTL.test(name)) report(setting, 'must have a name like "net.core.somaxconn"');
      settings.set(name, string(setting, sysctlValue));
    }
    return settings;
  });
}

/** RLIMITS_ISOLATOR: `{"nofile": {"soft": 1024, "hard": "unlimited"}}`. `hard` is the same as `soft` by default. */
export function parseRlimits(value: Json, where: Where): Map<string, Rlimit> {
  return read(value, where, (place) => {
    const limits = new Map<string, Rlimit>();
    for (const [name, pair] of entries(place)) {
      if (!(RLIMITS as readonly string[]).includes(name)) report(pair, `must be called ${RLIMITS.join(" or ")}`);
      const field = fields(pair);
      const soft = readRlimit(field("soft"));
      const hard = absent(field("hard")) ? soft : readRlimit(field("hard"));
      if (soft === undefined || hard === undefined) continue;
      if (soft > hard) report(field("soft"), `must not be more than the hard limit, got ${show(field("soft").value)}`);
      limits.set(name, { soft, hard });
    }
    return limits;
  });
}

function readRlimit(place: Place): bigint | undefined {
  const limit = parseRlimit(place.value);
  if (limit === undefined) report(place, `must be a number or "unlimited", got ${show(place.value)}`);
  return limit;
}

// --- a whole list ------------------------------------------------------------------

export interface KnownIsolators {
  "resource/memory"?: Resource;
  "resource/cpu"?: Resource;
  "resource/block-bandwidth"?: bigint | undefined;
  "resource/block-iops"?: bigint | undefined;
  "resource/network-bandwidth"?: bigint | undefined;
  "os/linux/capabilities-retain-set"?: string[];
  "os/linux/capabilities-remove-set"?: string[];
  "os/linux/seccomp-retain-set"?: SeccompSet;
  "os/linux/seccomp-remove-set"?: SeccompSet;
  "os/linux/no-new-privileges"?: boolean;
  "os/linux/oom-score-adj"?: number;
  "os/linux/cpu-shares"?: number;
  "os/linux/selinux-context"?: SELinuxContext;
  "os/unix/sysctl"?: Map<string, string>;
  [RLIMITS_ISOLATOR]?: Map<string, Rlimit>;
}

type Name = keyof KnownIsolators;

const PARSERS: { readonly [N in Name]-?: (value: Json, where: Where) => KnownIsolators[N] } = {
  "resource/memory": parseMemory,
  "resource/cpu": parseCPU,
  "resource/block-bandwidth": parseRate,
  "resource/block-iops": parseRate,
  "resource/network-bandwidth": parseRate,
  "os/linux/capabilities-retain-set": parseCapabilities,
  "os/linux/capabilities-remove-set": parseCapabilities,
  "os/linux/seccomp-retain-set": parseSeccomp,
  "os/linux/seccomp-remove-set": parseSeccompRemove,
  "os/linux/no-new-privileges": parseNoNewPrivileges,
  "os/linux/oom-score-adj": parseOOMScoreAdj,
  "os/linux/cpu-shares": parseCPUShares,
  "os/linux/selinux-context": parseSELinuxContext,
  "os/unix/sysctl": parseSysctl,
  [RLIMITS_ISOLATOR]: parseRlimits,
};

/**
 * Nobody enforces these: of several, the last one in the list is used, as in the spec's Go code. A second one of any
 * other kind is an error, because neither of two limits may be dropped silently.
 */
const REPEATABLE: readonly string[] = ["resource/block-bandwidth", "resource/block-iops", "resource/network-bandwidth"];

const EXCLUSIVE: readonly (readonly [Name, Name])[] = [
  ["os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set"],
  ["os/linux/seccomp-retain-set", "os/linux/seccomp-remove-set"],
];

/**
 * Reads a list of isolators. `unknown` are the names of those that rkt does not know: an executor may ignore them, but
 * must say so (ace.md, "Isolators"). `where` is the list's place: `{object: "manifest", path: "app.isolators"}`.
 */
export function understandIsolators(
  isolators: readonly Isolator[],
  where: Where,
): { known: KnownIsolators; unknown: string[] } {
  const known: KnownIsolators = {};
  const unknown: string[] = [];
  isolators.forEach(({ name, value }, i) => {
    if (!isKnown(name)) {
      unknown.push(name);
      return;
    }
    const path = `${where.path}[${i}]`;
    if (value === null) fail({ ...where, path: `${path}.value` }, "must not be null");
    if (name in known && !REPEATABLE.includes(name)) fail({ ...where, path }, `must not be a second ${name}`);
    Object.assign(known, { [name]: PARSERS[name](value, { ...where, path: `${path}.value` }) });
  });
  for (const [one, other] of EXCLUSIVE) {
    if (one in known && other in known) fail(where, `must not have both ${one} and ${other}`);
  }
  return { known, unknown };
}

function isKnown(name: string): name is Name {
  return Object.hasOwn(PARSERS, name);
}

function fail(where: Where, rule: string): never {
  throw new ManifestError(problem(where.object, where.path, rule));
}
