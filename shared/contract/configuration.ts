/** The configuration directories, and where stage1 images and network plugins are looked for. */

import { type HostPath, hostPath, join } from "./paths.ts";

export const SYSTEM_CONFIG_DIR = hostPath("/usr/lib/rkt");
export const LOCAL_CONFIG_DIR = hostPath("/etc/rkt");
export const KEYSTORE = "trustedkeys";

/** Of the configuration directories: files of rkt's documented kinds, `*.json`. */
export const CONFIG_SUBDIRECTORIES = { auth: "auth.d", paths: "paths.d", stage1: "stage1.d" } as const;

/** The trusted keys of one configuration directory: files named by a key's fingerprint. */
export interface KeystoreLayout {
  dir: HostPath;
  /** Keys for all images. */
  root: HostPath;
  /** Directories of keys for the images whose names begin with a prefix. */
  prefixes: HostPath;
  /** Of `example.com/app`, that is `example.com/app`: identifiers are safe as paths. */
  prefix(prefix: string): HostPath;
}

export function keystoreLayout(configDir: string): KeystoreLayout {
  const dir = join(configDir, KEYSTORE);
  const prefixes = join(dir, "prefix.d");
  return { dir, root: join(dir, "root.d"), prefixes, prefix: (prefix) => join(prefixes, prefix) };
}

/** Looked for beside the `rkt` executable first, then in the system paths. */
export const DEFAULT_STAGE1_IMAGE = "stage1-nspawn.aci";

export const STAGE1_IMAGE_DIRS = [hostPath("/usr/lib/rkt/stage1-images"), hostPath("/usr/local/lib/rkt/stage1-images")];

/** Of the configuration directories: CNI network configurations, `*.conf` and `*.conflist`. */
export const NETWORK_CONFIG = "net.d";

/** CNI plugins of the administrator's, looked for before those of the stage1 image. */
export const NETWORK_PLUGIN_DIRS = [
  hostPath("/etc/rkt/plugins/net"),
  hostPath("/usr/local/lib/rkt/plugins/net"),
  hostPath("/usr/lib/rkt/plugins/net"),
];
