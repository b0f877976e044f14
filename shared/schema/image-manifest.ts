/**
 * Image manifests (aci.md, "Image Manifest Schema") of every version of the
 * spec, 0.1.0 to 0.8.11. Nothing of a manifest is trusted: what
 * `parseImageManifest` returns keeps the rules of docs/use/images.md.
 */

import { RktError } from "../errors.ts";
import { readAnnotations, readApp, readLabels, some, writeApp, writePair } from "./app.ts";
import { parseJson } from "./json.ts";
import { eraOf } from "./early-manifests.ts";
import {
  absent,
  type Fields,
  fields,
  finish,
  items,
  optionalInteger,
  optionalString,
  type Place,
  report,
  root,
  string,
} from "./place.ts";
import type { App, Dependency, ImageManifest, NameValue } from "./types.ts";
import { acIdentifier, acVersion, dependencyID, isPlaceholder, oneOf, pathInApp } from "./values.ts";

/** The version of the spec that rkt writes. */
export const APPC_VERSION = "0.8.11";

export interface ParseOptions {
  /** What errors call the document: `OBJECT: app.exec[0]: must be …`. */
  object?: string;
}

/** Kinds of 0.1.0. In the first, the members of the app section stood at the top; the second was for dependencies. */
const APP_KIND = "AppManifest";
const FILESET_KIND = "FilesetManifest";
const kindRule = oneOf("ImageManifest");

/** Throws ManifestError. Bytes must be UTF-8. */
export function parseImageManifest(input: string | Uint8Array, options: ParseOptions = {}): ImageManifest {
  const object = options.object ?? "manifest";
  const place = root(parseJson(input, object), object);
  const field = fields(place);
  const kind = field("acKind").value;
  const first = kind === APP_KIND || kind === FILESET_KIND;
  if (!first && kind !== "AppImageManifest") string(field("acKind"), kindRule);

  const version = string(field("acVersion"), acVersion);
  const era = eraOf(version, first);
  const app = field("app");
  return finish(place, {
    acVersion: version,
    acKind: "ImageManifest",
    name: string(field("name"), acIdentifier),
    labels: readImageLabels(field),
    app: kind === APP_KIND ? readApp(field, era) : absent(app) ? undefined : readApp(fields(app), era),
    dependencies: items(field("dependencies")).map((item) => readDependency(fields(item))),
    pathWhitelist: kind === FILESET_KIND ? readFileset(field("files")) : readPaths(items(field("pathWhitelist"))),
    annotations: readAnnotations(field("annotations")),
  });
}

/** In 0.1.0, version, os and arch were members instead of labels. */
function readImageLabels(field: Fields): NameValue[] {
  const labels = readLabels(field("labels"));
  for (const name of ["version", "os", "arch"]) {
    const value = optionalString(field(name));
    if (value === undefined) continue;
    if (labels.some((label) => label.name === name))
      report(field(name), `must not be given beside the label "${name}"`);
    else labels.push({ name, value });
  }
  return labels;
}

function readDependency(field: Fields): Dependency {
  const root = field("root");
  const id = field("imageID", "hash");
  if (!absent(root) && root.value !== "/") report(root, 'must be "/": dependencies below it ended with 0.1.0');
  return {
    imageName: string(field("imageName", "app", "name"), acIdentifier),
    imageID: isPlaceholder(id.value) ? undefined : optionalString(id, dependencyID),
    labels: readLabels(field("labels")),
    // As in the Go code, 0 is absent.
    size: optionalInteger(field("size"), 0, Number.MAX_SAFE_INTEGER) || undefined,
  };
}

function readPaths(places: Place[]): string[] {
  return places.map((path) => string(path, pathInApp));
}

/** Builders of 0.1.0 also listed the manifest itself, as "fileset". */
function readFileset(files: Place): string[] {
  return readPaths(items(files).filter((file) => file.value !== "fileset"));
}

/** JSON in the final form, with the spec's order of members; `actool validate` accepts it. */
export function formatImageManifest(manifest: ImageManifest): string {
  const json = {
    acKind: manifest.acKind,
    acVersion: APPC_VERSION,
    name: manifest.name,
    labels: some(manifest.labels.map(writePair)),
    app: manifest.app === undefined ? undefined : writeApp(manifest.app),
    dependencies: some(
      manifest.dependencies.map(({ imageName, imageID, labels, size }) => ({
        imageName,
        imageID,
        labels: some(labels.map(writePair)),
        size,
      })),
    ),
    pathWhitelist: some(manifest.pathWhitelist),
    annotations: some(manifest.annotations.map(writePair)),
  };
  return `${JSON.stringify(json, null, 2)}\n`;
}

// --- questions about images -------------------------------------------------------

/** A copy of the image's app section, which the caller may change. Throws "no-app" if the image has none. */
export function appFromImage(manifest: ImageManifest): App {
  if (manifest.app === undefined) {
    throw new RktError("no-app", `image ${manifest.name} has no app section`, {
      hint: "it is not made to run by itself; say with --exec what to run",
    });
  }
  return {
    ...manifest.app,
    exec: [...manifest.app.exec],
    supplementaryGIDs: [...manifest.app.supplementaryGIDs],
    eventHandlers: [...manifest.app.eventHandlers],
    environment: [...manifest.app.environment],
    isolators: [...manifest.app.isolators],
    mountPoints: [...manifest.app.mountPoints],
    ports: [...manifest.app.ports],
    userAnnotations: copyUserMap(manifest.app.userAnnotations),
    userLabels: copyUserMap(manifest.app.userLabels),
  };
}

/** The app of an image without an app section, when the user says what to run: as root, with nothing else. */
export function bareApp(exec: readonly string[]): App {
  return {
    exec: [...exec],
    user: "0",
    group: "0",
    supplementaryGIDs: [],
    eventHandlers: [],
    environment: [],
    isolators: [],
    mountPoints: [],
    ports: [],
    userAnnotations: copyUserMap({}),
    userLabels: copyUserMap({}),
  };
}

/** The copy has no prototype, because its names come from outside. */
function copyUserMap(map: Readonly<Record<string, string>>): Record<string, string> {
  return Object.assign(Object.create(null), map);
}

export function label(of: { readonly labels: readonly NameValue[] }, name: string): string | undefined {
  return annotation(of.labels, name);
}

export function annotation(list: readonly NameValue[], name: string): string | undefined {
  return list.find((entry) => entry.name === name)?.value;
}

/** The names of this host's architecture by kernels, Docker and Node.js. */
const HOST_ARCH: readonly (string | undefined)[] = ["amd64", "x86_64", "x86-64", "x64", undefined];

/**
 * Whether linux/amd64 can run an image. An image without os is for every host, whatever its arch (aci.md, "labels").
 */
export function imageMatchesHost(labels: readonly NameValue[]): boolean {
  const os = annotation(labels, "os");
  return os === undefined || (os === "linux" && HOST_ARCH.includes(annotation(labels, "arch")));
}

/** Throws "wrong-platform" when `imageMatchesHost` says no. */
export function requireHost(image: { readonly name: string; readonly labels: readonly NameValue[] }): void {
  if (imageMatchesHost(image.labels)) return;
  const platform = [label(image, "os"), label(image, "arch") ?? "any"].join("/");
  throw new RktError("wrong-platform", `image ${image.name} is made for ${platform}, this host is linux/amd64`, {
    hint: "get the image for linux/amd64",
  });
}
