/** The settings of rkt: its directories, and its default stage1 image. */

import { CONFIG_SUBDIRECTORIES } from "../../shared/contract/configuration.ts";
import { absolutePath, acIdentifier } from "../../shared/schema/values.ts";
import { optionalString, type Rule, report } from "../../shared/schema/place.ts";
import { type ConfigDirs, readSettings } from "./config-files.ts";
import type { InsecureOption } from "./insecure-options.ts";

/** The settings of one invocation: the directories of data and configuration, and the checks that are switched off. */
export interface Settings extends ConfigDirs {
  /** The data directory. */
  dir: string;
  debug: boolean;
  quiet: boolean;
  insecure: ReadonlySet<InsecureOption>;
}

/** The configuration of stage1 images. */
export interface Stage1Settings {
  /** A directory that rkt searches first. */
  images?: string | undefined;
  /** The default image: the one with this name and version in the store, or else the one at the location. */
  name?: string | undefined;
  version?: string | undefined;
  location?: string | undefined;
}

export interface Paths {
  /** The data directory; `--dir` overrides it. */
  data: string | undefined;
  /** The directory of `--stage1-from-dir`. */
  stage1Images: string | undefined;
}

const PATHS = { subdirectory: CONFIG_SUBDIRECTORIES.paths, kinds: ["paths"] } as const;

export function readPaths(dirs: ConfigDirs): Paths {
  const paths = readSettings<string>(dirs, PATHS, ({ get }, set) => {
    for (const name of ["data", "stage1-images"]) {
      const path = optionalString(get(name), absolutePath);
      if (path !== undefined) set(name, path, get(name));
    }
  });
  return { data: paths.get("data"), stage1Images: paths.get("stage1-images") };
}

/** rkt looks for the image in the store, by name and version, and else fetches it from the location. */
export interface DefaultStage1 {
  name: string | undefined;
  version: string | undefined;
  /** An absolute path, or a URL. */
  location: string | undefined;
}

const STAGE1 = { subdirectory: CONFIG_SUBDIRECTORIES.stage1, kinds: ["stage1"] } as const;

export function readDefaultStage1(dirs: ConfigDirs): DefaultStage1 {
  const stage1 = readSettings<string[]>(dirs, STAGE1, ({ get }, set) => {
    const name = optionalString(get("name"), acIdentifier);
    const version = optionalString(get("version"), notEmpty);
    if (name !== undefined && version !== undefined) set("image", [name, version], get("name"));
    else if (name !== undefined) report(get("version"), "is required beside a name");
    else if (version !== undefined) report(get("name"), "is required beside a version");
    const location = optionalString(get("location"), imageLocation);
    if (location !== undefined) set("location", [location], get("location"));
  });
  const [name, version] = stage1.get("image") ?? [];
  return { name, version, location: stage1.get("location")?.[0] };
}

export function readStage1Settings(dirs: ConfigDirs): Stage1Settings {
  return { images: readPaths(dirs).stage1Images, ...readDefaultStage1(dirs) };
}

const notEmpty: Rule = (text) => (text === "" ? "must not be empty" : undefined);

const imageLocation: Rule = (text) => {
  if (text.startsWith("/")) return absolutePath(text);
  const { protocol = "" } = URL.parse(text) ?? {};
  return ["file:", "http:", "https:"].includes(protocol)
    ? undefined
    : "must be an absolute path, or a file:, http: or https: URL";
};
