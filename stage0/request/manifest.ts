/**
 * The container manifest: what was asked for and what the images say, resolved
 * so that no later stage has to look elsewhere. Pure.
 *
 * Of an app's environment the later of these counts: the caller's
 * (`--inherit-env`), the image's, `--set-env-file`, `--set-env`,
 * `--environment`.
 */

import { posix } from "node:path";
import { RktError } from "../../shared/errors.ts";
import {
  ANNOTATIONS,
  EARLY_IMAGE_ANNOTATION,
  IMAGE_SHA256_ANNOTATION,
  NOTIFY_ANNOTATION,
  NUMERIC_IDS_ANNOTATION,
  type Protection,
  INTERFACE_VERSION_ANNOTATION,
  STOP_SIGNAL_ANNOTATION,
  STOP_TIMEOUT_ANNOTATION,
} from "../../shared/contract/annotations.ts";
import { LAYOUT_VERSION, STAGE1_INTERFACE_VERSION } from "../../shared/contract/versions.ts";
import { networkRequest, portMappings, refusePorts } from "../../shared/network-request.ts";
import { specVersion } from "../../shared/schema/legacy.ts";
import { APPC_VERSION, appFromImage, bareApp, requireHost } from "../../shared/schema/image-manifest.ts";
import { quote } from "../../shared/schema/manifest-error.ts";
import type {
  App,
  ExposedPort,
  ImageID,
  ImageManifest,
  Isolator,
  Mount,
  MountPoint,
  NameValue,
  PodManifest,
  PodTemplate,
  RuntimeApp,
  TemplateMount,
  Volume,
} from "../../shared/schema/types.ts";
import { olderThan, toACName, variableName } from "../../shared/schema/values.ts";
import { stopSettings } from "../../shared/stop.ts";
import { checkIsolators, overrideIsolators } from "./isolators.ts";
import { checkPrivateIds, wantsPrivateUsers } from "../container/private-users.ts";
import { refuseReserved } from "./reserved-annotations.ts";
import { widening } from "./widening.ts";
import type {
  AppRequest,
  HostsEntry,
  LaunchRequest,
  MountRequest,
  PortRequest,
  ResolverConfig,
  RunRequest,
} from "./request.ts";

export interface ResolvedImage {
  /** All 128 digits. */
  id: ImageID;
  manifest: ImageManifest;
  /** `sha256-` and 64 hex digits: only in a container that knows its images by it (`knownBySha256`). */
  sha256?: string | undefined;
}

/** Whether an image was made when an image's ID was a SHA-256: its app knows no other when it asks for one. */
export const knownBySha256 = ({ acVersion }: ImageManifest): boolean => olderThan(specVersion(acVersion), "0.2.0");

/** What a request leaves to the moment. */
export interface Circumstances {
  /** The caller's environment; used with `--inherit-env`. */
  environment: readonly NameValue[];
  /** What the files of `--set-env-file` say, in order. */
  environmentFiles: readonly NameValue[];
  created: Date;
  debug: boolean;
  /** Where the networks are configured, when not in the usual places. */
  configDirs?: readonly string[] | undefined;
  /** The host has cgroup v2 alone. */
  unifiedCgroups?: boolean;
  /** What the apps are to do without. */
  unprotected?: readonly Protection[];
  /** Of a container that is registered with the metadata service. */
  metadataUrl?: string | undefined;
}

/** A line for the person, who asked for nothing strange and should know all the same. */
export interface Note {
  text: string;
  hint?: string | undefined;
}

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
      annotations: withFacts(app.annotations, image),
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

// --- apps -------------------------------------------------------------------------------

