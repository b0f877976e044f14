/** The options that every command has, before or after its name. */

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { usageError } from "../../shared/errors.ts";
import { CONFIG_SUBDIRECTORIES, LOCAL_CONFIG_DIR, SYSTEM_CONFIG_DIR } from "../../shared/contract/configuration.ts";
import { DEFAULT_DATA_DIR } from "../../shared/contract/data-directory.ts";
import type { ConfigDirs } from "../config/config-files.ts";
import { INSECURE, INSECURE_GROUPS, type InsecureOption } from "../config/insecure-options.ts";
import type { Settings } from "../config/settings.ts";
import { readOptions } from "./options.ts";
import type { OptionTable, OptionWord } from "./words.ts";

const group = "Global options";

export const globalOptions = {
  dir: {
    type: "string",
    value: "DIR",
    description: `data directory (the configured one, or ${DEFAULT_DATA_DIR})`,
    group,
  },
  debug: { type: "boolean", description: "say more, and show the causes of errors", group },
  quiet: { type: "boolean", description: "say nothing but errors", group },
  "insecure-options": {
    type: "string",
    array: true,
    value: "CHECK,...",
    description: `checks to switch off: ${[...INSECURE, ...Object.keys(INSECURE_GROUPS).slice(1)].join(", ")}`,
    group,
  },
  "insecure-skip-verify": {
    type: "boolean",
    description: "the same as --insecure-options=image",
    group,
    hidden: true,
  },
  "system-config": {
    type: "string",
    value: "DIR",
    description: `configuration of the system (${SYSTEM_CONFIG_DIR})`,
    group,
  },
  "local-config": {
    type: "string",
    value: "DIR",
    description: `configuration of this machine (${LOCAL_CONFIG_DIR})`,
    group,
  },
  "user-config": { type: "string", value: "DIR", description: "configuration of the user", group },
  help: { type: "boolean", alias: "h", description: "show what a command does and takes", group },
} as const satisfies OptionTable;

export interface GlobalOptions extends Settings {
  help: boolean;
}

export async function readGlobals(words: readonly OptionWord[]): Promise<GlobalOptions> {
  const values = readOptions(words, globalOptions);
  const dirs = {
    systemConfig: directory(values["system-config"], "system-config") ?? SYSTEM_CONFIG_DIR,
    localConfig: directory(values["local-config"], "local-config") ?? LOCAL_CONFIG_DIR,
    userConfig: directory(values["user-config"], "user-config"),
  };
  // A broken configuration must not prevent help.
  const configured = values.help || values.dir !== undefined ? undefined : await configuredDataDir(dirs);
  return {
    dir: directory(values.dir, "dir") ?? configured ?? DEFAULT_DATA_DIR,
    debug: values.debug,
    quiet: values.quiet,
    insecure: readInsecure([...values["insecure-options"], ...(values["insecure-skip-verify"] ? ["image"] : [])]),
    ...dirs,
    help: values.help,
  };
}

/** The configured data directory. Most machines have none, so the parser is loaded only if there are such files. */
async function configuredDataDir(dirs: ConfigDirs): Promise<string | undefined> {
  const places = [dirs.systemConfig, dirs.localConfig, dirs.userConfig];
  if (!places.some((dir) => dir !== undefined && existsSync(join(dir, CONFIG_SUBDIRECTORIES.paths)))) return undefined;
  const { readPaths } = await import("../config/settings.ts");
  return readPaths(dirs).data;
}

function directory(value: string | undefined, option: string): string | undefined {
  if (value === "") throw usageError(`--${option} is empty`);
  return value === undefined ? undefined : resolve(value);
}

function readInsecure(lists: readonly string[]): Set<InsecureOption> {
  const checks = new Set<InsecureOption>();
  for (const word of lists.flatMap((list) => list.split(","))) {
    const single = INSECURE.find((check) => check === word);
    const meant = single === undefined ? groupOf(word) : [single];
    for (const check of meant) checks.add(check);
  }
  return checks;
}

function groupOf(word: string): readonly InsecureOption[] {
  const checks = Object.hasOwn(INSECURE_GROUPS, word) ? INSECURE_GROUPS[word] : undefined;
  if (checks === undefined)
    throw usageError(
      `--insecure-options: ${JSON.stringify(word)} is no check`,
      `there are ${[...INSECURE, ...Object.keys(INSECURE_GROUPS)].join(", ")}`,
    );
  return checks;
}
