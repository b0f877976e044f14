/**
 * Which ids of the host's a container with users of its own gets (ADR 6): a
 * range that no other container has, nor any user of the host.
 *
 * A range is reserved by a lock on one byte of a file, held by a descriptor
 * that goes through every `execve` as the container's lock does: the kernel
 * frees it when the container ends, however it ends.
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

/** What the host says of ids that are somebody's. */
export interface IdSources {
  /** /etc/passwd, /etc/group. */
  accounts: readonly string[];
  /** /etc/subuid, /etc/subgid (subuid(5)). */
  subordinate: readonly string[];
  /** /proc/self/uid_map and gid_map: what there is to give away. */
  maps: readonly string[];
  /** Names of the files by which systemd-nspawn reserves ranges: their first ids. */
  nspawn: readonly string[];
}

/** Reserves a range; `uuid` says where to begin to look, so that starts at the same time do not meet. */
export function reserveIds(uuid: string): ReservedIds {
  makeRuntimeDirectory(RUNTIME_DIR);
  const fd = openRuntimeFile(USER_RANGES);
  const free = freeRanges(hostIds());
  for (const range of inOrder(uuid)) if (free(range) && lockByte(fd, range)) return { first: range * PRIVATE_IDS, fd };
  closeSync(fd);
  throw new RktError("no-free-ids", `there are no ${PRIVATE_IDS} user ids left for the container`, {
    hint: `they are looked for from ${FIRST_RANGE * PRIVATE_IDS} on: /proc/self/uid_map, /etc/subuid and /etc/passwd say what there is, and whose`,
  });
}

/** All ranges, from one that is the container's to the one before it. */
export function* inOrder(uuid: string): Generator<number> {
  const count = LAST_RANGE - FIRST_RANGE + 1;
  const start = Number.parseInt(uuid.slice(0, 8), 16);
  for (let i = 0; i < count; i++) yield FIRST_RANGE + ((start + i) % count);
}

/** Pure. */
export function freeRanges({ accounts, subordinate, maps, nspawn }: IdSources): (range: number) => boolean {
  const taken = new Set<number>();
  const take = (first: number, count: number) => {
    const last = Math.min(Math.floor((first + count - 1) / PRIVATE_IDS), LAST_RANGE);
    for (let range = Math.max(Math.floor(first / PRIVATE_IDS), FIRST_RANGE); range <= last; range++) taken.add(range);
  };
  for (const [, , id, gid] of accounts.flatMap((text) => lines(text, ":"))) {
    take(Number(id), 1);
    // Of a passwd line; the members of a group are no number.
    if (/^\d+$/.test(gid ?? "")) take(Number(gid), 1);
  }
  for (const [, first, count] of subordinate.flatMap((text) => lines(text, ":"))) take(Number(first), Number(count));
  for (const name of nspawn) if (/^\d+$/.test(name)) take(Number(name), PRIVATE_IDS);
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
