/**
 * Who else could put something at a path: each directory on the way must belong
 * to root or to the user of rkt, and nobody else may write to it, or the path
 * leads to one thing when it is looked at and to another when it is used. In a
 * directory with the sticky bit (/tmp) others cannot exchange what is not theirs.
 */

import { lstatSync, readlinkSync, type Stats, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { errorCode, RktError } from "./errors.ts";

export interface Distrust {
  path: string;
  /** A predicate: "belongs to user 1000". */
  why: string;
}

export interface TrustOptions {
  /** Whoever is in a file's group is meant to write to it. A person's group is often the person's alone; root trusts none unless told. */
  groups?: boolean;
}

const STICKY = 0o1000;
/** As many links as path_resolution(7) follows. */
const MAX_LINKS = 40;

/** Why somebody else decides what is in a file or directory. */
export function distrustOf({ uid, mode }: Stats, { groups = false }: TrustOptions = {}): string | undefined {
  return foreign(uid) ?? ((mode & othersBits(groups)) !== 0 ? othersWrite() : undefined);
}

const othersWrite = (): string => `can be written to by others${process.geteuid?.() === 0 ? " than root" : ""}`;

const foreign = (uid: number): string | undefined =>
  uid === 0 || uid === process.geteuid?.() ? undefined : `belongs to user ${uid}`;

const othersBits = (groups: boolean): number => (process.geteuid?.() === 0 && !groups ? 0o022 : 0o002);

/** The first directory or link on the way that others can exchange; the end of the path, which need not be there, is not looked at. */
export function distrustAbove(path: string, { groups = false }: TrustOptions = {}): Distrust | undefined {
  const rest = names(resolve(path));
  let links = 0;
  for (let at = "/"; ; ) {
    const why = distrustOfDirectory(statSync(at), groups);
    if (why !== undefined) return { path: at, why };
    const name = rest.pop();
    if (name === undefined) return undefined;
    const next = join(at, name);
    const stat = statusOf(next);
    if (stat?.isSymbolicLink() === true && ++links <= MAX_LINKS) {
      const theirs = foreign(stat.uid);
      if (theirs !== undefined) return { path: next, why: theirs };
      const target = readlinkSync(next);
      rest.push(...names(target));
      if (target.startsWith("/")) at = "/";
    } else if (rest.length === 0 || stat?.isDirectory() !== true) return undefined;
    else at = next;
  }
}

function distrustOfDirectory({ uid, mode }: Stats, groups: boolean): string | undefined {
  return foreign(uid) ?? ((mode & othersBits(groups)) !== 0 && (mode & STICKY) === 0 ? othersWrite() : undefined);
}

/** Last first. ".." of a link's target stays a name: a path without links has it taken away. */
const names = (path: string): string[] =>
  path
    .split("/")
    .filter((name) => name !== "" && name !== ".")
    .reverse();

function statusOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // Whoever uses the path fails in the same way.
    if (errorCode(error) === "EACCES" || errorCode(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** A configuration file: root does what it says. Groups may have been given the configuration. */
export function requireTrustedConfig(path: string): void {
  const above = distrustAbove(path, { groups: true });
  const why = above === undefined ? distrustOf(statSync(path), { groups: true }) : undefined;
  if (above === undefined && why === undefined) return;
  const what = above === undefined ? `it ${why}` : `${above.path} ${above.why}`;
  throw new RktError("config-unsafe", `configuration ${path} is not read: ${what}`, { hint: wayOut(above?.path ?? path, "o") });
}

/** `others`: group and others, or others alone. */
export const wayOut = (path: string, others: "go" | "o" = "go"): string => `chown root ${path}; chmod ${others}-w ${path}`;
