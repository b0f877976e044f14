/** The data directory: the store, and the containers by their state (docs/extend/layout.md). */

import { type HostPath, hostPath, join } from "./paths.ts";

export const DEFAULT_DATA_DIR = hostPath("/var/lib/rkt");

/** Version of the form of rendered trees. It is a part of a tree's ID. */
export const TREE_FORMAT = "2";

/** The same of the extracted layers of OCI images. */
export const LAYER_FORMAT = "1";

/**
 * In the order of a container's life. `embryo`: rkt makes the directory; `prepare`: rkt sets up the images; `prepared`:
 * it waits for run-prepared; `run`: it runs while the lock is held, and has exited when the lock is free;
 * `exited-garbage`: gc has marked it, and keeps it for a grace period; `garbage`: to be removed now.
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
  /** Temporary files of the store, on the same file system. A file without a lock is garbage. */
  tmp: HostPath;
  index: HostPath;
  locks: HostPath;
  /** Lock (flock(2)): shared while a process needs objects of the store, exclusive while it removes some. */
  storeLock: HostPath;
  /** The URL of the metadata service, which holds a lock on the file while it runs. */
  metadataService: HostPath;
  /** A Unix socket of systemd's, if there is one: a connection to it starts the service. */
  metadataActivation: HostPath;
  /** The key with which the service signs. */
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
