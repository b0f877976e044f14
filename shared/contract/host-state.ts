/** State that containers of all data directories share. It lies below /run, so a reboot removes it. */

import { type HostPath, hostPath, join } from "./paths.ts";

export const RUNTIME_DIR = hostPath("/run/rkt");

/** The part for the host's network. */
export const NETWORK_STATE = {
  dir: hostPath("/run/rkt/net"),
  /** Lock (flock(2)) of a process that adds a container to the network or removes one. */
  lock: (network: string): HostPath => hostPath(`/run/rkt/net/${network}.lock`),
  /**
   * Lock of a process that runs the plugin portmap: all networks share its first chains. No network can have that name.
   */
  portmapLock: hostPath("/run/rkt/net/.portmap.lock"),
  /** host-local's leases: a directory per network, a file per address. */
  leases: hostPath("/run/rkt/net/leases"),
  /** One file per published port: `PROTOCOL-PORT[-ADDRESS]`, which holds the container's UUID. */
  ports: hostPath("/run/rkt/net/ports"),
  /** JSON: the subnets of the default network while it exists. */
  subnets: hostPath("/run/rkt/net/default.json"),
  /** Likewise, for the network "default-restricted". */
  restrictedSubnets: hostPath("/run/rkt/net/default-restricted.json"),
  /** A directory per container that has networks, named by its UUID: see `networkClaim`. */
  claims: hostPath("/run/rkt/net/containers"),
} as const;

/**
 * The script that releases a container's networks, and the lock that says whether the container still runs. They lie
 * below /run, because the container's data directory may be lost before the networks are released.
 */
export interface NetworkClaim {
  dir: HostPath;
  /** Lock (flock(2)): exclusive by the container while it runs, shared by each process that releases its networks. */
  lock: HostPath;
  /** Lock of the one process that carries the steps out. */
  releasing: HostPath;
  /** Shell script that carries the steps out; with the argument "wait" it waits for the container's end. */
  teardown: HostPath;
  /** The steps, one file each, carried out last name first. */
  steps: HostPath;
  /** Exists if a step has failed. */
  failed: HostPath;
  /** A file that is being written, before it is complete and renamed. */
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

/** Number of ids of a container with its own users. */
export const PRIVATE_IDS = 65_536;

/**
 * The ids in use by containers of all data directories: a lock (F_OFD_SETLK) on byte N reserves those from N *
 * PRIVATE_IDS.
 */
export const USER_RANGES = hostPath("/run/rkt/users");