function runtimeApp(
  asked: AppRequest,
  image: ResolvedImage,
  request: RunRequest,
  circumstances: Circumstances,
): RuntimeApp {
  const { id, manifest } = image;
  requireHost(manifest);
  const app = asked.exec === undefined ? appFromImage(manifest) : withExec(manifest, asked.exec);
  const name = asked.name ?? defaultName(manifest.name);
  return {
    name,
    image: { id, name: manifest.name, labels: manifest.labels },
    app: {
      ...app,
      exec: [...app.exec, ...asked.arguments],
      user: asked.user ?? app.user,
      group: asked.group ?? app.group,
      supplementaryGIDs: asked.supplementaryGIDs ?? (namesAccount(asked) ? [] : app.supplementaryGIDs),
      workingDirectory: asked.workingDirectory ?? app.workingDirectory,
      environment: environment([
        request.environment.inherit ? expressible(circumstances.environment) : [],
        app.environment,
        circumstances.environmentFiles,
        request.environment.set,
        asked.environment,
      ]),
      isolators: overrideIsolators(app.isolators, asked.isolators, { object: `app ${name}`, path: "isolators" }),
      userAnnotations: { ...app.userAnnotations, ...record(asked.userAnnotations) },
      userLabels: { ...app.userLabels, ...record(asked.userLabels) },
    },
    readOnlyRootFS: asked.readOnlyRootFS,
    mounts: mergeMounts(request.mounts, asked.mounts),
    annotations: [...withFacts(asked.annotations, image), ...numericAccount(asked)],
  };
}

/** Who is given another user or group than the image's is not meant to have the image's further groups (disk, shadow). */
const namesAccount = ({ user, group }: AppRequest): boolean => user !== undefined || group !== undefined;

/** What the image may have as names is a number on the command line (CVE-2016-3697). */
function numericAccount(asked: AppRequest): NameValue[] {
  const numbers = (["user", "group"] as const).filter((what) => /^[0-9]+$/.test(asked[what] ?? ""));
  return numbers.length === 0 ? [] : [{ name: NUMERIC_IDS_ANNOTATION, value: numbers.join(",") }];
}

const OF_IMAGES: readonly string[] = [NOTIFY_ANNOTATION, STOP_SIGNAL_ANNOTATION, STOP_TIMEOUT_ANNOTATION];

/**
 * What the stages need to know of the image: whether the app says that it is ready, and how it is asked to end, unless
 * the user knows better; and what the app's environment and its image's ID were when the image was made.
 */
function withFacts(own: readonly NameValue[], { manifest, sha256 }: ResolvedImage): NameValue[] {
  const facts = manifest.annotations.filter(({ name }) => OF_IMAGES.includes(name));
  const version = specVersion(manifest.acVersion);
  if (olderThan(version, "0.6.0")) facts.push({ name: EARLY_IMAGE_ANNOTATION, value: version });
  if (sha256 !== undefined) facts.push({ name: IMAGE_SHA256_ANNOTATION, value: sha256 });
  return [...facts.filter((fact) => !own.some(({ name }) => name === fact.name)), ...own];
}

/** The image's app with another command; an image without an app section then needs none. */
function withExec(manifest: ImageManifest, exec: string): App {
  return manifest.app === undefined ? bareApp([exec]) : { ...appFromImage(manifest), exec: [exec] };
}

/** The last component of the image's name: `example.com/worker` becomes `worker`. */
function defaultName(imageName: string): string {
  const name = toACName(posix.basename(imageName));
  if (name === "")
    throw new RktError("no-app-name", `image ${imageName} gives its app no name`, { hint: "give one with --name" });
  return name;
}

/** Files and units are called by it, with up to 55 bytes around; a file name ends at 255 (NAME_MAX). */
const MAX_NAME = 200;

function requireShort(what: string, name: string, hint: string): void {
  if (name.length > MAX_NAME)
    throw new RktError("long-name", `the name of ${what} ${name.slice(0, 20)}… is longer than ${MAX_NAME} bytes`, {
      hint,
    });
}

function requireUniqueNames(apps: readonly RuntimeApp[]): void {
  const names = new Set<string>();
  for (const { name } of apps) {
    requireShort("app", name, "--name after the image gives it another one");
    if (names.has(name))
      throw new RktError("duplicate-app", `two apps are called "${name}"`, {
        hint: "give one another name: --name after its image",
      });
    names.add(name);
  }
}

