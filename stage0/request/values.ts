/**
 * The values of options as people write them: text to parts of a request.
 * Pure. What is wrong is a usage error that names the option and shows the
 * form.
 */

import { posix } from "node:path";
import { usageError } from "../../shared/errors.ts";
import { RLIMITS_ISOLATOR } from "../../shared/contract/annotations.ts";
import { capability } from "../../shared/schema/capabilities.ts";
import { quote } from "../../shared/schema/manifest-error.ts";
import type { Rule } from "../../shared/schema/place.ts";
import { removesStart } from "../../shared/schema/isolators.ts";
import { parseQuantity } from "../../shared/schema/quantity.ts";
import { parseRlimit, RLIMITS, rlimitText } from "../../shared/schema/rlimits.ts";
import { errorName, systemCall } from "../../shared/schema/system-calls.ts";
import type { Isolator, NameValue, Volume } from "../../shared/schema/types.ts";
import {
  absolutePath,
  acName,
  argument,
  ipv4,
  octalMode,
  oneOf,
  variableName,
} from "../../shared/schema/values.ts";
import { signalNumber, stopSeconds } from "../../shared/stop.ts";
import { leastOfApp } from "./isolators.ts";
import type { HostsEntry, MountRequest, PortRequest } from "./request.ts";
import { duration } from "../cli/duration.ts";
import { parseBoolean } from "../cli/words.ts";

function refuse(option: string, text: string, why: string, form?: string): never {
  throw usageError(`--${option} ${quote(text)}: ${why}`, form === undefined ? undefined : `--${option}=${form}`);
}

/** The value, if it keeps the rule. */
export function checked(option: string, value: string, rule: Rule): string {
  const broken = rule(value);
  if (broken !== undefined) refuse(option, value, broken);
  return value;
}

/** `KEY=VALUE,KEY=VALUE`, each key one of `keys`, none twice. */
function parsePairs<K extends string>(
  option: string,
  text: string,
  words: readonly string[],
  keys: readonly K[],
  form: string,
): Partial<Record<K, string>> {
  const pairs: Partial<Record<K, string>> = {};
  for (const word of words) {
    const equals = word.indexOf("=");
    const key = keys.find((name) => name === word.slice(0, Math.max(equals, 0)));
    if (key === undefined)
      refuse(option, text, `${quote(word)} is not ${keys.map((name) => `${name}=`).join(", ")}`, form);
    if (pairs[key] !== undefined) refuse(option, text, `${key} is given twice`, form);
    pairs[key] = word.slice(equals + 1);
  }
  return pairs;
}

// --- volumes and mounts ----------------------------------------------------------------

const HOST_FORM = "NAME,kind=host,source=/PATH[,readOnly=true][,recursive=false][,idmap=true]";
const EMPTY_FORM = "NAME,kind=empty[,mode=0755][,uid=0][,gid=0]";

/**
 * The three spellings there have been: `NAME:/PATH`; `bind:/PATH`, which names
 * no mount point; and `NAME,kind=...`. A path with a comma needs the first.
 */
/** `idmap` is not the specification's: see ANNOTATIONS.mappedVolumes. */
export function parseVolume(text: string): (Volume & { idmap?: boolean }) | { boundPath: string } {
  const [, name = "", separator, rest = ""] = /^([^:,]*)([:,])(.*)$/s.exec(text) ?? [];
  if (separator === undefined) refuse("volume", text, "says no source", "NAME:/PATH");
  if (separator === ":") {
    const source = checked("volume", rest, absolutePath);
    if (name === "bind") return { boundPath: source };
    return { name: checked("volume", name, acName), kind: "host", source };
  }

  const keys = ["kind", "source", "readOnly", "recursive", "idmap", "mode", "uid", "gid"] as const;
  const pairs = parsePairs("volume", text, rest.split(","), keys, HOST_FORM);
  const flag = (key: "readOnly" | "recursive" | "idmap"): boolean | undefined => {
    const value = pairs[key];
    if (value === undefined) return undefined;
    return parseBoolean(value) ?? refuse("volume", text, `${key} is true or false, not ${quote(value)}`, HOST_FORM);
  };
  const foreign = (...names: (keyof typeof pairs)[]): void => {
    for (const key of names)
      if (pairs[key] !== undefined)
        refuse(
          "volume",
          text,
          `${key} has no meaning for kind=${pairs.kind}`,
          pairs.kind === "host" ? HOST_FORM : EMPTY_FORM,
        );
  };
  const volume = { name: checked("volume", name, acName), readOnly: flag("readOnly") };
  switch (pairs.kind) {
    case "host":
      foreign("mode", "uid", "gid");
      if (pairs.source === undefined) refuse("volume", text, "says no source", HOST_FORM);
      return {
        ...volume,
        kind: "host",
        source: checked("volume", pairs.source, absolutePath),
        recursive: flag("recursive"),
        ...(flag("idmap") === true ? { idmap: true } : {}),
      };
    case "empty":
      foreign("source", "recursive", "idmap");
      return {
        ...volume,
        kind: "empty",
        mode: pairs.mode === undefined ? undefined : checked("volume", pairs.mode, octalMode),
        uid: pairs.uid === undefined ? undefined : parseId("volume", pairs.uid),
        gid: pairs.gid === undefined ? undefined : parseId("volume", pairs.gid),
      };
    default:
      return refuse("volume", text, "kind is host or empty", HOST_FORM);
  }
}

