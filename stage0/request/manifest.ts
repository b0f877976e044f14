/**
 * Makes the container manifest from a request and the manifests of its images. It is complete, so that no later stage
 * needs to read anything else. Pure.
 */

import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { RktError } from "../../shared/errors.ts";
import { APPC_VERSION, appFromImage, requireHost } from "../../shared/schema/image-manifest.ts";
import { specVersion } from "../../shared/schema/early-manifests.ts";
import type {
  App,
  ImageManifest,
  Isolator,
  Mount,
  PodManifest,
  PodTemplate,
  RuntimeApp,
  TemplateMount,
} from "../../shared/schema/types.ts";
import type { Where } from "../../shared/schema/isolators.ts";
import { olderThan } from "../../shared/schema/values.ts";
import { stopSettings } from "../../shared/stop.ts";
import { checkPrivateIds, wantsPrivateUsers } from "../container/private-users.ts";
import {
  type Circumstances,
  record,
  requireCommands,
  requireShort,
  requireUniqueNames,
  type ResolvedImage,
  runtimeApp,
  strangeReadiness,
  factsOfTemplate,
} from "./apps.ts";
import { checkIsolators, overrideIsolators } from "./isolators.ts";
import { checkPorts, checkSockets, exposedPorts } from "./ports.ts";
import type { LaunchRequest, Note, RunRequest } from "./request.ts";
import { refuseReserved } from "./reserved-annotations.ts";
import { annotations, launchAnnotations } from "./stage1-annotations.ts";
import { mountVolumes, uniqueVolumes, unusedVolumes } from "./volumes.ts";
import { extraPermissions } from "./extra-permissions.ts";
import { deniedPriorities, withoutPriorities } from "./host-priorities.ts";

/** Whether an image is so early that image IDs were SHA-256: its app expects such an ID when it asks for one. */
export const knownBySha256 = ({ acVersion }: ImageManifest): boolean => olderThan(specVersion(acVersion), "0.2.0");

export interface ContainerManifest {
  manifest: PodManifest;
  /** Volumes that rkt adds for mount points, each with the app whose image provides its first contents. */
  implicitVolumes: ReadonlyMap<string, string>;
  notes: Note[];
  /** Warnings for the user, about requests that have no effect or another one than expected. */
  warnings: string[];
}

/** Makes the manifest from images, which are in the order of the request's apps. */
export function containerManifest(
  request: RunRequest,
  images: readonly ResolvedImage[],
  circumstances: Circumstances,
): ContainerManifest {
  const apps = request.apps.map((app, i) => runtimeApp(app, imageAt(images, i), request, circumstances));
  const result = complete(
    {
      acVersion: APPC_VERSION,
      acKind: "PodManifest",
      apps,
      volumes: uniqueVolumes(request.volumes),
      isolators: [],
      annotations: request.annotations,
      ports: exposedPorts(request.ports, apps),
      userAnnotations: record(request.userAnnotations),
      userLabels: record(request.userLabels),
    },
    request,
    circumstances,
  );
  return withPermissionNotes(result, images, circumstances, (i) => request.apps[i]?.isolators);
}

/** Makes the manifest from the user's pod manifest, and fills in what that leaves to the images. */
export function fromPodManifest(
  given: PodTemplate,
  request: RunRequest,
  images: readonly ResolvedImage[],
  circumstances: Circumstances,
): ContainerManifest {
  refuseReserved(given);
  const apps = given.apps.map((app, i): RuntimeApp => {
    const image = imageAt(images, i);
    const { id, manifest } = image;
    requireHost(manifest);
    const { isolators = [], mounts, ...own } = app;
    const where = { object: `app ${app.name}`, path: "isolators" };
    const section = app.app ?? withoutImagesPriorities(appFromImage(manifest), where);
    return {
      ...own,
      image: { id, name: manifest.name, labels: manifest.labels },
      app: {
        ...section,
        isolators: overrideIsolators(section.isolators, isolators, where),
      },
      mounts: [
        ...mounts.flatMap((mount) => placedMounts(mount, app.name, section)),
        ...fulfilling(given, section, mounts),
      ],
      annotations: factsOfTemplate(app.annotations, image, app.app !== undefined),
    };
  });
  const volumes = given.volumes.map(({ fulfills: _, ...volume }) => volume);
  if (request.interactive && apps.length > 1)
    throw new RktError(
      "bad-request",
      `--interactive gives the terminal to one app, and the pod manifest has ${apps.length}`,
    );
  const result = complete({ ...given, apps, volumes }, request, circumstances);
  return withPermissionNotes(result, images, circumstances, (i) =>
    given.apps[i]?.app === undefined ? (given.apps[i]?.isolators ?? []) : undefined,
  );
}

const withoutImagesPriorities = (app: App, where: Where): App => ({
  ...app,
  isolators: withoutPriorities(app.isolators, where),
});

