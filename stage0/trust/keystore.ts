/**
 * The keystore says which keys are trusted for which images. Each public key is a file that is named by its
 * fingerprint, in the same directories as in CoreOS's rkt. This module handles the files, and does not parse the keys.
 *
 *     /etc/rkt/trustedkeys, over /usr/lib/rkt/trustedkeys:
 *       root.d/<fingerprint>                        for all images
 *       prefix.d/example.com/app/<fingerprint>      for example.com/app, example.com/app/x, …
 *
 * An empty file in /etc masks the vendor's key of that name. Unlike CoreOS's
 * rkt, a prefix ends at the end of a path component (example.com/app is not for
 * example.com/apple), and files are refused that everybody can write, or that lie
 * where somebody else could exchange them. A group may write, such as "rkt-admin".
 */

import {
  closeSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { readRegular } from "../../shared/bounded-read.ts";
import { beside } from "../../shared/beside.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { keystoreLayout } from "../../shared/contract/configuration.ts";
import { distrustAbove, distrustOf, wayOut } from "../../shared/trusted-path.ts";
import { removeAttempt } from "../host/remove-attempt.ts";

/** The configuration directories with keys. */
export interface KeystoreDirs {
  systemConfig: string;
  localConfig: string;
}

export interface KeyFile {
  /** The file's name. The key in the file must have this fingerprint. */
  fingerprint: string;
  /** Undefined: all images. */
  prefix: string | undefined;
  path: string;
  /** False: an empty file, a mask. */
  trusted: boolean;
}

const FINGERPRINT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** The keys that may sign an image of this name. */
export function keysFor(dirs: KeystoreDirs, imageName: string): KeyFile[] {
  const parts = imageName.split("/");
  const prefixes = parts.map((_, i) => parts.slice(0, i + 1).join("/"));
  return effective([
    ...rootFiles(dirs),
    ...layers(dirs).flatMap((config) => prefixes.flatMap((prefix) => prefixFiles(config, prefix))),
  ]);
}

/** If there are several files for one key, the last one decides. */
function effective(files: readonly KeyFile[]): KeyFile[] {
  const keys = new Map(files.map((file) => [file.fingerprint, file]));
  return [...keys.values()].filter((file) => file.trusted);
}

/** The deciding file for each key and prefix, sorted by prefix and fingerprint. */
export function listKeys(dirs: KeystoreDirs): KeyFile[] {
  return fileLists(dirs).flatMap((files) => {
    const keys = new Map(files.map((file) => [file.fingerprint, file]));
    return [...keys.values()].sort((a, b) => (a.fingerprint < b.fingerprint ? -1 : 1));
  });
}

/** All files for this key, also overridden ones, because a revocation in any of them counts. */
export function filesOf(dirs: KeystoreDirs, fingerprint: string): KeyFile[] {
  return fileLists(dirs)
    .flat()
    .filter((file) => file.fingerprint === fingerprint && file.trusted);
}

/** All files: those for all images, then those of each prefix. */
function fileLists(dirs: KeystoreDirs): KeyFile[][] {
  const prefixes = new Set(layers(dirs).flatMap((config) => prefixesBelow(config, undefined)));
  return [
    rootFiles(dirs),
    ...[...prefixes].sort().map((prefix) => layers(dirs).flatMap((config) => prefixFiles(config, prefix))),
  ];
}

/** A key has some thousand bytes, with many signatures of others some hundred thousand. */
const KEY_FILE_LIMIT = 4 << 20;

export function readKeyFile({ path }: KeyFile): Uint8Array {
  try {
    return readRegular(path, KEY_FILE_LIMIT);
  } catch (error) {
    throw unreadable(error);
  }
}

export interface NewKey {
  fingerprint: string;
  /** ASCII armor. */
  armored: string;
  prefix: string | undefined;
}

/** Writes a key's file, and returns its path. */
export function addKey({ localConfig }: KeystoreDirs, { fingerprint, armored, prefix }: NewKey): string {
  const path = join(keyDirectory(localConfig, prefix), fingerprint);
  checkOwners(localConfig, dirname(path));
  writeKeyFile(path, armored);
  return path;
}

/** Ends the trust in a key for one prefix: removes its file, or masks the vendor's. Returns what was done. */
export function removeKey(dirs: KeystoreDirs, { fingerprint, prefix }: KeyFile): "removed" | "masked" {
  const path = join(keyDirectory(dirs.localConfig, prefix), fingerprint);
  const vendors = statSync(join(keyDirectory(dirs.systemConfig, prefix), fingerprint), { throwIfNoEntry: false });
  if (vendors !== undefined && vendors.size > 0) {
    writeKeyFile(path, "");
    return "masked";
  }
  try {
    unlinkSync(path);
  } catch (error) {
    throw unwritable(error);
  }
  return "removed";
}

// --- places -------------------------------------------------------------------------------

/** Files of a later directory override those of an earlier one. */
const layers = (dirs: KeystoreDirs): string[] => [dirs.systemConfig, dirs.localConfig];

function keyDirectory(config: string, prefix: string | undefined): string {
  const layout = keystoreLayout(config);
  return prefix === undefined ? layout.root : layout.prefix(prefix);
}

const rootFiles = (dirs: KeystoreDirs): KeyFile[] =>
  layers(dirs).flatMap((config) => keyFiles(config, undefined, keystoreLayout(config).root));

const prefixFiles = (config: string, prefix: string): KeyFile[] =>
  keyFiles(config, prefix, keystoreLayout(config).prefix(prefix));

/** The key files of one directory. Other names, such as a packager's README, are ignored. */
function keyFiles(config: string, prefix: string | undefined, dir: string): KeyFile[] {
  const names = namesIn(dir).filter((name) => FINGERPRINT.test(name));
  if (names.length > 0) checkOwners(config, dir);
  return names.flatMap((fingerprint) => {
    const path = join(dir, fingerprint);
    const stat = statOf(path);
    if (!stat?.isFile()) return [];
    checkOwner(path, stat);
    return [{ fingerprint, prefix, path, trusted: stat.size > 0 }];
  });
}

function prefixesBelow(config: string, prefix: string | undefined): string[] {
  const { prefixes } = keystoreLayout(config);
  const dir = prefix === undefined ? prefixes : join(prefixes, prefix);
  return namesIn(dir)
    .filter((name) => statOf(join(dir, name))?.isDirectory())
    .map((name) => relative(prefixes, join(dir, name)))
    .flatMap((below) => [below, ...prefixesBelow(config, below)]);
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    // ENOTDIR: another prefix has a key file where the directory of this one would be.
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return [];
    throw unreadable(error);
  }
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw unreadable(error);
  }
}