/** Relative to the app's root. Whatever ".." it has, as text it ends in that root; links are the launcher's business. */
const mountTarget: Rule = (text) => (text === "" ? "must not be empty" : absolutePath(`/${text}`));

export function parseMount(text: string): MountRequest {
  const form = "volume=NAME,target=/PATH";
  const { volume, target } = parsePairs("mount", text, text.split(","), ["volume", "target"], form);
  if (volume === undefined || target === undefined) refuse("mount", text, "needs a volume and a target", form);
  return { volume: checked("mount", volume, acName), path: checked("mount", target, mountTarget) && posix.resolve("/", target) };
}

// --- names with values, numbers --------------------------------------------------------

function parsePair(option: string, text: string): NameValue {
  const equals = text.indexOf("=");
  if (equals < 1) refuse(option, text, "is not NAME=VALUE");
  return { name: text.slice(0, equals), value: text.slice(equals + 1) };
}

/** NAME=VALUE, the name by a rule; a name again is an error. */
export function parseUniquePairs(option: string, texts: readonly string[], rule: Rule): NameValue[] {
  const names = new Set<string>();
  return texts.map((text) => {
    const pair = parsePair(option, text);
    checked(option, pair.name, rule);
    checked(option, pair.value, argument);
    if (names.has(pair.name)) refuse(option, text, `${pair.name} is given twice`);
    names.add(pair.name);
    return pair;
  });
}

export function parseVariables(option: string, texts: readonly string[]): NameValue[] {
  return parseUniquePairs(option, texts, variableName);
}

/** The greatest id but one: -1 means "leave it" to chown(2). */
const MAX_ID = 4_294_967_294;

export function parseId(option: string, text: string): number {
  return parseInteger(option, text, 0, MAX_ID);
}

export function parseInteger(option: string, text: string, least: number, most: number): number {
  const number = /^-?[0-9]{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= least && number <= most)) refuse(option, text, `must be a number from ${least} to ${most}`);
  return number;
}

