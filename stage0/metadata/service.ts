/**
 * Answers requests to the metadata service (appc spec, ace.md "App Container Metadata Service"), also in the forms of
 * earlier versions: `container/…` for `pod/…`, `uid` for `uuid`, annotations as a directory of names.
 *
 * Pure: `pods` identifies the container that asks. A request is not trusted, and a container gets only its own data.
 */

import { createHash } from "node:crypto";
import { EARLY_IMAGE_ANNOTATION, IMAGE_SHA256_ANNOTATION } from "../../shared/contract/annotations.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import type {
  App,
  ImageManifest,
  Json,
  MountPoint,
  NameValue,
  PodManifest,
  RuntimeApp,
} from "../../shared/schema/types.ts";
import { olderThan } from "../../shared/schema/values.ts";
import { formatPodManifest } from "../../shared/schema/pod-manifest.ts";
import { formFields, fromBase64 } from "./form.ts";

export interface MetadataRequest {
  method: string;
  /** The URL's path, percent-encoded. */
  path: string;
  /** Header Metadata-Flavor. */
  flavor: string | undefined;
  contentType: string | undefined;
  /** Undefined: not read yet. */
  body: Uint8Array | undefined;
  /** The client's IP address. */
  source: string;
}

export interface Answer {
  status: number;
  type: string;
  body: string;
  /** The header Allow of a 405. */
  allow?: string;
}

export interface Pod {
  uuid: string;
  manifest: PodManifest;
  /** The manifest of the app's image. */
  imageManifest(app: RuntimeApp): ImageManifest;
  /** Its exact text in the image. */
  imageManifestText(app: RuntimeApp): string;
}

/** The running containers that are registered. */
export interface Pods {
  byToken(token: string): Pod | undefined;
  byAddress(address: string): Pod | undefined;
}

/** What is signed: bytes, or the SHA-512 of bytes, which need not be there for the verification. */
export type Signed = "content" | "digest";

export interface Identity {
  /** HMAC-SHA512 with the pod's key for that kind. A signature of one kind is not valid for the other. */
  sign(uuid: string, kind: Signed, content: Uint8Array): Buffer;
  /** Takes constant time. False if `uuid` is no UUID. */
  verify(uuid: string, kind: Signed, content: Uint8Array, signature: Uint8Array): boolean;
}

const ASCII = "text/plain; charset=us-ascii";
const UTF8 = "text/plain; charset=utf-8";
const JSON_TYPE = "application/json";

const BASE = "acMetadata";
const FLAVOR = "AppContainer";
/** The first service demanded these words, which were copied from a sentence of the specification. */
const EARLY_FLAVOR = "AppContainer header";

/** Answers a request. Undefined: the body is needed; then the request is one that a container may make. */
export function answer(request: MetadataRequest, pods: Pods, identity: Identity): Answer | undefined {
  if (request.method !== "GET" && request.method !== "POST") return notAllowed("GET, POST");
  const segments = decoded(request.path);
  if (segments === undefined) return refusal(400, "the path is not well-formed");
  const token = segments[0] === BASE ? undefined : segments.shift();
  const [base, version, group, ...entry] = segments;
  if (base !== BASE || version !== "v1") return refusal(404, `there is nothing but /${BASE}/v1 here`);
  if (request.flavor !== FLAVOR && request.flavor !== EARLY_FLAVOR)
    return refusal(403, `the request has no header "Metadata-Flavor: ${FLAVOR}"`);
  const pod = token === undefined ? pods.byAddress(request.source) : pods.byToken(token);
  if (pod === undefined) return refusal(403, "no running container is registered for this request");
  switch (group) {
    case "pod":
      return podAnswer(pod, entry, request, identity);
    case "container":
      return containerAnswer(pod, entry, request, identity);
    case "apps":
      return appAnswer(pod, entry, request);
    default:
      return notFound();
  }
}

const refusal = (status: number, reason: string): Answer => ({ status, type: UTF8, body: `${reason}\n` });
const notAllowed = (allow: string): Answer => ({ ...refusal(405, `this takes ${allow}`), allow });
const notFound = (): Answer => refusal(404, "there is no such metadata");
const ok = (type: string, body: string): Answer => ({ status: 200, type, body });

