/**
 * Where a container is in its life: the state directory it lies in, and
 * whether its lock is held (docs/extend/lifecycle.md). Every transition is one
 * rename(2) by the holder of the lock.
 */

import { type Dirent, readdirSync, renameSync } from "node:fs";
import { errorCode, RktError } from "../../shared/errors.ts";
import { dataLayout, isUuid, STATES, type State } from "../../shared/contract/data-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { makeContainerDirectories, makeOwnDirectory, secureData } from "../host/data-directory.ts";
import { type DirectoryLock, isLocked, tryLock, waitUnlocked } from "./lock.ts";

/** What a person calls the state of a container. */
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

/** The phase that a state directory and its lock mean. */
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

/** The phase now; undefined when the container has moved on or is gone. */
export function phase(ref: ContainerRef): Phase | undefined {
  const locked = isLocked(ref.dir);
  return locked === "gone" ? undefined : phaseOf(ref.state, locked);
}

/** Creates a container directory in `embryo` and locks it. */
export function createContainer(data: string, uuid: string): OwnedContainer {
  makeContainerDirectories(data);
  const dir = dataLayout(data).container("embryo", uuid);
  // Between mkdir and flock a gc may take the unlocked embryo for rubbish: then it is made again.
  for (;;) {
    makeOwnDirectory(dir, 0o700);
    const lock = tryLock(dir);
    if (typeof lock === "object") return { uuid, state: "embryo", dir, lock };
    if (lock === "busy") waitUnlocked(dir);
  }
}

/** Moves an owned container to another state. The directory's inode, and so its lock, stays. */
export function transition(data: string, container: OwnedContainer, to: State): OwnedContainer {
  const dir = dataLayout(data).container(to, container.uuid);
  renameSync(container.dir, dir);
  return { ...container, state: to, dir };
}

/** Every container directory; what is no directory, or not named by a UUID, is not ours and left alone. */
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
    // A container renamed while we read may be seen in two states: the later one is the truth.
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

/** Reads of a container that may be renamed meanwhile; then once more, where it is now. */
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