/** The mounts for a mount of before 0.7.0, which names a mount point instead of a path. */
function placedMounts(mount: TemplateMount, app: string, section: App): Mount[] {
  if (!("mountPoint" in mount)) return [mount];
  const points = section.mountPoints.filter(({ name }) => name === mount.mountPoint);
  if (points.length === 0)
    throw new RktError("no-mount-point", `app ${app}: there is no mount point "${mount.mountPoint}"`, {
      hint: "correct the pod manifest's mount, or give it a path",
    });
  return points.map(({ path }) => ({ volume: mount.volume, path }));
}

/** Before 0.3.0 a volume listed the mount points that it is for. (`mountVolumes` adds the one with its own name.) */
function fulfilling({ volumes }: PodTemplate, section: App, mounts: readonly TemplateMount[]): Mount[] {
  return section.mountPoints.flatMap(({ name, path }) => {
    const volume = volumes.find(({ fulfills = [] }) => fulfills.includes(name));
    const taken = mounts.some((mount) => ("mountPoint" in mount ? mount.mountPoint === name : mount.path === path));
    return volume === undefined || taken ? [] : [{ volume: volume.name, path }];
  });
}

/**
 * Adds warnings about permissions that images ask for. `asked`: the isolators that replace the image's; undefined if
 * the app does not use its image's isolators.
 */
function withPermissionNotes(
  { manifest, warnings, ...rest }: ContainerManifest,
  images: readonly ResolvedImage[],
  { unprotected = [] }: Circumstances,
  asked: (app: number) => readonly Isolator[] | undefined,
): ContainerManifest {
  const privateUsers = wantsPrivateUsers(manifest);
  const extra = manifest.apps.flatMap((app, i) => {
    const instead = asked(i);
    if (instead === undefined) return [];
    const ofImage = images[i]?.manifest.app?.isolators ?? [];
    const where = { object: `app ${app.name}`, path: "isolators" };
    return [
      ...extraPermissions(app, instead, { unprotected, privateUsers }),
      ...deniedPriorities(app.name, ofImage, instead, where),
    ];
  });
  return { manifest, ...rest, warnings: [...warnings, ...extra] };
}

function imageAt(images: readonly ResolvedImage[], i: number): ResolvedImage {
  const image = images[i];
  if (image === undefined) throw new Error(`no image for app ${i}`);
  return image;
}

function complete(draft: PodManifest, request: RunRequest, circumstances: Circumstances): ContainerManifest {
  if (draft.apps.length === 0) throw new RktError("bad-request", "the container has no apps");
  requireUniqueNames(draft.apps);
  requireCommands(draft.apps);
  checkSockets(draft.apps);
  // Throws for annotations that stage 1 could not read.
  for (const app of draft.apps) stopSettings(app.name, app.annotations);
  const { apps, volumes, implicit, notes } = mountVolumes(draft.apps, draft.volumes, request);
  for (const { name } of volumes) requireShort("volume", name, "a mount point with this name cannot be served");
  const options = annotations(request, circumstances);
  const manifest = {
    ...draft,
    apps,
    volumes,
    annotations: [
      ...draft.annotations.filter(({ name }) => !options.some((option) => option.name === name)),
      ...options,
    ],
  };
  checkPorts(manifest);
  if (wantsPrivateUsers(manifest)) checkPrivateIds(manifest);
  return {
    manifest,
    implicitVolumes: implicit,
    notes,
    warnings: [
      ...unusedVolumes(manifest),
      ...strangeReadiness(manifest),
      ...checkIsolators(manifest, circumstances.unifiedCgroups),
    ],
  };
}

/**
 * Changes a prepared container's manifest by the options of its start. `metadataUrl`: "" removes it; undefined keeps
 * the prepared one.
 */
export function chosenAtLaunch(
  prepared: PodManifest,
  request: LaunchRequest,
  metadataUrl: string | undefined,
): PodManifest {
  if (request.interactive) requireOneApp(prepared.apps);
  const chosen: [string, string | undefined][] = [
    [ANNOTATIONS.network, request.network],
    ...(metadataUrl === undefined ? [] : ([[ANNOTATIONS.metadataUrl, metadataUrl]] as [string, string][])),
    ...launchAnnotations(request),
  ];
  const annotations = new Map(prepared.annotations.map(({ name, value }) => [name, value]));
  for (const [name, value] of chosen) if (value !== undefined) annotations.set(name, value);
  if (metadataUrl === "") annotations.delete(ANNOTATIONS.metadataUrl);
  const manifest = { ...prepared, annotations: [...annotations].map(([name, value]) => ({ name, value })) };
  checkPorts(manifest);
  return manifest;
}

function requireOneApp(apps: readonly RuntimeApp[]): void {
  if (apps.length > 1)
    throw new RktError("bad-request", `--interactive gives the terminal to one app, and the container has ${apps.length}`);
}