/** The decoded segments of a path; undefined if one is not well-formed. */
function decoded(path: string): string[] | undefined {
  try {
    return path.replace(/^\//, "").split("/").map(decodeURIComponent);
  } catch {
    return undefined;
  }
}

/** Joins segments, to compare them with the specification's words. A slash within a segment stays escaped. */
const words = (segments: readonly string[]): string => segments.map(encodeURIComponent).join("/");

function podAnswer(
  pod: Pod,
  entry: readonly string[],
  request: MetadataRequest,
  identity: Identity,
): Answer | undefined {
  switch (words(entry)) {
    case "annotations":
      return read(request, JSON_TYPE, () => JSON.stringify(pod.manifest.annotations));
    case "manifest":
      return read(request, JSON_TYPE, () => formatPodManifest(pod.manifest));
    case "uuid":
      return read(request, ASCII, () => pod.uuid);
    default:
      return hmacAnswer(pod, entry, request, identity, "pod");
  }
}

/** Answers in the form of the service before 0.5.0 of the specification. */
function containerAnswer(
  pod: Pod,
  entry: readonly string[],
  request: MetadataRequest,
  identity: Identity,
): Answer | undefined {
  switch (entry[0]) {
    case "annotations":
      return directoryAnswer(pod.manifest.annotations, entry.slice(1), request);
    case "manifest":
      return entry.length === 1 ? read(request, JSON_TYPE, () => containerRuntimeManifest(pod)) : notFound();
    case "uid":
      return entry.length === 1 ? read(request, ASCII, () => pod.uuid) : notFound();
    default:
      return hmacAnswer(pod, entry, request, identity, "container");
  }
}

/**
 * `NAME/annotations`, `NAME/image/manifest`, `NAME/image/id`. An app's name is one segment, an image's may have
 * several.
 */
function appAnswer(pod: Pod, entry: readonly string[], request: MetadataRequest): Answer {
  for (let end = 1; end < entry.length; end++) {
    const name = entry.slice(0, end).join("/");
    const app = findApp(pod, name);
    if (app === undefined) continue;
    const rest = entry.slice(end);
    switch (words(rest)) {
      case "annotations":
        return read(request, JSON_TYPE, () => JSON.stringify(appAnnotations(pod, app)));
      case "image/manifest":
        return read(request, JSON_TYPE, () => pod.imageManifestText(app));
      case "image/id":
        // An app of before 0.2.0 asks by the image's name.
        return read(request, ASCII, () => (name === app.image.name ? earlyId(app) : app.image.id));
    }
    if (rest[0] === "annotations") return directoryAnswer(appAnnotations(pod, app), rest.slice(1), request);
  }
  return notFound();
}

/** Early apps had no names of their own, but those of their images. */
function findApp({ manifest: { apps } }: Pod, name: string): RuntimeApp | undefined {
  return apps.find((app) => app.name === name) ?? apps.find((app) => app.image.name === name);
}

/** The image's annotations, replaced by those of the app in the pod manifest (ace.md "App Metadata"). */
function appAnnotations(pod: Pod, app: RuntimeApp): NameValue[] {
  const merged = new Map(pod.imageManifest(app).annotations.map(({ name, value }) => [name, value]));
  for (const { name, value } of app.annotations) merged.set(name, value);
  return [...merged].map(([name, value]) => ({ name, value }));
}

/** `annotations/`: the names, one per line, without a newline at the end. `annotations/NAME`: its value. */
function directoryAnswer(annotations: readonly NameValue[], path: readonly string[], request: MetadataRequest): Answer {
  const name = path.join("/");
  if (name === "") return read(request, ASCII, () => annotations.map((one) => one.name).join("\n"));
  const found = annotations.find((one) => one.name === name);
  return found === undefined ? notFound() : read(request, UTF8, () => found.value);
}

function read(request: MetadataRequest, type: string, body: () => string): Answer {
  if (request.method !== "GET") return notAllowed("GET");
  return ok(type, body());
}

/**
 * `hmac/sign` and `hmac/verify`. Before 0.2.0 the body was the object itself, and a signature began with the object's
 * digest, so that it could be verified without the object. Below `container` this still works.
 */
function hmacAnswer(
  pod: Pod,
  entry: readonly string[],
  request: MetadataRequest,
  identity: Identity,
  group: "pod" | "container",
): Answer | undefined {
  const action = words(entry);
  if (action !== "hmac/sign" && action !== "hmac/verify") return notFound();
  if (request.method !== "POST") return notAllowed("POST");
  const early = group === "container";
  const type = mediaType(request);
  const isObject = type !== FORM;
  if (isObject && !(early && action === "hmac/sign" && !type.startsWith("multipart/")))
    return refusal(415, `this takes a form, ${FORM}`);
  const { body } = request;
  if (body === undefined) return undefined;
  if (isObject) return ok(ASCII, earlySign(identity, pod.uuid, body));
  const form = formFields(body);
  if (form === undefined) return refusal(400, "the form has a field twice");
  const content = form.get("content");
  if (action === "hmac/sign") {
    if (content === undefined) return refusal(400, "the form has no content");
    return ok(ASCII, identity.sign(pod.uuid, "content", content).toString("base64"));
  }
  const uuid = (form.get("uuid") ?? form.get("uid"))?.toString();
  const given = form.get("signature")?.toString();
  if (uuid === undefined || given === undefined) return refusal(400, "the form has no uuid or no signature");
  if (content === undefined && !early) return refusal(400, "the form has no content");
  const signature = fromBase64(given);
  const good =
    signature !== undefined &&
    (content === undefined
      ? earlyVerify(identity, uuid, signature)
      : identity.verify(uuid, "content", content, signature));
  if (!good) return refusal(403, "the signature is not that container's");
  return ok(ASCII, "");
}

function earlySign(identity: Identity, uuid: string, object: Uint8Array): string {
  const digest = createHash("sha512").update(object).digest();
  return Buffer.concat([digest, identity.sign(uuid, "digest", digest)]).toString("base64");
}

function earlyVerify(identity: Identity, uuid: string, signature: Buffer): boolean {
  const [digest, mac] = [signature.subarray(0, DIGEST_LENGTH), signature.subarray(DIGEST_LENGTH)];
  return identity.verify(uuid, "digest", digest, mac);
}

/** Bytes of a SHA-512. */
const DIGEST_LENGTH = 64;

const FORM = "application/x-www-form-urlencoded";

const mediaType = ({ contentType = "" }: MetadataRequest): string =>
  contentType.split(";")[0]?.trim().toLowerCase() ?? "";

/** An image's ID for early apps: if an image of the container is of before 0.2.0, a SHA-256. */
const earlyId = ({ annotations, image }: RuntimeApp): string =>
  annotation(annotations, IMAGE_SHA256_ANNOTATION) ?? image.id;

/**
 * The container manifest in the form of ContainerRuntimeManifest, as the version of the oldest image in the container
 * has it. Before 0.2.0, annotations were an object. Before 0.4.0, the values of isolators were texts, and an image's
 * isolators were only in its own manifest: both are left out. Before 0.3.0 a volume listed the mount points that it
 * fulfils, later it had a name: it gets both.
 */
function containerRuntimeManifest({ uuid, manifest }: Pod): string {
  const versions = manifest.apps.map(({ annotations }) => annotation(annotations, EARLY_IMAGE_ANNOTATION));
  const before = (version: string) => versions.some((one) => one !== undefined && olderThan(one, version));
  const annotated = (list: readonly NameValue[]): Json =>
    before("0.2.0")
      ? Object.fromEntries(list.map(({ name, value }) => [name, value]))
      : list.map(({ name, value }) => ({ name, value }));
  return JSON.stringify({
    acVersion: manifest.acVersion,
    acKind: "ContainerRuntimeManifest",
    uuid,
    apps: manifest.apps.map((one) => earlyApp(one, annotated, before)),
    volumes: manifest.volumes.map(({ name, kind, source, readOnly }) => ({
      name,
      kind,
      ...(source === undefined ? {} : { source }),
      readOnly: readOnly === true,
      fulfills: fulfilled(manifest, name),
    })),
    isolators: before("0.4.0") ? [] : manifest.isolators,
    annotations: annotated(manifest.annotations),
  });
}

/** An early app has its image's name, as `app` in the specification's text and as `name` in its code. */
function earlyApp(
  runtime: RuntimeApp,
  annotated: (list: readonly NameValue[]) => Json,
  before: (version: string) => boolean,
): object {
  const { name, image, app, mounts, annotations } = runtime;
  const called = image.name ?? name;
  return {
    name: called,
    // From 0.4.0 on, `app` is an app section.
    ...(before("0.4.0") ? { app: called } : {}),
    imageID: earlyId(runtime),
    image: { name: called, id: earlyId(runtime) },
    mounts: mounts.flatMap(({ volume, path }) =>
      mountPointsAt(app, path).map((mountPoint) => ({ volume, mountPoint: mountPoint.name })),
    ),
    isolators: before("0.4.0") ? [] : (app?.isolators ?? []),
    annotations: annotated(annotations),
  };
}

const mountPointsAt = (app: App | undefined, path: string): MountPoint[] =>
  (app?.mountPoints ?? []).filter((mountPoint) => mountPoint.path === path);

/** The names of all apps' mount points at which a volume is mounted. */
function fulfilled({ apps }: PodManifest, volume: string): string[] {
  const points = apps.flatMap(({ app, mounts }) =>
    mounts.filter((mount) => mount.volume === volume).flatMap(({ path }) => mountPointsAt(app, path)),
  );
  return [...new Set(points.map(({ name }) => name))];
}