function requireCommands(apps: readonly RuntimeApp[]): void {
  for (const { name, app } of apps) {
    if (app?.exec.length === 0)
      throw new RktError("no-exec", `app ${name}: nothing says what to run`, {
        hint: "say it with --exec after the image, or in the pod manifest",
      });
    const handler = app?.eventHandlers.find(({ exec }) => exec.length === 0);
    if (handler !== undefined)
      throw new RktError("no-exec", `app ${name}: its ${handler.name} handler does not say what to run`, {
        hint: "mend the image's manifest",
      });
  }
}

function strangeReadiness({ apps }: PodManifest): string[] {
  return apps.flatMap(({ name, annotations }) => {
    const { value } = annotations.find((one) => one.name === NOTIFY_ANNOTATION) ?? {};
    if (value === undefined || value === "true" || value === "false") return [];
    return [`app ${name}: the annotation ${NOTIFY_ANNOTATION} is ${quote(value)}, neither true nor false: no effect`];
  });
}

/** The lists in order of growing weight; a variable keeps the place it was first seen at. */
function environment(lists: readonly (readonly NameValue[])[]): NameValue[] {
  const variables = new Map(lists.flat().map(({ name, value }) => [name, value]));
  return [...variables].map(([name, value]) => ({ name, value }));
}

/** Shells export names (`BASH_FUNC_x%%`) that a manifest can't hold. */
function expressible(variables: readonly NameValue[]): NameValue[] {
  return variables.filter(({ name }) => variableName(name) === undefined);
}

/** Without a prototype, as these have names from outside. */
function record(pairs: readonly NameValue[]): Record<string, string> {
  const result: Record<string, string> = Object.create(null);
  for (const { name, value } of pairs) result[name] = value;
  return result;
}

// --- mounts and volumes -----------------------------------------------------------------

/** One spelling for one place. */
function cleanPath(path: string): string {
  return posix.resolve("/", path);
}

/** The container's mounts, but for places where the app has its own. */
function mergeMounts(ofAll: readonly MountRequest[], own: readonly MountRequest[]): MountRequest[] {
  const taken = new Set(own.map(({ path }) => cleanPath(path)));
  return [...ofAll.filter(({ path }) => !taken.has(cleanPath(path))), ...own];
}

