/** Decides which volume is mounted where: the requested mounts, and mounts for the images' mount points. Pure. */

import { posix } from "node:path";
import { RktError } from "../../shared/errors.ts";
import type { MountPoint, PodManifest, RuntimeApp, Volume } from "../../shared/schema/types.ts";
import type { MountRequest, Note, RunRequest } from "./request.ts";

/** The same text for all spellings of a path. */
function cleanPath(path: string): string {
  return posix.resolve("/", path);
}

/** The mounts for all apps, replaced by the app's own at the same paths. */
export function mergeMounts(ofAll: readonly MountRequest[], own: readonly MountRequest[]): MountRequest[] {
  const taken = new Set(own.map(({ path }) => cleanPath(path)));
  return [...ofAll.filter(({ path }) => !taken.has(cleanPath(path))), ...own];
}

export function uniqueVolumes(volumes: readonly Volume[]): Volume[] {
  const names = new Set<string>();
  for (const { name } of volumes) {
    if (names.has(name)) throw new RktError("duplicate-volume", `volume "${name}" is given twice`);
    names.add(name);
  }
  return [...volumes];
}

interface OpenMountPoint {
  app: RuntimeApp;
  mountPoint: MountPoint;
}

/**
 * Gives every app its mounts: those that it has, and for each other mount point the volume of the same name (pods.md,
 * "mounts"). A mount point without a volume gets the bound path, or a new empty volume.
 */
export function mountVolumes(
  apps: readonly RuntimeApp[],
  volumes: readonly Volume[],
  request: RunRequest,
): { apps: RuntimeApp[]; volumes: Volume[]; implicit: ReadonlyMap<string, string>; notes: Note[] } {
  const known = new Set(volumes.map(({ name }) => name));
  const result = apps.map((app) => ({ ...app, mounts: app.mounts.map((mount) => ({ ...mount })) }));
  const open: OpenMountPoint[] = [];
  for (const app of result) {
    for (const { volume, appVolume } of app.mounts)
      if (appVolume === undefined && !known.has(volume))
        throw new RktError("no-such-volume", `app ${app.name}: there is no volume "${volume}" to mount`, {
          hint: `--volume ${volume}:/PATH, or --volume ${volume},kind=empty`,
        });
    const asked = [...app.mounts];
    for (const mountPoint of app.app?.mountPoints ?? []) {
      const mount = asked.find(({ path }) => cleanPath(path) === cleanPath(mountPoint.path));
      // The image's own spelling, because later stages find the mount point's readOnly by it.
      if (mount !== undefined) mount.path = mountPoint.path;
      else if (known.has(mountPoint.name)) app.mounts.push({ volume: mountPoint.name, path: mountPoint.path });
      else open.push({ app, mountPoint });
    }
  }
  const { volumes: further, implicit, notes } = volumesForOpen(open, request);
  for (const { app, mountPoint } of open) app.mounts.push({ volume: mountPoint.name, path: mountPoint.path });
  for (const app of result) requireDistinctTargets(app);
  return { apps: result, volumes: [...volumes, ...further], implicit, notes };
}

/**
 * Makes volumes for mount points that have none: a new volume for each name, which begins as a copy of the image's
 * directory, and a note, because its data are removed with the container. With a pod manifest such a mount point is an
 * error (pods.md).
 */
function volumesForOpen(
  open: readonly OpenMountPoint[],
  { boundPaths, podManifest }: RunRequest,
): { volumes: Volume[]; implicit: Map<string, string>; notes: Note[] } {
  const names = [...new Set(open.map(({ mountPoint }) => mountPoint.name))];
  const [source, second] = boundPaths;
  const [name] = names;
  if (second !== undefined)
    throw new RktError("ambiguous-volume", `bind:${source} and bind:${second} can't both serve the one mount point`, {
      hint: `name the mount points: ${names.map((n) => `--volume ${n}:/PATH`).join(" ") || "--volume NAME:/PATH"}`,
    });
  if (source !== undefined && name === undefined)
    throw new RktError("unused-volume", `bind:${source} serves no mount point: there is none without a volume`, {
      hint: `to mount it anyway: --volume NAME:${source} --mount volume=NAME,target=/PATH`,
    });
  if (source !== undefined && names.length > 1)
    throw new RktError("ambiguous-volume", `bind:${source} could serve any of the mount points ${names.join(", ")}`, {
      hint: `name the one that is meant: --volume ${name}:${source}`,
    });
  if (source !== undefined && name !== undefined)
    return { volumes: [{ name, kind: "host", source }], implicit: new Map(), notes: [] };
  if (name !== undefined && podManifest !== undefined) {
    const places = open.map(({ app, mountPoint }) => `${mountPoint.name} (${mountPoint.path} of app ${app.name})`);
    throw new RktError("no-volume", `no volume for the mount point ${places.join(", ")}`, {
      hint: `give the pod manifest a volume "${name}"`,
    });
  }
  return {
    volumes: names.map((name) => ({ name, kind: "empty" })),
    implicit: new Map(open.toReversed().map(({ app, mountPoint }) => [mountPoint.name, app.name])),
    notes: onePerName(open).map(({ app, mountPoint: { name } }) => ({
      text: `app ${app.name}: mount point "${name}" has no volume: a new one takes its place, and goes with the container`,
      hint: `--volume ${name}:/PATH gives it a directory of the host`,
    })),
  };
}

function onePerName(open: readonly OpenMountPoint[]): OpenMountPoint[] {
  const same = (a: OpenMountPoint, b: OpenMountPoint) => a.app === b.app && a.mountPoint.name === b.mountPoint.name;
  return open.filter((one, i) => open.findIndex((other) => same(one, other)) === i);
}

function requireDistinctTargets(app: RuntimeApp): void {
  const targets = new Set<string>();
  for (const { path } of app.mounts) {
    const target = cleanPath(path);
    if (target === "/")
      throw new RktError("bad-mount", `app ${app.name}: a volume can't be mounted on the app's root`, {
        hint: "mount it on a directory below",
      });
    if (targets.has(target))
      throw new RktError("duplicate-mount", `app ${app.name}: two volumes are to be mounted at ${target}`, {
        hint: `--mount volume=NAME,target=${target} after the image says which one`,
      });
    targets.add(target);
  }
}

export function unusedVolumes({ apps, volumes }: PodManifest): string[] {
  const mounted = new Set(apps.flatMap((app) => app.mounts.map(({ volume }) => volume)));
  return volumes.filter(({ name }) => !mounted.has(name)).map(({ name }) => `no app mounts the volume "${name}"`);
}
