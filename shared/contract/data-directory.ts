/** The data directory: the store, and the containers by their state (docs/extend/layout.md). */

import { type HostPath, hostPath, join } from "./paths.ts";

export const DEFAULT_DATA_DIR = hostPath("/var/lib/rkt");

/** Label of rendered image trees: which blob and renderer made them. */
export const TREE_FORMAT = "2";

/** The same of the extracted layers of OCI images. */
export const LAYER_FORMAT = "1";

/**
 * In the order of a container's life. `embryo`: being made; `prepare`: images
 * are being set up; `prepared`: waits for run-prepared; `run`: running while
 * the lock is held, exited when it is free; `exited-garbage`: marked by gc,
 * kept for a grace period; `garbage`: to be removed now.
 */
export const STATES = ["embryo", "prepare", "prepared", "run", "exited-garbage", "garbage"] as const;

export type State = (typeof STATES)[number];

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** machine-id(5) of a container. */
export const machineId = (uuid: string): string => uuid.replaceAll("-", "");

export const isUuid = (text: string): boolean => UUID.test(text);

export interface DataLayout {
  data: HostPath;
  containers: HostPath;
  state(state: State): HostPath;
  container(state: State, uuid: string): HostPath;
  cas: HostPath;
  blobs: HostPath;
  blob(key: string): HostPath;
  trees: HostPath;
  tree(id: string): HostPath;
  /** A rendered tree's root file system. */
  treeRootfs(id: string): HostPath;
  treeManifest(id: string): HostPath;
  layerBlobs: HostPath;
  /** A layer of an OCI image as it came, by its digest (`sha256:` and 64 hex digits). */
  layerBlob(digest: string): HostPath;
  layerTrees: HostPath;
  /** A layer as a lower directory of an overlay mount. */
  layerTree(id: string): HostPath;
  layerRootfs(id: string): HostPath;
  layerManifest(id: string): HostPath;
  /** Temporary files of the store, on the same file system: anything here without a lock is rubbish. */
  tmp: HostPath;
  index: HostPath;
  locks: HostPath;
  /** Held (flock(2)): shared by who needs what is in the store, exclusively by who takes away from it. */
  storeLock: HostPath;
  /** The URL of the metadata service, which holds a lock on the file while it runs. */
  metadataService: HostPath;
  /** A Unix socket of systemd's, if there is one: to connect to it starts the service. */
  metadataActivation: HostPath;
  /** The key that its signatures are made with. */
  metadataKey: HostPath;
}

export function dataLayout(data: string): DataLayout {
  const containers = join(data, "containers");
  const cas = join(data, "cas");
  const blobs = join(cas, "blob", "sha512");
  const trees = join(cas, "tree");
  const layerBlobs = join(cas, "layer", "blob", "sha256");
  const layerTrees = join(cas, "layer", "tree");
  return {
    data: hostPath(data),
    containers,
    state: (state) => join(containers, state),
    container: (state, uuid) => join(containers, state, uuid),
    cas,
    blobs,
    blob: (key) => join(blobs, key.slice("sha512-".length, "sha512-".length + 2), key),
    trees,
    tree: (id) => join(trees, id),
    treeRootfs: (id) => join(trees, id, "rootfs"),
    treeManifest: (id) => join(trees, id, "manifest"),
    layerBlobs,
    layerBlob: (digest) => join(layerBlobs, digest.slice("sha256:".length, "sha256:".length + 2), digest.replace(":", "-")),
    layerTrees,
    layerTree: (id) => join(layerTrees, id),
    layerRootfs: (id) => join(layerTrees, id, "rootfs"),
    layerManifest: (id) => join(layerTrees, id, "manifest"),
    tmp: join(cas, "tmp"),
    index: join(cas, "index.sqlite"),
    locks: join(cas, "locks"),
    storeLock: join(cas, "locks", "store"),
    metadataService: join(data, "metadata", "service"),
    metadataActivation: join(data, "metadata", "activate.sock"),
    metadataKey: join(data, "metadata", "hmac-key"),
  };
}