// --- owners ---------------------------------------------------------------------------------

/** Checks a directory and those above it, up to the configuration directory. */
function checkOwners(config: string, dir: string): void {
  const above = distrustAbove(dir, { groups: true });
  if (above !== undefined) refuse(above.path, above.why);
  for (let at = dir; ; at = dirname(at)) {
    const stat = statOf(at);
    if (stat !== undefined) checkOwner(at, stat);
    if (at === config || relative(config, at).startsWith("..")) return;
  }
}

function checkOwner(path: string, stat: Stats): void {
  const why = distrustOf(stat, { groups: true });
  if (why !== undefined) refuse(path, why);
}

function refuse(path: string, why: string): never {
  throw new RktError("keystore-unsafe", `${path} decides whom to trust, and ${why}`, {
    hint: wayOut(path, "o"),
  });
}

// --- writing ------------------------------------------------------------------------------

/**
 * Replaces the file durably: temporary file, fsync, rename, fsync of the directory. A leftover is no key, by its name.
 */
function writeKeyFile(path: string, text: string): void {
  const dir = dirname(path);
  const temporary = beside(join(dir, ".rkt-trust"));
  try {
    makeDirectories(dir);
    const fd = openSync(temporary, "wx", 0o644);
    try {
      fchmodSync(fd, 0o644);
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    const dirFd = openSync(dir, "r");
    try {
      fsyncSync(dirFd);
    } finally {
      closeSync(dirFd);
    }
  } catch (error) {
    removeAttempt(temporary);
    throw unwritable(error);
  }
}

/** Makes directories with mode 0755, independent of the umask: other users may see which keys are trusted. */
function makeDirectories(dir: string): void {
  const umask = process.umask(0o022);
  try {
    mkdirSync(dir, { recursive: true });
  } finally {
    process.umask(umask);
  }
}

const unreadable = (cause: unknown): RktError =>
  new RktError("keystore-unreadable", `cannot read the trusted keys: ${errorText(cause)}`, { cause });

const unwritable = (cause: unknown): RktError =>
  new RktError("keystore-unwritable", `cannot change the trusted keys: ${errorText(cause)}`, {
    hint: errorCode(cause) === "EACCES" ? "sudo rkt trust ..." : undefined,
    cause,
  });
