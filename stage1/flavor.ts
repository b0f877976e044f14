/** A flavor of stage 1: how a container is isolated. What differs between flavors is behind this interface. */

import type { PassedSocket } from "../shared/passed-sockets.ts";
import type { ResourceLimit } from "../shared/syscall/process.ts";
import type { PlannedCgroup } from "./cgroups/cgroups.ts";
import type { Container } from "./container/container.ts";
import type { StdioMode } from "./container/stdio.ts";
import type { ContainerNetwork } from "./network/network.ts";

export interface Flavor {
  /** Throws if the host can't run this flavor; gives what a person should be warned of. Nothing is made yet. */
  checkHost(): string | undefined;
  /** Starts the program that helps until the container has started: around the moment when this process enters its cgroups. */
  startHelper(version1: boolean): void;
  /** Becomes the program that runs the container: its pid is this process's. */
  leave(container: Container, prepared: Prepared): never;
}

/** What the host gives a container: all of it is there. */
export interface Prepared {
  stdio: StdioMode;
  /** Who is to be told that the apps are ready: a clone of the socket, or the name of an abstract one. */
  notify: number | string | undefined;
  network: ContainerNetwork;
  cgroups: readonly PlannedCgroup[];
  openFiles: ResourceLimit;
  /** Opened by a service manager, for the apps' ports. */
  sockets: readonly PassedSocket[];
  /** Descriptors of stage 0's that stay open as long as the container lives: its locks are on them. */
  keepFds: readonly number[];
}
