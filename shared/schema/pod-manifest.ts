/**
 * Pod manifests (pods.md, "Pod Manifest Schema"). `parsePodManifest` reads the container manifest on disk, in which
 * every app has its image's ID. `parsePodTemplate` reads the file of `--pod-manifest`, of every version of the spec:
 * ContainerRuntimeManifests of 0.1.0 to 0.4.0, and pod manifests from 0.5.0 on, which may leave out an image's ID.
 */

import {
  MAX_ID,
  readAnnotations,
  readApp,
  readHostPort,
  readIsolators,
  readLabels,
  readName,
  readPort,
  readUserMap,
  some,
  writeApp,
  writeIsolator,
  writePair,
  writePort,
} from "./app.ts";
import { APPC_VERSION, type ParseOptions } from "./image-manifest.ts";
import { parseJson } from "./json.ts";
import { type Era, eraOf } from "./early-manifests.ts";
import {
  absent,
  boolean,
  type Fields,
  fields,
  finish,
  items,
  optionalBoolean,
  optionalInteger,
  optionalString,
  type Place,
  report,
  root,
  string,
  unique,
} from "./place.ts";
import type {
  ExposedPort,
  Mount,
  PodManifest,
  PodTemplate,
  RuntimeApp,
  TemplateApp,
  TemplateMount,
  TemplateVolume,
  Volume,
} from "./types.ts";
import {
  absolutePath,
  acIdentifier,
  acName,
  acVersion,
  dependencyID,
  imageID,
  ipv4,
  isPlaceholder,
  octalMode,
  oneOf,
  pathInApp,
  toACName,
} from "./values.ts";

const kindRule = oneOf("PodManifest");

/** Throws ManifestError. Bytes must be UTF-8. */
export function parsePodManifest(input: string | Uint8Array, options: ParseOptions = {}): PodManifest {
  const object = options.object ?? "container manifest";
  const place = root(parseJson(input, object), object);
  const field = fields(place);
  string(field("acKind"), kindRule);
  const version = string(field("acVersion"), acVersion);
  const era = eraOf(version, false);
  return finish(place, {
    acVersion: version,
    acKind: "PodManifest",
    apps: readNamed(field("apps"), (app) => readRuntimeApp(app, era)),
    volumes: readNamed(field("volumes"), (volume) => readVolume(volume, era)),
    isolators: readIsolators(field("isolators"), era),
    annotations: readAnnotations(field("annotations")),
    ports: items(field("ports")).map((item) => readExposedPort(fields(item), era)),
    userAnnotations: readUserMap(field("userAnnotations")),
    userLabels: readUserMap(field("userLabels")),
  });
}

/** The kind before 0.5.0. */
const CONTAINER_KIND = "ContainerRuntimeManifest";

/** Throws ManifestError. Bytes must be UTF-8. */
export function parsePodTemplate(input: string | Uint8Array, options: ParseOptions = {}): PodTemplate {
  const object = options.object ?? "pod manifest";
  const place = root(parseJson(input, object), object);
  const field = fields(place);
  const kind = field("acKind");
  const early = kind.value === CONTAINER_KIND;
  if (!early) string(kind, kindRule);
  const version = string(field("acVersion"), acVersion);
  const era = eraOf(version, false);
  return finish(place, {
    acVersion: version,
    acKind: "PodManifest",
    apps: readNamed(field("apps"), (app) => readTemplateApp(app, era, early), early ? ["app"] : []),
    volumes: readTemplateVolumes(field("volumes"), era),
    isolators: readIsolators(field("isolators"), era),
    annotations: readAnnotations(field("annotations")),
    ports: items(field("ports")).map((item) => readExposedPort(fields(item), era)),
    userAnnotations: readUserMap(field("userAnnotations")),
    userLabels: readUserMap(field("userLabels")),
  });
}

function readTemplateApp(field: Fields, era: Era, early: boolean): TemplateApp {
  // Before 0.4.0, `app` was the name; later it is an app section that replaces the image's.
  const app = field("app");
  const section = typeof app.value === "string" && early ? undefined : app;
  const called = early && absent(field("name")) ? app : field("name");
  const imagePlace = field("image");
  const image = fields(early && absent(imagePlace) ? { ...imagePlace, value: {} } : imagePlace);
  // Before 0.4.0, an app had the name of its image.
  const imageName = early && absent(image("name")) ? called : image("name");
  const id = early && absent(image("id")) ? field("imageID") : image("id");
  const given = isPlaceholder(id.value) ? undefined : optionalString(id, dependencyID);
  const name = optionalString(imageName, acIdentifier);
  if (given === undefined && name === undefined && !absent(called) && !absent(imagePlace))
    report(image("name"), "is required where there is no id");
  const text = typeof called.value === "string" ? called.value : "";
  return {
    name: early
      ? string({ ...called, value: absent(called) ? undefined : appName(text) }, acName)
      : readName(called, era),
    image: { id: given, name, labels: readLabels(image("labels")) },
    app: section === undefined || absent(section) ? undefined : readApp(fields(section), era),
    readOnlyRootFS: boolean(field("readOnlyRootFS")),
    mounts: items(field("mounts")).map((item) => readTemplateMount(fields(item), era)),
    isolators: readIsolators(field("isolators"), era),
    annotations: readAnnotations(field("annotations")),
  };
}

/** The default name of an app: the last part of its image's name. */
const appName = (imageName: string): string => toACName(imageName.slice(imageName.lastIndexOf("/") + 1));

