/**
 * The life of a container. Its phase follows from the state directory that it lies in, and from whether its lock is
 * held (docs/extend/lifecycle.md). Each transition is one rename(2) by the holder of the lock.
 */

import { type Dirent, readdirSync, renameSync } from "node:fs";
import { errorCode, RktError } from "../../shared/errors.ts";
import { dataLayout, isUuid, STATES, type State } from "../../shared/contract/data-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { makeContainerDirectories, makeOwnDirectory, secureData } from "../host/data-directory.ts";
import { type DirectoryLock, isLocked, tryLock, waitUnlocked } from "./lock.ts";

/** The phase of a container, as users see it. */
export type Phase =
  | "embryo"
  | "preparing"
  | "aborted prepare"
  | "prepared"
  | "running"
  | "exited"
  | "exited garbage"
  | "garbage"
  | "deleting";

export interface ContainerRef {
  uuid: string;
  state: State;
  dir: HostPath;
}

/** A container directory whose lock this process holds. */
export interface OwnedContainer extends ContainerRef {
  lock: DirectoryLock;
}

/** The phase of a container in this state directory. */
export function phaseOf(state: State, locked: boolean): Phase {
  switch (state) {
    case "embryo":
      return "embryo";
    case "prepare":
      return locked ? "preparing" : "aborted prepare";
    case "prepared":
      return "prepared";
    case "run":
      return locked ? "running" : "exited";
    case "exited-garbage":
      return locked ? "deleting" : "exited garbage";
    case "garbage":
      return locked ? "deleting" : "garbage";
  }
}

/** The current phase; undefined if the container is no longer at this path. */
export function phase(ref: ContainerRef): Phase | undefined {
  const locked = isLocked(ref.dir);
  return locked === "gone" ? undefined : phaseOf(ref.state, locked);
}

/** Creates a container directory in `embryo` and locks it. */
export function createContainer(data: string, uuid: string): OwnedContainer {
  makeContainerDirectories(data);
  const dir = dataLayout(data).container("embryo", uuid);
  // Between mkdir and flock, a gc may remove the unlocked embryo as garbage: then it is made again.
  for (;;) {
    makeOwnDirectory(dir, 0o700);
    const lock = tryLock(dir);
    if (typeof lock === "object") return { uuid, state: "embryo", dir, lock };
    if (lock === "busy") waitUnlocked(dir);
  }
}

/** Moves an owned container to another state. The directory keeps its inode, and so its lock. */
export function transition(data: string, container: OwnedContainer, to: State): OwnedContainer {
  const dir = dataLayout(data).container(to, container.uuid);
  renameSync(container.dir, dir);
  return { ...container, state: to, dir };
}

/** All container directories. Other files, and directories without a UUID as their name, are ignored. */
export function listContainers(data: string, states: readonly State[] = STATES): ContainerRef[] {
  secureData(data);
  const layout = dataLayout(data);
  const found = new Map<string, ContainerRef>();
  for (const state of states) {
    let entries: Dirent[];
    try {
      entries = readdirSync(layout.state(state), { withFileTypes: true });
    } catch (error) {
      if (errorCode(error) === "ENOENT") continue;
      throw error;
    }
    // A container that is renamed meanwhile may appear in two states: the later one is right.
    for (const entry of entries) {
      const uuid = entry.name;
      if (entry.isDirectory() && isUuid(uuid)) found.set(uuid, { uuid, state, dir: layout.container(state, uuid) });
    }
  }
  return [...found.values()];
}

/** The one container whose UUID begins with `prefix`. */
export function findContainer(data: string, prefix: string): ContainerRef {
  const wanted = prefix.toLowerCase();
  if (!/^[0-9a-f][0-9a-f-]{0,35}$/.test(wanted))
    throw new RktError("bad-uuid", `"${prefix}" is not a container UUID`, {
      hint: "see `rkt list` for the containers there are",
    });
  const matches = listContainers(data).filter((c) => c.uuid.startsWith(wanted));
  const [first] = matches;
  if (first === undefined)
    throw new RktError("no-such-container", `no container with UUID "${prefix}"`, {
      hint: "see `rkt list` for the containers there are",
    });
  if (matches.length > 1)
    throw new RktError("ambiguous-uuid", `UUID "${prefix}" is ambiguous: ${matches.map((c) => c.uuid).join(", ")}`, {
      hint: "give more digits",
    });
  return first;
}

/** Reads something of a container. If it is renamed meanwhile, reads again at its new path. */
export function readWhereItIs<T>(data: string, ref: ContainerRef, read: (ref: ContainerRef) => T): T {
  for (let at = ref; ; ) {
    try {
      return read(at);
    } catch (error) {
      const now = findContainer(data, ref.uuid);
      if (now.dir === at.dir) throw error;
      at = now;
    }
  }
}
