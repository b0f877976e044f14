/** The configuration directories, and the places of stage1 images and network plugins. */

import { type HostPath, hostPath, join } from "./paths.ts";

export const SYSTEM_CONFIG_DIR = hostPath("/usr/lib/rkt");
export const LOCAL_CONFIG_DIR = hostPath("/etc/rkt");
export const KEYSTORE = "trustedkeys";

/** Directories in a configuration directory for rkt's documented kinds of files, `*.json`. */
export const CONFIG_SUBDIRECTORIES = { auth: "auth.d", paths: "paths.d", stage1: "stage1.d" } as const;

/** The trusted keys of one configuration directory: files named by a key's fingerprint. */
export interface KeystoreLayout {
  dir: HostPath;
  /** Keys for all images. */
  root: HostPath;
  /** Directories of keys for the images whose names begin with a prefix. */
  prefixes: HostPath;
  /** The directory of one prefix. A prefix is an identifier, and so safe as a path. */
  prefix(prefix: string): HostPath;
}

export function keystoreLayout(configDir: string): KeystoreLayout {
  const dir = join(configDir, KEYSTORE);
  const prefixes = join(dir, "prefix.d");
  return { dir, root: join(dir, "root.d"), prefixes, prefix: (prefix) => join(prefixes, prefix) };
}

/** rkt looks for it beside its executable first, then in STAGE1_IMAGE_DIRS. */
export const DEFAULT_STAGE1_IMAGE = "stage1-nspawn.aci";

export const STAGE1_IMAGE_DIRS = [hostPath("/usr/lib/rkt/stage1-images"), hostPath("/usr/local/lib/rkt/stage1-images")];

/** Directory in a configuration directory for CNI network configurations, `*.conf` and `*.conflist`. */
export const NETWORK_CONFIG = "net.d";

/** Directories of the administrator's CNI plugins. They come before the stage1 image's. */
export const NETWORK_PLUGIN_DIRS = [
  hostPath("/etc/rkt/plugins/net"),
  hostPath("/usr/local/lib/rkt/plugins/net"),
  hostPath("/usr/lib/rkt/plugins/net"),
];
