/**
 * Chooses the host's ids for a container with its own users (ADR 6): a range that no other container and no user of the
 * host has.
 *
 * A lock on one byte of a file reserves a range. Its descriptor survives each `execve`, like the container's lock: the
 * kernel releases it when the container ends, even if that is killed.
 */

import { closeSync, readdirSync, readFileSync } from "node:fs";
import { errorCode, RktError } from "../../shared/errors.ts";
import { PRIVATE_IDS, RUNTIME_DIR, USER_RANGES } from "../../shared/contract/host-state.ts";
import { makeRuntimeDirectory, openRuntimeFile } from "../../shared/runtime-directory.ts";
import { lockByte } from "../../shared/syscall/descriptor.ts";

/** Ranges by their number: range N begins at id N * PRIVATE_IDS. systemd keeps these for containers (UIDS-GIDS.md). */
export const FIRST_RANGE = 0x00080000 / PRIVATE_IDS;
export const LAST_RANGE = 0x6fff0000 / PRIVATE_IDS;

export interface ReservedIds {
  /** The host's id of the container's root. */
  first: number;
  /** Holds the reservation; close-on-exec. */
  fd: number;
}

/** The host's sources about ids that are in use. */
export interface IdSources {
  /** /etc/passwd, /etc/group. */
  accounts: readonly string[];
  /** /etc/subuid, /etc/subgid (subuid(5)). */
  subordinate: readonly string[];
  /** /proc/self/uid_map and gid_map: the ids that exist here. */
  maps: readonly string[];
  /** Names of the files by which systemd-nspawn reserves ranges: their first ids. */
  nspawn: readonly string[];
}

/**
 * Reserves a range. The search begins at a range that depends on `uuid`, so that simultaneous starts rarely collide.
 */
export function reserveIds(uuid: string): ReservedIds {
  makeRuntimeDirectory(RUNTIME_DIR);
  const fd = openRuntimeFile(USER_RANGES);
  const free = freeRanges(hostIds());
  for (const range of inOrder(uuid)) if (free(range) && lockByte(fd, range)) return { first: range * PRIVATE_IDS, fd };
  closeSync(fd);
  throw new RktError("no-free-ids", `there are no ${PRIVATE_IDS} user ids left for the container`, {
    hint: `rkt looks from ${FIRST_RANGE * PRIVATE_IDS} on, for ids that /proc/self/uid_map has, and /etc/subuid and /etc/passwd do not use`,
  });
}

/** All ranges, starting at the one that `uuid` selects. */
export function* inOrder(uuid: string): Generator<number> {
  const count = LAST_RANGE - FIRST_RANGE + 1;
  const start = Number.parseInt(uuid.slice(0, 8), 16);
  for (let i = 0; i < count; i++) yield FIRST_RANGE + ((start + i) % count);
}

/** Returns a function that says whether a range is free. Pure. */
export function freeRanges({ accounts, subordinate, maps, nspawn }: IdSources): (range: number) => boolean {
  const taken = new Set<number>();
  const markTaken = (first: number, count: number) => {
    const last = Math.min(Math.floor((first + count - 1) / PRIVATE_IDS), LAST_RANGE);
    for (let range = Math.max(Math.floor(first / PRIVATE_IDS), FIRST_RANGE); range <= last; range++) taken.add(range);
  };
  for (const [, , id, gid] of accounts.flatMap((text) => lines(text, ":"))) {
    markTaken(Number(id), 1);
    // In a line of passwd this field is the gid; in group it is a list of members, and no number.
    if (/^\d+$/.test(gid ?? "")) markTaken(Number(gid), 1);
  }
  for (const [, first, count] of subordinate.flatMap((text) => lines(text, ":"))) markTaken(Number(first), Number(count));
  for (const name of nspawn) if (/^\d+$/.test(name)) markTaken(Number(name), PRIVATE_IDS);
  const extents = maps.map((text) => lines(text.replaceAll(/^ +| +$/gm, ""), / +/));
  return (range) =>
    !taken.has(range) &&
    extents.every((map) =>
      map.some(([first, , count]) => {
        const begin = Number(first);
        return begin <= range * PRIVATE_IDS && (range + 1) * PRIVATE_IDS <= begin + Number(count);
      }),
    );
}

function lines(text: string, separator: string | RegExp): string[][] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(separator));
}

function hostIds(): IdSources {
  return {
    accounts: ["/etc/passwd", "/etc/group"].map(textOf),
    subordinate: ["/etc/subuid", "/etc/subgid"].map(textOf),
    maps: ["/proc/self/uid_map", "/proc/self/gid_map"].map(textOf),
    nspawn: namesIn("/run/systemd/nspawn-uid"),
  };
}

const textOf = (path: string): string => ifThere(() => readFileSync(path, "utf8")) ?? "";
const namesIn = (path: string): string[] => ifThere(() => readdirSync(path)) ?? [];

function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
