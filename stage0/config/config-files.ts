/**
 * Reads the files of the configuration directories: `*.json`, each with a kind and a version; a later directory
 * overrides an earlier one. The formats are those of rkt 1.30, so that existing files keep their meaning.
 *
 * Sources: rkt, Documentation/configuration.md. Unlike rkt 1.30, this follows symbolic links to files.
 */

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { MAX_LIST_BYTES, readRegular } from "../../shared/bounded-read.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { parseJson } from "../../shared/schema/json.ts";
import { ManifestError } from "../../shared/schema/manifest-error.ts";
import { type Fields, fields, finish, type Place, report, root, string } from "../../shared/schema/place.ts";
import { oneOf } from "../../shared/schema/values.ts";
import { requireTrustedConfig } from "../../shared/trusted-path.ts";

/** A later directory overrides the ones before it. */
export interface ConfigDirs {
  systemConfig: string;
  localConfig: string;
  userConfig: string | undefined;
}

export interface ConfigFile {
  path: string;
  mode: number;
  kind: string;
  get: Fields;
}

/**
 * The kinds of files that a subdirectory may hold. Any other kind there is an error: the user has misplaced the file.
 */
export interface ConfigKinds {
  subdirectory: string;
  kinds: readonly string[];
}

/** Sets one setting; `place` is its place in the file. */
export type SetValue<T> = (key: string, value: T, place: Place) => void;

/**
 * Reads the settings of a subdirectory in all configuration directories. It is an error if two files of one directory
 * have the same setting.
 */
export function readSettings<T>(
  dirs: ConfigDirs,
  { subdirectory, kinds }: ConfigKinds,
  read: (file: ConfigFile, set: SetValue<T>) => void,
): Map<string, T> {
  const effective = new Map<string, T>();
  for (const dir of [dirs.systemConfig, dirs.localConfig, dirs.userConfig]) {
    if (dir === undefined) continue;
    const origins = new Map<string, string>();
    for (const path of configFiles(join(dir, subdirectory))) {
      readFile(path, kinds, (file) =>
        read(file, (key, value, place) => {
          const other = origins.get(key);
          if (other !== undefined) report(place, other === path ? "is given twice" : `is given in ${other} too`);
          origins.set(key, path);
          effective.set(key, value);
        }),
      );
    }
  }
  return effective;
}

/** The files, sorted by name. */
function configFiles(dir: string): string[] {
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw unreadable(error);
  }
  return names
    .filter((name) => name.endsWith(".json"))
    .sort()
    .map((name) => join(dir, name));
}

function readFile(path: string, kinds: readonly string[], read: (file: ConfigFile) => void): void {
  let bytes: Uint8Array;
  let mode: number;
  try {
    const stat = statSync(path);
    if (!stat.isFile()) return;
    requireTrustedConfig(path);
    mode = stat.mode;
    bytes = readRegular(path, MAX_LIST_BYTES);
  } catch (error) {
    throw errorCode(error) === "config-unsafe" ? error : unreadable(error);
  }
  try {
    const document = root(parseJson(bytes, path), path);
    const get = fields(document);
    const kind = string(get("rktKind"), oneOf(...kinds));
    string(get("rktVersion"), oneOf("v1"));
    // Stops here for another kind or version: its members may have another meaning.
    finish(document, undefined);
    read({ path, mode, kind, get });
    finish(document, undefined);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw new RktError("config-invalid", error.message, { cause: error });
  }
}

function unreadable(cause: unknown): RktError {
  return new RktError("config-unreadable", `cannot read the configuration: ${errorText(cause)}`, { cause });
}
