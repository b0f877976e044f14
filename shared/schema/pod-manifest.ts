/**
 * Pod manifests (pods.md, "Pod Manifest Schema"): the container manifest on
 * disk, and what `--pod-manifest` names. Every app must say which image it is
 * by ID: templates, which pods.md allows too, can't run.
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
import { type Era, eraOf } from "./legacy.ts";
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
import type { ExposedPort, Mount, PodManifest, RuntimeApp, Volume } from "./types.ts";
import { absolutePath, acIdentifier, acVersion, imageID, ipv4, octalMode, oneOf, pathInApp } from "./values.ts";

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

/** A list of objects with a name each of its own. */
function readNamed<T extends { name: string }>(list: Place, read: (field: Fields) => T): T[] {
  const members = items(list).map(fields);
  const result = members.map(read);
  unique(members.map((field, i) => [result[i]?.name ?? "", field("name")]));
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
    // As in the Go code, a source of "" is absent.
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
    mode: host ? undefined : optionalString(field("mode"), octalMode),
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
