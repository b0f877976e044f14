/** What containers of all data directories share of the host, below /run: as short-lived as the host's processes. */

import { type HostPath, hostPath, join } from "./paths.ts";

/** What containers of all data directories share; as short-lived as the host's processes. */
export const RUNTIME_DIR = hostPath("/run/rkt");

/** What containers of all data directories share of the host's network; as short-lived as that is. */
export const NETWORK_STATE = {
  dir: hostPath("/run/rkt/net"),
  /** Held (flock(2)) by whoever adds to or takes from the network. */
  lock: (network: string): HostPath => hostPath(`/run/rkt/net/${network}.lock`),
  /** Held by whoever uses the plugin portmap, whose first chains all networks have in common; no network is called so. */
  portmapLock: hostPath("/run/rkt/net/.portmap.lock"),
  /** host-local's leases: a directory per network, a file per address. */
  leases: hostPath("/run/rkt/net/leases"),
  /** One file per published port: `PROTOCOL-PORT[-ADDRESS]`, which holds the container's UUID. */
  ports: hostPath("/run/rkt/net/ports"),
  /** JSON: the subnets of the default network while it is there. */
  subnets: hostPath("/run/rkt/net/default.json"),
  /** Likewise, of the network that reaches no further than the host. */
  restrictedSubnets: hostPath("/run/rkt/net/default-restricted.json"),
  /** A directory per container that has networks, named by its UUID: see `networkClaim`. */
  claims: hostPath("/run/rkt/net/containers"),
} as const;

/**
 * What releases a container's networks, and what says whether the container
 * lives. It lies beside what the networks hold of the host, since the
 * container's data directory may be lost before that is released.
 */
export interface NetworkClaim {
  dir: HostPath;
  /** Locked (flock(2)): exclusively by the container while it lives, shared by each process that releases its networks. */
  lock: HostPath;
  /** Locked by the one process that carries the steps out. */
  releasing: HostPath;
  /** Shell script that carries the steps out; with the argument "wait" it waits for the container's end. */
  teardown: HostPath;
  /** The steps, one file each, carried out last name first. */
  steps: HostPath;
  /** There when a step has failed. */
  failed: HostPath;
  /** What is being written for the container's networks, before it is whole and in its place. */
  temporary: HostPath;
}

export function networkClaim(uuid: string): NetworkClaim {
  const dir = join(NETWORK_STATE.claims, uuid);
  return {
    dir,
    lock: join(dir, "lock"),
    releasing: join(dir, "releasing"),
    teardown: join(dir, "teardown"),
    steps: join(dir, "steps"),
    failed: join(dir, "failed"),
    temporary: join(dir, "temporary"),
  };
}

/** Ids of a container with users of its own. */
export const PRIVATE_IDS = 65_536;

/** Which ids are in use, of containers of all data directories: a lock (F_OFD_SETLK) on byte N is on those from N * PRIVATE_IDS. */
export const USER_RANGES = hostPath("/run/rkt/users");