function uniqueVolumes(volumes: readonly Volume[]): Volume[] {
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
 * Gives every app its mounts: those it has, and the volume of the same name
 * for each mount point at whose path there is none (pods.md, "mounts"). What
 * is still open gets the bound path, or an empty volume.
 */
function mountVolumes(
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
      // In the image's own spelling, by which later stages find its readOnly.
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
 * Volumes for mount points that have none. The one place that decides what
 * becomes of them: a volume each with what the image has there, which mount points of one name share
 * as they would share any other, and a note, because its data go with the
 * container. Who writes a pod manifest must satisfy them all (pods.md).
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

function unusedVolumes({ apps, volumes }: PodManifest): string[] {
  const mounted = new Set(apps.flatMap((app) => app.mounts.map(({ volume }) => volume)));
  return volumes.filter(({ name }) => !mounted.has(name)).map(({ name }) => `no app mounts the volume "${name}"`);
}

// --- ports ------------------------------------------------------------------------------

/** The apps of a container share its ports, and one socket is one app's. */
function checkSockets(apps: readonly RuntimeApp[]): void {
  const taken = new Map<string, string>();
  for (const { name: app, app: section } of apps)
    for (const { name, protocol, port, count } of section?.ports.filter(({ socketActivated }) => socketActivated) ??
      []) {
      if (protocol !== "tcp" && protocol !== "udp")
        throw new RktError(
          "bad-port",
          `app ${app}: port ${name} is to be listened on, and its protocol is ${protocol}`,
          {
            hint: "an app can be started with sockets of tcp and udp",
          },
        );
      for (let number = port; number < port + count; number++) {
        const key = `${number}/${protocol}`;
        const other = taken.get(key);
        if (other !== undefined)
          throw new RktError("duplicate-port", `app ${other} and app ${app} are both to be started with port ${key}`, {
            hint: "run them in containers of their own, each with --net",
          });
        taken.set(key, app);
      }
    }
}

/** What stage 1 would refuse, with the container made already. */
function checkPorts(manifest: PodManifest): void {
  const ports = portMappings(manifest);
  const network = networkRequest(manifest);
  if (network === "host" || network === "none") refusePorts(network, ports);
}

function exposedPorts(asked: readonly PortRequest[], apps: readonly RuntimeApp[]): ExposedPort[] {
  const there = apps.flatMap(({ app }) => app?.ports ?? []);
  return asked.map(({ name, hostPort, hostIP }) => {
    const [port, second] = there.filter((candidate) => candidate.name === name);
    if (second !== undefined)
      throw new RktError("ambiguous-port", `more than one app has a port called ${name}`, {
        hint: `give the number: --port ${second.port}:${hostPort}`,
      });
    return { name, hostPort, hostIP, podPort: port === undefined ? numberedPort(name, there) : undefined };
  });
}

/** `80` or `80-udp`: a port that no image names. */
function numberedPort(name: string, there: readonly { name: string }[]): ExposedPort["podPort"] {
  const [, digits, protocol = "tcp"] = /^([0-9]{1,5})(?:-(tcp|udp))?$/.exec(name) ?? [];
  const port = Number(digits);
  if (port >= 1 && port <= 65_535) return { name, protocol, port, count: 1, socketActivated: false };
  throw new RktError("no-such-port", `no app has a port called ${name}`, {
    hint: there.length === 0 ? "give its number" : `there are ${there.map((other) => other.name).join(", ")}`,
  });
}

// --- a prepared container -----------------------------------------------------------------

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

// --- options for stage 1 ----------------------------------------------------------------

function annotations(
  request: RunRequest,
  { created, debug, unprotected = [], metadataUrl, configDirs }: Circumstances,
): NameValue[] {
  const { layoutVersion, network } = ANNOTATIONS;
  const options: [string, string | undefined][] = [
    [layoutVersion, LAYOUT_VERSION],
    [INTERFACE_VERSION_ANNOTATION, STAGE1_INTERFACE_VERSION],
    [ANNOTATIONS.created, created.toISOString()],
    [network, request.network ?? "host"],
    [ANNOTATIONS.privateUsers, request.privateUsers ? "true" : undefined],
    [ANNOTATIONS.mappedVolumes, request.mappedVolumes.length > 0 ? request.mappedVolumes.join() : undefined],
    ...launchAnnotations(request),
    [ANNOTATIONS.configDirs, configDirs?.join(":")],
    [ANNOTATIONS.metadataUrl, metadataUrl],
    [ANNOTATIONS.insecure, unprotected.length > 0 ? unprotected.join() : undefined],
    [ANNOTATIONS.debug, debug ? "true" : undefined],
  ];
  return options.flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }]));
}

function launchAnnotations({ hostname, interactive, resolver, hosts }: LaunchRequest): [string, string | undefined][] {
  return [
    [ANNOTATIONS.hostname, hostname],
    [ANNOTATIONS.interactive, interactive ? "true" : undefined],
    [ANNOTATIONS.resolvConf, typeof resolver === "string" ? word(resolver) : resolverFile(resolver)],
    [ANNOTATIONS.hosts, hosts === "host" ? "host" : hostsLines(hosts)],
  ];
}

function word(resolver: "default" | "host" | "none"): string | undefined {
  return resolver === "default" ? undefined : resolver;
}

/** resolv.conf(5) */
function resolverFile({ servers, domain, search, options }: ResolverConfig): string {
  const lines = servers.map((server) => `nameserver ${server}`);
  if (domain !== undefined) lines.push(`domain ${domain}`);
  if (search.length > 0) lines.push(`search ${search.join(" ")}`);
  if (options.length > 0) lines.push(`options ${options.join(" ")}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** hosts(5) */
function hostsLines(entries: readonly HostsEntry[]): string | undefined {
  if (entries.length === 0) return undefined;
  return entries.map(({ address, names }) => `${address}\t${names.join(" ")}\n`).join("");
}
