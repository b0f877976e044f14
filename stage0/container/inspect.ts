/**
 * What is known of a container, from the plain files of its directory alone:
 * nothing is mounted or entered, and a dead container answers as a live one.
 *
 * `pid` and `status/*` are written from inside a stage1 and read as untrusted:
 * size, type and range are checked, and a pid counts only while its process
 * holds the container's lock.
 */

import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  type Stats,
  statSync,
} from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { containerLayout, type HostPath } from "../../shared/layout.ts";
import { parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import type { ImageManifest, PodManifest } from "../../shared/schema/types.ts";
import { type ContainerRef, type Phase, phase } from "./lifecycle.ts";

export interface AppFacts {
  name: string;
  imageName: string | undefined;
  imageId: string;
  /** 0–255, once the app has ended. */
  exitCode: number | undefined;
}

export interface ContainerFacts {
  uuid: string;
  phase: Phase;
  /** Empty before the container manifest is written, or when it is damaged. */
  apps: AppFacts[];
  /** Milliseconds since the epoch. */
  createdAt: number | undefined;
  startedAt: number | undefined;
  stage1: string | undefined;
  /** Of the process that holds the lock. */
  pid: number | undefined;
  /** Why the manifest can't be read. */
  damage: string | undefined;
}

/** Facts of a container; undefined when it has moved on or is gone. */
export function inspect(ref: ContainerRef): ContainerFacts | undefined {
  const now = phase(ref);
  if (now === undefined) return undefined;
  const layout = containerLayout(ref.dir);
  let manifest: PodManifest | undefined;
  let damage: string | undefined;
  const expected = now !== "embryo" && now !== "preparing" && now !== "aborted prepare";
  try {
    manifest = readManifest(ref.dir);
  } catch (error) {
    if (expected) damage = errorText(error);
  }
  return {
    uuid: ref.uuid,
    phase: now,
    apps: (manifest?.apps ?? []).map((app) => ({
      name: app.name,
      imageName: app.image.name,
      imageId: app.image.id,
      exitCode: readNumber(layout.appStatus(app.name), 255),
    })),
    createdAt: mtime(layout.manifest),
    startedAt: mtime(layout.pid),
    stage1: stage1Name(layout.stage1Manifest),
    pid: now === "running" ? supervisor(ref.dir) : undefined,
    damage,
  };
}

export function readManifest(dir: HostPath): PodManifest {
  const { manifest } = containerLayout(dir);
  try {
    return parsePodManifest(readFileSync(manifest));
  } catch (error) {
    if (error instanceof RktError) throw error;
    throw new RktError("damaged-container", `cannot read the container manifest: ${errorText(error)}`, {
      cause: error,
    });
  }
}

export function readStage1Manifest(dir: HostPath): ImageManifest {
  return parseImageManifest(readFileSync(containerLayout(dir).stage1Manifest));
}

function stage1Name(path: HostPath): string | undefined {
  try {
    return parseImageManifest(readFileSync(path)).name;
  } catch {
    return undefined;
  }
}

function mtime(path: HostPath): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
}

/** A small decimal number of a regular file; undefined for anything else that may lie there. */
export function readNumber(path: string, max: number): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (["ENOENT", "ELOOP", "ENXIO"].includes(errorCode(error) ?? "")) return undefined;
    throw error;
  }
  try {
    if (!fstatSync(fd).isFile()) return undefined;
    const bytes = Buffer.alloc(16);
    const text = bytes.toString("latin1", 0, readSync(fd, bytes));
    const number = /^\d{1,10}\n?$/.test(text) ? Number(text) : Number.NaN;
    return number <= max ? number : undefined;
  } finally {
    closeSync(fd);
  }
}

/** The pid in the container's file, if that process really holds the container's lock. */
export function supervisor(dir: HostPath): number | undefined {
  const pid = readNumber(containerLayout(dir).pid, 2 ** 22);
  return pid !== undefined && holdsDirectory(pid, statSync(dir)) ? pid : undefined;
}

/** Whether a process has the directory open: a recycled pid has not. */
function holdsDirectory(pid: number, dir: Stats): boolean {
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return false;
  }
  return names.some((name) => {
    const target = statSync(`/proc/${pid}/fd/${name}`, { throwIfNoEntry: false });
    return target !== undefined && target.ino === dir.ino && target.dev === dir.dev;
  });
}