function readTemplateMount(field: Fields, era: Era): TemplateMount {
  const mountPoint = field("mountPoint");
  if (absent(mountPoint) || !absent(field("path"))) return readMount(field, era);
  return { volume: readName(field("volume"), era), mountPoint: readName(mountPoint, era) };
}

/** A volume without a name gets that of the first mount point that it fulfils. */
function readTemplateVolumes(list: Place, era: Era): TemplateVolume[] {
  const members = items(list).map(fields);
  const result = members.map((field) => {
    const fulfills = items(field("fulfills")).map((name) => readName(name, era));
    const [first] = items(field("fulfills"));
    const name = absent(field("name")) && first !== undefined ? first : field("name");
    return { ...readVolume((...names) => (names[0] === "name" ? name : field(...names)), era), fulfills };
  });
  unique(members.map((field, i) => [result[i]?.name ?? "", field("name")]));
  return result;
}

/** A list of objects, each with a unique name. */
function readNamed<T extends { name: string }>(
  list: Place,
  read: (field: Fields) => T,
  oldNames: readonly string[] = [],
): T[] {
  const members = items(list).map(fields);
  const result = members.map(read);
  unique(
    members.map((field, i) => [
      result[i]?.name ?? "",
      absent(field("name")) ? field(oldNames[0] ?? "name") : field("name"),
    ]),
  );
  return result;
}

function readRuntimeApp(field: Fields, era: Era): RuntimeApp {
  const image = fields(field("image"));
  const app = field("app");
  return {
    name: readName(field("name"), era),
    image: {
      id: string(image("id"), imageID),
      name: optionalString(image("name"), acIdentifier),
      labels: readLabels(image("labels")),
    },
    app: absent(app) ? undefined : readApp(fields(app), era),
    readOnlyRootFS: boolean(field("readOnlyRootFS")),
    mounts: items(field("mounts")).map((item) => readMount(fields(item), era)),
    annotations: readAnnotations(field("annotations")),
  };
}

function readMount(field: Fields, era: Era): Mount {
  const appVolume = field("appVolume");
  return {
    volume: readName(field("volume"), era),
    path: string(field("path"), pathInApp),
    appVolume: absent(appVolume) ? undefined : readVolume(fields(appVolume), era),
  };
}

const volumeKind = oneOf("host", "empty");

function readVolume(field: Fields, era: Era): Volume {
  const kind = string(field("kind"), volumeKind);
  const foreign = kind === "host" ? ["mode", "uid", "gid"] : kind === "empty" ? ["source"] : [];
  for (const name of foreign) {
    // As in the Go code, a source or a mode of "" is absent.
    if (!absent(field(name)) && field(name).value !== "") {
      report(field(name), `must not be given for a volume of kind "${kind}"`);
    }
  }
  const host = kind === "host";
  return {
    name: readName(field("name"), era),
    kind: host ? "host" : "empty",
    source: host ? string(field("source"), absolutePath) : undefined,
    readOnly: optionalBoolean(field("readOnly")),
    recursive: optionalBoolean(field("recursive")),
    mode: host || field("mode").value === "" ? undefined : optionalString(field("mode"), octalMode),
    uid: host ? undefined : optionalInteger(field("uid"), 0, MAX_ID),
    gid: host ? undefined : optionalInteger(field("gid"), 0, MAX_ID),
  };
}

function readExposedPort(field: Fields, era: Era): ExposedPort {
  const podPort = field("podPort");
  return {
    name: readName(field("name"), era),
    hostPort: readHostPort(field("hostPort")),
    // The Go code writes "" for an address that was never set.
    hostIP: field("hostIP").value === "" ? undefined : optionalString(field("hostIP"), ipv4),
    podPort: absent(podPort) ? undefined : readPort(fields(podPort), era),
  };
}

/** JSON in the final form, with the spec's order of members; `actool validate` accepts it. */
export function formatPodManifest(manifest: PodManifest): string {
  const json = {
    acVersion: APPC_VERSION,
    acKind: manifest.acKind,
    apps: manifest.apps.map(writeRuntimeApp),
    volumes: some(manifest.volumes.map(writeVolume)),
    isolators: some(manifest.isolators.map(writeIsolator)),
    annotations: some(manifest.annotations.map(writePair)),
    ports: some(
      manifest.ports.map(({ name, hostPort, hostIP, podPort }) => ({
        name,
        hostPort,
        hostIP,
        podPort: podPort === undefined ? undefined : writePort(podPort),
      })),
    ),
    userAnnotations: some(manifest.userAnnotations),
    userLabels: some(manifest.userLabels),
  };
  return `${JSON.stringify(json, null, 2)}\n`;
}

function writeRuntimeApp({ name, image, app, readOnlyRootFS, mounts, annotations }: RuntimeApp): object {
  return {
    name,
    image: { name: image.name, id: image.id, labels: some(image.labels.map(writePair)) },
    app: app === undefined ? undefined : writeApp(app),
    readOnlyRootFS: readOnlyRootFS || undefined,
    mounts: some(
      mounts.map(({ volume, path, appVolume }) => ({
        volume,
        path,
        appVolume: appVolume === undefined ? undefined : writeVolume(appVolume),
      })),
    ),
    annotations: some(annotations.map(writePair)),
  };
}

function writeVolume({ name, kind, source, readOnly, recursive, mode, uid, gid }: Volume): object {
  return { name, kind, source, readOnly, recursive, mode, uid, gid };
}
