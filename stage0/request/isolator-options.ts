/** Translates options that limit an app into isolators. Pure. */

import { RLIMITS_ISOLATOR } from "../../shared/contract/annotations.ts";
import { capability } from "../../shared/schema/capabilities.ts";
import { removesStart } from "../../shared/schema/isolators.ts";
import { quote } from "../../shared/schema/manifest-error.ts";
import { parseQuantity } from "../../shared/schema/quantity.ts";
import { parseRlimit, RLIMITS, rlimitText } from "../../shared/schema/rlimits.ts";
import { errorName, systemCall } from "../../shared/schema/system-calls.ts";
import type { Isolator } from "../../shared/schema/types.ts";
import { oneOf } from "../../shared/schema/values.ts";
import { checked, parsePair, parsePairs, refuse } from "../cli/values.ts";
import { leastOfApp } from "./isolators.ts";

/** `least`: the lowest limit that works on this host. */
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

/** Parses `NAME=SOFT[:HARD]`, the form of podman and Docker. */
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