/** The lines of a `--set-env-file`: NAME=VALUE; empty ones and those that begin with "#" or ";" aside. */
export function parseEnvironmentFile(path: string, text: string): NameValue[] {
  const variables: NameValue[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "" || /^[#;]/.test(line)) continue;
    const equals = line.indexOf("=");
    const name = line.slice(0, Math.max(equals, 0));
    const broken = equals < 0 ? "must be NAME=VALUE" : (variableName(name) ?? argument(line));
    if (broken !== undefined) throw usageError(`${path}:${i + 1}: ${broken}, got ${quote(line)}`);
    variables.push({ name, value: line.slice(equals + 1) });
  }
  return variables;
}

// --- how an app ends ---------------------------------------------------------------------

/** Whole seconds, which is what systemd and `ask` of stage 1 are told; a part of one counts as a whole. */
export function stopTime(option: string, text: string): number {
  const seconds = Math.ceil(duration(option, text) / 1000);
  if (stopSeconds(String(seconds)) === undefined) refuse(option, text, "must be at most 999999s", "30s");
  return seconds;
}

export const stopSignal: Rule = (text) =>
  signalNumber(text) === undefined ? "must be a signal, such as SIGTERM, SIGQUIT or SIGRTMIN+3" : undefined;

// --- network ----------------------------------------------------------------------------

const MAX_PORT = 65_535;

/** `NAME:HOSTPORT` or `NAME:HOSTIP:HOSTPORT`. */
export function parsePort(text: string): PortRequest {
  const form = "NAME:[HOSTIP:]HOSTPORT";
  const [name = "", ...rest] = text.split(":");
  const hostPort = rest.pop();
  if (hostPort === undefined || rest.length > 1)
    refuse("port", text, "must be a port's name and a port of the host", form);
  const [hostIP] = rest;
  return {
    name: checked("port", name, acName),
    hostPort: parseInteger("port", hostPort, 1, MAX_PORT),
    hostIP: hostIP === undefined ? undefined : checked("port", hostIP, ipv4),
  };
}

const HOST_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;

/** hostname(7); 64 bytes is the kernel's limit. */
export const hostname: Rule = (text) =>
  text.length <= 64 && text.split(".").every((label) => HOST_LABEL.test(label))
    ? undefined
    : 'must be at most 64 letters, digits, inner "-" and "."';

/** One word of resolv.conf(5). */
export const resolverWord: Rule = (text) =>
  /^[^\s#;\u0000-\u0020\u007f]+$/.test(text) ? undefined : "must be one word";

/** Without node:net, which takes 2 ms to load. */
export const ipAddress: Rule = (text) => {
  const valid = ipv4(text) === undefined || (/^[0-9a-f:.]+$/i.test(text) && URL.canParse(`http://[${text}]/`));
  return valid ? undefined : "must be an IP address";
};

/** `IP=HOST`, several by commas; the names of one address make one entry. */
export function parseHostsEntries(texts: readonly string[]): "host" | HostsEntry[] {
  if (texts.includes("host")) {
    if (texts.length > 1) throw usageError("--hosts-entry=host stands alone");
    return "host";
  }
  const entries = new Map<string, HostsEntry>();
  for (const pair of texts.flatMap((text) => text.split(","))) {
    const { name: address, value: name } = parsePair("hosts-entry", pair);
    checked("hosts-entry", address, ipAddress);
    checked("hosts-entry", name, hostname);
    const entry = entries.get(address) ?? { address, names: [] };
    entry.names.push(name);
    entries.set(address, entry);
  }
  return [...entries.values()];
}

// --- isolators --------------------------------------------------------------------------

/** `least`: what an app can be limited to on this host. */
export function memoryIsolator(text: string, least = leastOfApp(false)): Isolator {
  const amount = parseQuantity(text, 0);
  if (amount === undefined) refuse("memory", text, "must be an amount", "512Mi");
  if (amount < least.memory) refuse("memory", text, `must be at least ${least.memory >> 20n}Mi`, "512Mi");
  return { name: "resource/memory", value: { request: text, limit: text } };
}

export function cpuIsolator(text: string, least = leastOfApp(false)): Isolator {
  const [amount, billionths] = [parseQuantity(text, 3), parseQuantity(text, 9)];
  if (amount === undefined || amount < 0n) refuse("cpu", text, "must be an amount of cores", "500m");
  if (amount < least.cpu || (billionths !== undefined && billionths < 1_000_000n))
    refuse("cpu", text, `must be at least ${least.cpu}m`, "500m");
  return { name: "resource/cpu", value: { request: text, limit: text } };
}

export function capabilitiesIsolator(option: "caps-retain" | "caps-remove", texts: readonly string[]): Isolator {
  const set = texts.flatMap((text) => text.split(",")).map((text) => checked(option, text, capability));
  return { name: `os/linux/capabilities-${option.slice("caps-".length)}-set`, value: { set } };
}

/** `NAME=SOFT[:HARD]`, as podman and Docker have it. */
export function rlimitsIsolator(texts: readonly string[]): Isolator {
  const form = "NAME=SOFT[:HARD]";
  const limits: Record<string, { soft: number | string; hard: number | string }> = {};
  for (const text of texts) {
    const { name, value } = parsePair("ulimit", text);
    if (!(RLIMITS as readonly string[]).includes(name)) refuse("ulimit", text, `${quote(name)} is none of ${RLIMITS.join(", ")}`, form);
    if (Object.hasOwn(limits, name)) refuse("ulimit", text, `${name} is given twice`, form);
    const [soft, hard, ...rest] = value.split(":").map(parseRlimit);
    if (soft === undefined || rest.length > 0 || (value.includes(":") && hard === undefined))
      refuse("ulimit", text, "a limit is a number or unlimited", form);
    if (soft > (hard ?? soft)) refuse("ulimit", text, "the soft limit is more than the hard one", form);
    limits[name] = { soft: rlimitText(soft), hard: rlimitText(hard ?? soft) };
  }
  return { name: RLIMITS_ISOLATOR, value: limits };
}

const seccompMode = oneOf("retain", "remove");
/** `mode=retain|remove[,errno=EPERM],CALL,...`, in any order. */
export function seccompIsolator(text: string): Isolator {
  const form = "mode=retain|remove[,errno=EPERM],CALL,...";
  const words = text.split(",");
  const pairs = words.filter((word) => word.includes("="));
  const { mode, errno } = parsePairs("seccomp", text, pairs, ["mode", "errno"], form);
  if (mode === undefined || seccompMode(mode) !== undefined) refuse("seccomp", text, "mode is retain or remove", form);
  if (errno !== undefined) checked("seccomp", errno, errorName);
  const set = words.filter((word) => !word.includes("=")).map((word) => checked("seccomp", word, systemCall));
  if (set.length === 0) refuse("seccomp", text, "names no system call", form);
  const broken = mode === "remove" ? removesStart(set) : undefined;
  if (broken !== undefined) refuse("seccomp", text, broken);
  return { name: `os/linux/seccomp-${mode}-set`, value: errno === undefined ? { set } : { errno, set } };
}
