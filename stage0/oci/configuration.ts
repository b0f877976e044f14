/**
 * Image configurations (image-spec, config.md), strictly read: how an image's
 * process is to be run, and the digests of its layers' archives. What rkt does
 * not know is passed over, as the specification has it.
 */

import { parseJson } from "../../shared/schema/json.ts";
import {
  absent,
  entries,
  fields,
  finish,
  items,
  optionalString,
  type Place,
  report,
  root,
  string,
} from "../../shared/schema/place.ts";
import type { Json } from "../../shared/schema/types.ts";
import { absolutePath, account, argument, pathInApp, variableName } from "../../shared/schema/values.ts";
import { digestRule } from "./descriptor.ts";
import { MAX_LAYERS } from "./manifest.ts";

export interface OciConfiguration {
  architecture: string;
  os: string;
  variant: string | undefined;
  created: string | undefined;
  author: string | undefined;
  /** Of each layer's uncompressed archive, lowest first. */
  diffIds: string[];
  user: { user: string; group: string | undefined };
  ports: ExposedPort[];
  environment: { name: string; value: string }[];
  entrypoint: string[];
  cmd: string[];
  /** Absolute paths in the image. */
  volumes: string[];
  workingDirectory: string | undefined;
  labels: [name: string, value: string][];
  stopSignal: string | undefined;
  /** As it stands. */
  healthcheck: Json | undefined;
}

export interface ExposedPort {
  port: number;
  /** Length of the range that starts at `port`. */
  count: number;
  protocol: string;
}

/** Throws "manifest-invalid". `object` is what errors call the document. */
export function parseConfiguration(input: Uint8Array, object = "image configuration"): OciConfiguration {
  const place = root(parseJson(input, object), object);
  const field = fields(place);
  const own = field("config");
  const config = fields(absent(own) ? { ...own, value: {} } : own);
  const healthcheck = config("Healthcheck").value;
  return finish(place, {
    architecture: string(field("architecture"), word),
    os: string(field("os"), word),
    variant: optionalText(field("variant"), word),
    created: optionalText(field("created")),
    author: optionalText(field("author")),
    diffIds: readDiffIds(field("rootfs")),
    user: readUser(config("User")),
    ports: keys(config("ExposedPorts")).flatMap(readPort),
    environment: items(config("Env")).map(readVariable),
    entrypoint: items(config("Entrypoint")).map((one) => string(one, argument)),
    cmd: items(config("Cmd")).map((one) => string(one, argument)),
    volumes: keys(config("Volumes")).map((one) => string(one, volumePath)),
    workingDirectory: readWorkingDirectory(config("WorkingDir")),
    labels: entries(config("Labels")).map(([name, value]) => [name, optionalString(value) ?? ""]),
    stopSignal: optionalText(config("StopSignal"), word),
    healthcheck: healthcheck === null ? undefined : healthcheck,
  });
}

/** Of a platform or a signal: it ends in a label or an annotation. */
const word = (text: string): string | undefined =>
  /^[\w.+-]{1,64}$/.test(text) ? undefined : 'must be 1 to 64 letters, digits, "_", ".", "+" or "-"';

/** Go writes "" for what is not there. */
const optionalText = (place: Place, rule?: (text: string) => string | undefined): string | undefined =>
  place.value === "" ? undefined : optionalString(place, rule);

/** The names of a map, each as a value of its own: Go's way to write a set. */
const keys = (place: Place): Place[] => entries(place).map(([name, value]) => ({ ...value, value: name }));

function readDiffIds(rootfs: Place): string[] {
  const field = fields(rootfs);
  string(field("type"), (text) => (text === "layers" ? undefined : 'must be "layers"'));
  const ids = items(field("diff_ids"));
  if (ids.length > MAX_LAYERS) report(field("diff_ids"), `must not be more than ${MAX_LAYERS}`);
  return ids.slice(0, MAX_LAYERS).map((id) => string(id, digestRule));
}

/** `user`, `uid`, `user:group`, `uid:gid`, and each mixed; nothing is root. */
function readUser(place: Place): OciConfiguration["user"] {
  const text = optionalText(place) ?? "0";
  const colon = text.indexOf(":");
  const user = colon < 0 ? text : text.slice(0, colon);
  const group = colon < 0 ? undefined : text.slice(colon + 1);
  for (const part of [user, group ?? "0"]) {
    // A path is appc's way to name a file's owner; in Docker it is a user of that name, whom no passwd file has.
    const rule = part.startsWith("/") ? "must be a name or a number" : part === "" ? undefined : account(part);
    if (rule !== undefined) report(place, rule);
  }
  return { user: user === "" ? "0" : user, group: group === "" ? undefined : group };
}

const MAX_PORT = 65_535;

function readPort(place: Place): ExposedPort[] {
  const [, first, last = first, protocol = "tcp"] =
    /^(\d{1,5})(?:-(\d{1,5}))?(?:\/([A-Za-z]{1,16}))?$/.exec(String(place.value)) ?? [];
  const [port, end] = [Number(first), Number(last)];
  if (first !== undefined && port >= 1 && end >= port && end <= MAX_PORT)
    return [{ port, count: end - port + 1, protocol: protocol.toLowerCase() }];
  report(place, 'must be a port like "80/tcp"');
  return [];
}

function readVariable(place: Place): { name: string; value: string } {
  const text = string(place, argument);
  const equals = text.indexOf("=");
  const name = equals < 0 ? text : text.slice(0, equals);
  const broken = variableName(name);
  if (text !== "" && broken !== undefined) report(place, `its name ${broken}`);
  return { name, value: equals < 0 ? "" : text.slice(equals + 1) };
}

const volumePath = (text: string): string | undefined =>
  pathInApp(text) ?? (/^[/.]*$/.test(text) ? "must be below the root directory" : undefined);

/** Docker takes a relative one from the root. */
function readWorkingDirectory(place: Place): string | undefined {
  const text = optionalText(place);
  if (text === undefined) return undefined;
  const path = text.startsWith("/") ? text : `/${text}`;
  const broken = absolutePath(path);
  if (broken !== undefined) report(place, broken);
  return path;
}
