/**
 * The container manifest: what was asked for and what the images say, resolved
 * so that no later stage has to look elsewhere. Pure.
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
import { widening } from "./widening.ts";

/** Whether an image was made when an image's ID was a SHA-256: its app knows no other when it asks for one. */
export const knownBySha256 = ({ acVersion }: ImageManifest): boolean => olderThan(specVersion(acVersion), "0.2.0");

export interface ContainerManifest {
  manifest: PodManifest;
  /** Volumes that nobody asked for, each with the app whose image says what is in it at first. */
  implicitVolumes: ReadonlyMap<string, string>;
  notes: Note[];
  /** What will not be as one might think; for the person. */
  warnings: string[];
}

/** A manifest from images, which stand in the order of the request's apps. */
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
  return withWidenings(result, circumstances, (i) => request.apps[i]?.isolators);
}

/** A manifest from one that somebody wrote: what it leaves to the images is filled in. */
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
    const section = app.app ?? appFromImage(manifest);
    return {
      ...own,
      image: { id, name: manifest.name, labels: manifest.labels },
      app: {
        ...section,
        isolators: overrideIsolators(section.isolators, isolators, { object: `app ${app.name}`, path: "isolators" }),
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
  return withWidenings(result, circumstances, (i) =>
    given.apps[i]?.app === undefined ? (given.apps[i]?.isolators ?? []) : undefined,
  );
}

/** Before 0.7.0 a mount named the mount point, which says where that is. */
function placedMounts(mount: TemplateMount, app: string, section: App): Mount[] {
  if (!("mountPoint" in mount)) return [mount];
  const points = section.mountPoints.filter(({ name }) => name === mount.mountPoint);
  if (points.length === 0)
    throw new RktError("no-mount-point", `app ${app}: there is no mount point "${mount.mountPoint}"`, {
      hint: "correct the pod manifest's mount, or give it a path",
    });
  return points.map(({ path }) => ({ volume: mount.volume, path }));
}

/** Before 0.3.0 a volume said which mount points it is for; that of its own name it gets in any case. */
function fulfilling({ volumes }: PodTemplate, section: App, mounts: readonly TemplateMount[]): Mount[] {
  return section.mountPoints.flatMap(({ name, path }) => {
    const volume = volumes.find(({ fulfills = [] }) => fulfills.includes(name));
    const taken = mounts.some((mount) => ("mountPoint" in mount ? mount.mountPoint === name : mount.path === path));
    return volume === undefined || taken ? [] : [{ volume: volume.name, path }];
  });
}

/** `asked`: in place of the image's isolators; undefined when the app has none of its image's. */
function withWidenings(
  { manifest, warnings, ...rest }: ContainerManifest,
  { unprotected = [] }: Circumstances,
  asked: (app: number) => readonly Isolator[] | undefined,
): ContainerManifest {
  const privateUsers = wantsPrivateUsers(manifest);
  const widenings = manifest.apps.flatMap((app, i) => {
    const instead = asked(i);
    return instead === undefined ? [] : widening(app, instead, { unprotected, privateUsers });
  });
  return { manifest, ...rest, warnings: [...warnings, ...widenings] };
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
  // Throws for what no stage would understand.
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
 * A container's manifest with what is asked for when it is started; the rest stays as it was prepared. `metadataUrl`:
 * "" for none; undefined leaves it.
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
