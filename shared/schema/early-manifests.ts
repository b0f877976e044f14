/**
 * Translates manifests of earlier versions of the spec into the final form. The readers accept old names of members
 * everywhere (`fields(place)` with old names), whatever acVersion says, because early tools often set it wrong.
 * acVersion decides only where one spelling has changed its meaning.
 *
 * docs/use/images.md has the whole table, with sources.
 */

import { isObject } from "./place.ts";
import { parseQuantity } from "./quantity.ts";
import type { Isolator, Json } from "./types.ts";
import { olderThan } from "./values.ts";

export interface Era {
  /** AC Names can have "." and "/" (before 0.6.0). */
  readonly wideNames: boolean;
  /** A resource/cpu of 500 is half a core (before 0.7.0). */
  readonly millicores: boolean;
  /** An app may lack user and group (before 0.5.0). */
  readonly accountsOptional: boolean;
}

/** The version of the spec that an acVersion stands for: tools of 0.1.x wrote "1.0.0", which never existed. */
export const specVersion = (acVersion: string): string => (acVersion === "1.0.0" ? "0.1.0" : acVersion);

/** `first`: the manifest is of a kind that only 0.1.0 had. */
export function eraOf(acVersion: string, first: boolean): Era {
  const before = (version: string): boolean => first || olderThan(specVersion(acVersion), version);
  return {
    wideNames: before("0.6.0"),
    millicores: before("0.7.0"),
    accountsOptional: before("0.5.0"),
  };
}

/** Makes an AC Name from a name of before 0.6.0: `volume/var.tmp` becomes `volume-var-tmp`. */
export function narrowName(name: string): string {
  return /^[a-z0-9](?:[a-z0-9./-]*[a-z0-9])?$/.test(name) ? name.replace(/[./]/g, "-") : name;
}

/** Names of isolators in 0.1.0, which had capitals, or a slash at the end. */
const SPELLINGS: Readonly<Record<string, string>> = {
  "blockIO/readBandwidth": "block-io/read-bandwidth",
  "blockIO/writeBandwidth": "block-io/write-bandwidth",
  "capabilities/boundingSet": "capabilities/bounding-set",
  "cpu/shares/": "cpu/shares",
  "networkIO/readBandwidth": "network-io/read-bandwidth",
  "networkIO/writeBandwidth": "network-io/write-bandwidth",
  privateNetwork: "private-network",
};

/** The isolator's name of today. Called before the name is checked. */
export function isolatorName(name: string): string {
  return Object.hasOwn(SPELLINGS, name) ? (SPELLINGS[name] ?? name) : name;
}

/** The isolator of today with the same meaning. One without an equivalent stays as it is, and counts as unknown. */
export function modernIsolator({ name, value }: Isolator, era: Era): Isolator {
  if (name === "os/linux/capabilities-revoke-set") return { name: "os/linux/capabilities-remove-set", value };
  if (name === "resource/cpu" && era.millicores) return { name, value: millicores(value) };
  if (typeof value !== "string") return { name, value };

  // Up to 0.3 values were text, and K, M, G, T were powers of 1024.
  if (name === "memory/limit" && /^[0-9]+[KMGT]?$/.test(value)) {
    return { name: "resource/memory", value: { limit: value.replace(/[KMGT]$/, "$&i") } };
  }
  if (name === "cpu/shares" && /^[0-9]{1,9}$/.test(value)) {
    return { name: "os/linux/cpu-shares", value: Number(value) };
  }
  if (name === "capabilities/bounding-set" && value.trim() !== "") {
    return { name: "os/linux/capabilities-retain-set", value: { set: value.trim().split(/\s+/) } };
  }
  return { name, value };
}

/** Plain numbers get the unit "m". A value that has a unit already was meant in cores. */
function millicores(value: Json): Json {
  if (!isObject(value)) return value;
  const result: { [name: string]: Json } = Object.create(null);
  for (const [key, amount] of Object.entries(value)) {
    const text = typeof amount === "number" ? String(amount) : amount;
    const plain = typeof text === "string" && /^[0-9]+$/.test(text) && parseQuantity(text, 0) !== undefined;
    result[key] = plain ? `${text}m` : amount;
  }
  return result;
}
