/**
 * What is known of a container, from the plain files of its directory alone:
 * nothing is mounted or entered, and a dead container answers as a live one.
 *
 * `pid` and `status/*` are written from inside a stage1 and read as untrusted:
 * size, type and range are checked, and a pid counts only while its process
 * holds the container's lock.
 */

import type { TreesFile } from "../../shared/contract/trees.ts";
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, statSync } from "node:fs";
import { MAX_LIST_BYTES, readBounded } from "../../shared/bounded-read.ts";
import { MAX_MANIFEST_BYTES } from "../../shared/schema/json.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { readTreesFile } from "../../shared/read-trees.ts";
import { holdsDirectory } from "../../shared/holds-directory.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { LAYOUT_VERSION } from "../../shared/contract/versions.ts";
import { annotation, parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import type { ImageManifest, PodManifest } from "../../shared/schema/types.ts";
import { type PrivateIds, readPrivateIds } from "./private-users.ts";
import { type ContainerRef, listContainers, type Phase, phase } from "./lifecycle.ts";

export interface AppFacts {
  name: string;
  imageName: string | undefined;
  imageId: string;
  /** 0–255, once the app has ended; read when it is asked for. */
  readonly exitCode: number | undefined;
}

export interface ContainerFacts {
  uuid: string;
  phase: Phase;
  /** Empty before the container manifest is written, or when it is damaged. */
  apps: AppFacts[];
  /** Milliseconds since the epoch. */
  createdAt: number | undefined;
  startedAt: number | undefined;
  /** Name of the stage1 image; read when it is asked for. */
  readonly stage1: string | undefined;
  /** Of the process that holds the lock. */
  pid: number | undefined;
  networks: NetworkFacts[];
  /** While it runs with users of its own; read when it is asked for. */
  readonly privateUsers: PrivateIds | undefined;
  /** It runs, and all its apps have been started, and have said that they are ready if they do; read when it is asked for. */
  readonly ready: boolean;
  /** Why the directory is not one that this rkt understands. */
  damage: string | undefined;
}

export interface NetworkFacts {
  name: string;
  interface: string | undefined;
  addresses: string[];
}

/** Facts of a container, followed through its states; undefined when it is gone. */
export function inspect(data: string, ref: ContainerRef): ContainerFacts | undefined {
  let at: ContainerRef | undefined = ref;
  while (at !== undefined) {
    const facts = inspectHere(at);
    if (facts !== undefined) return facts;
    at = listContainers(data).find((other) => other.uuid === ref.uuid);
  }
  return undefined;
}

/** Facts of the container at this very place; undefined when it has moved on. */
function inspectHere(ref: ContainerRef): ContainerFacts | undefined {
  const now = phase(ref);
  if (now === undefined) return undefined;
  const layout = containerLayout(ref.dir);
  let summary: Summary | undefined;
  let damage: string | undefined;
  const expected = now !== "embryo" && now !== "preparing" && now !== "aborted prepare";
  try {
    summary = summarize(ref);
  } catch (error) {
    // It may have moved on since, to be removed.
    if (phase(ref) === undefined) return undefined;
    if (expected) damage = errorText(error);
  }
  return {
    uuid: ref.uuid,
    phase: now,
    apps: (summary?.apps ?? []).map((app) => ({
      ...app,
      get exitCode() {
        return readNumber(layout.appStatus(app.name), 255);
      },
    })),
    createdAt: summary?.createdAt ?? mtime(layout.manifest),
    startedAt: mtime(layout.pid),
    get stage1() {
      return stage1Name(layout.stage1Manifest);
    },
    pid: now === "running" ? supervisor(ref.dir) : undefined,
    networks: readNetworks(layout.networks),
    get privateUsers() {
      return now === "running" ? readPrivateIds(ref.dir) : undefined;
    },
    get ready() {
      return now === "running" && lstatSync(layout.ready, { throwIfNoEntry: false }) !== undefined;
    },
    damage,
  };
}

/** What a list shows of a manifest. */
interface Summary {
  apps: Omit<AppFacts, "exitCode">[];
  createdAt: number | undefined;
}

function summarize({ uuid, dir }: ContainerRef): Summary {
  const text = manifestText(dir);
  return quickSummary(text) ?? strictSummary(uuid, parsePodManifest(text));
}

export function strictSummary(uuid: string, manifest: PodManifest): Summary {
  requireLayout(uuid, manifest);
  return {
    apps: manifest.apps.map(({ name, image }) => ({ name, imageName: image.name, imageId: image.id })),
    createdAt: time(annotation(manifest.annotations, ANNOTATIONS.created)),
  };
}

/** Milliseconds since the epoch. */
function time(text: unknown): number | undefined {
  const parsed = typeof text === "string" ? Date.parse(text) : Number.NaN;
  return Number.isNaN(parsed) ? undefined : parsed;
}

/**
 * For lists of a thousand containers: reads of a manifest what a list shows, and does not judge the rest. Undefined if that
 * is not plain: then the strict reader says what is wrong. A test holds that the two never contradict each other.
 */
export function quickSummary(text: string): Summary | undefined {
  const record = (value: unknown) =>
    typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const list = (value: unknown) => (Array.isArray(value) ? value.map(record) : []);
  try {
    const manifest = record(JSON.parse(text));
    const annotations = list(manifest["annotations"]);
    const value = (key: string) => annotations.find(({ name }) => name === key)?.["value"];
    if (value(ANNOTATIONS.layoutVersion) !== LAYOUT_VERSION) return undefined;
    const apps: Summary["apps"] = [];
    for (const { name, image } of list(manifest["apps"])) {
      const { id, name: imageName } = record(image);
      if (typeof name !== "string" || !/^[a-z0-9-]+$/.test(name) || typeof id !== "string") return undefined;
      apps.push({ name, imageName: typeof imageName === "string" ? imageName : undefined, imageId: id });
    }
    return apps.length === 0 ? undefined : { apps, createdAt: time(value(ANNOTATIONS.created)) };
  } catch {
    return undefined;
  }
}

/** Refuses a container that another version of rkt made: its files may mean something else. */
export function requireLayout(uuid: string, manifest: PodManifest): void {
  const version = annotation(manifest.annotations, ANNOTATIONS.layoutVersion) ?? LAYOUT_VERSION;
  if (version !== LAYOUT_VERSION)
    throw new RktError(
      "other-layout",
      `container ${uuid} has layout version "${version}", this rkt speaks ${LAYOUT_VERSION}`,
      { hint: "use the rkt that made it" },
    );
}

/** As `requireLayout`, for who takes a container away; a manifest that can't be read is no reason to keep it. */
export function refuseOtherLayout(ref: ContainerRef): void {
  let manifest: PodManifest;
  try {
    manifest = readManifest(ref.dir);
  } catch {
    return;
  }
  requireLayout(ref.uuid, manifest);
}

/** The networks stage 1 gave the container: none when it says nothing that makes sense. */
function readNetworks(path: HostPath): NetworkFacts[] {
  let list: unknown;
  try {
    // No exception where there is none: it costs more than the rest.
    if (statSync(path, { throwIfNoEntry: false }) === undefined) return [];
    list = JSON.parse(readBounded(path, MAX_LIST_BYTES));
  } catch {
    return [];
  }
  const text = (value: unknown) => (typeof value === "string" ? value : undefined);
  return (Array.isArray(list) ? list : []).flatMap((item: unknown) => {
    if (typeof item !== "object" || item === null || !("name" in item) || typeof item.name !== "string") return [];
    const addresses: unknown[] = "addresses" in item && Array.isArray(item.addresses) ? item.addresses : [];
    return {
      name: item.name,
      interface: "interface" in item ? text(item.interface) : undefined,
      addresses: addresses.flatMap((address) => text(address) ?? []),
    };
  });
}

export const readManifest = (dir: HostPath): PodManifest => parsePodManifest(manifestText(dir));

function manifestText(dir: HostPath): string {
  try {
    return readBounded(containerLayout(dir).manifest, MAX_MANIFEST_BYTES);
  } catch (error) {
    if (error instanceof RktError) throw error;
    throw new RktError("damaged-container", `cannot read the container manifest: ${errorText(error)}`, {
      cause: error,
    });
  }
}

export function readStage1Manifest(dir: HostPath): ImageManifest {
  return parseImageManifest(readBounded(containerLayout(dir).stage1Manifest, MAX_MANIFEST_BYTES));
}

/** Which rendered trees the container stands on. */
export function readTrees(dir: HostPath): TreesFile {
  try {
    return readTreesFile(dir);
  } catch (error) {
    throw new RktError("damaged-container", `cannot read the container's list of trees: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** By text: most containers have the same. */
const stage1Names = new Map<string, string>();

export function stage1Name(path: HostPath): string | undefined {
  try {
    const text = readBounded(path, MAX_MANIFEST_BYTES);
    const known = stage1Names.get(text);
    if (known !== undefined) return known;
    const { name } = parseImageManifest(text);
    stage1Names.set(text, name);
    return name;
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

/** PID_MAX_LIMIT of the kernel. */
export const MAX_PID = 2 ** 22;

/** The pid in the container's file, if that process really holds the container's lock. */
export function supervisor(dir: HostPath): number | undefined {
  const pid = readNumber(containerLayout(dir).pid, MAX_PID);
  return pid !== undefined && holdsDirectory(pid, statSync(dir)) ? pid : undefined;
}
