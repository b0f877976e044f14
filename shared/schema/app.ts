/**
 * The parts that image and pod manifests share: names with values, isolators, and the app section (aci.md, "Image
 * Manifest Schema"). A reader takes a place and returns the final form. A writer takes the final form and returns JSON
 * in the spec's order, without absent, empty and default values.
 */

import { type Era, isolatorName, modernIsolator, narrowName } from "./early-manifests.ts";
import {
  absent,
  boolean,
  entries,
  type Fields,
  fields,
  integer,
  isObject,
  items,
  optionalInteger,
  optionalString,
  type Place,
  type Rule,
  report,
  reportMissing,
  string,
  unique,
} from "./place.ts";
import type { App, EventHandler, Isolator, MountPoint, NameValue, Port } from "./types.ts";
import {
  absolutePath,
  account,
  acIdentifier,
  acName,
  argument,
  httpUrl,
  oneOf,
  pathInApp,
  timestamp,
  variableName,
} from "./values.ts";

/** The id above it is -1, which chown(2) and setresgid(2) take for "no change". */
export const MAX_ID = 4_294_967_294;
const MAX_PORT = 65_535;

/** Undefined for an empty list or map, so that `JSON.stringify` leaves it out. */
export function some<T extends object>(list: T): T | undefined {
  return Object.keys(list).length === 0 ? undefined : list;
}

// --- names with values ----------------------------------------------------------

type Pair = [name: Place, value: Place];

/** A list of `{name, value}`, or, before 0.2.0, of `{name, val}`. */
function listed(place: Place): Pair[] {
  return items(place).map((item) => {
    const field = fields(item);
    return [field("name"), field("value", "val")];
  });
}

/** Such a list, or a plain object: annotations were one in 0.1.x, the environment before 0.3.0. */
function listedOrMapped(place: Place): Pair[] {
  if (!isObject(place.value)) return listed(place);
  return entries(place).map(([name, value]) => [{ ...value, value: name }, value]);
}

/** As in the spec's Go code, a missing value is the empty text. */
function readPairs(pairs: Pair[], nameRule: Rule, valueRule: (name: string) => Rule | undefined): NameValue[] {
  const result = pairs.map(([namePlace, valuePlace]) => {
    const name = string(namePlace, nameRule);
    const value = absent(valuePlace) ? { ...valuePlace, value: "" } : valuePlace;
    return { name, value: string(value, valueRule(name)) };
  });
  unique(pairs.map(([place], i) => [result[i]?.name ?? "", place]));
  return result;
}

const labelName: Rule = (name) => (name === "name" ? "must be another name" : acIdentifier(name));

/** Any os and arch are accepted here; `imageMatchesHost` checks them before an image is run. */
export function readLabels(place: Place): NameValue[] {
  return readPairs(listed(place), labelName, () => undefined);
}

const ANNOTATIONS = new Map<string, Rule>([
  ["created", timestamp],
  ["homepage", httpUrl],
  ["documentation", httpUrl],
]);

export function readAnnotations(place: Place): NameValue[] {
  return readPairs(listedOrMapped(place), acIdentifier, (name) => ANNOTATIONS.get(name));
}

/** A map whose names the user chose. It has no prototype, because a name may be any text. */
export function readUserMap(place: Place): Record<string, string> {
  const map: Record<string, string> = Object.create(null);
  for (const [name, value] of entries(place)) map[name] = optionalString(value) ?? "";
  return map;
}

// --- isolators -------------------------------------------------------------------

/** Values are not checked here: `isolators.ts` reads them. */
export function readIsolators(place: Place, era: Era): Isolator[] {
  return items(place).map((item) => {
    const field = fields(item);
    const namePlace = field("name");
    const name = typeof namePlace.value === "string" ? isolatorName(namePlace.value) : namePlace.value;
    const value = field("value", "val");
    if (value.value === undefined) reportMissing(value);
    return modernIsolator(
      { name: string({ ...namePlace, value: name }, acIdentifier), value: value.value ?? null },
      era,
    );
  });
}

// --- the app section -------------------------------------------------------------

export function readApp(field: Fields, era: Era): App {
  const workingDirectory = field("workingDirectory");
  return {
    exec: readExec(field("exec")),
    user: readAccount(field("user"), era),
    group: readAccount(field("group"), era),
    supplementaryGIDs: items(field("supplementaryGIDs", "supplementaryGroups")).map((gid) => integer(gid, 0, MAX_ID)),
    eventHandlers: readEventHandlers(field("eventHandlers")),
    // As in the Go code, "" is absent.
    workingDirectory: workingDirectory.value === "" ? undefined : optionalString(workingDirectory, absolutePath),
    environment: readPairs(listedOrMapped(field("environment")), variableName, () => argument),
    isolators: readIsolators(field("isolators"), era),
    mountPoints: items(field("mountPoints")).map((item) => readMountPoint(fields(item), era)),
    ports: items(field("ports")).map((item) => readPort(fields(item), era)),
    userAnnotations: readUserMap(field("userAnnotations")),
    userLabels: readUserMap(field("userLabels")),
  };
}

/** May be empty since 0.7.2. A text is split at white space; a text with quotes or other shell syntax is refused. */
function readExec(place: Place): string[] {
  if (typeof place.value !== "string") return items(place).map((word) => string(word, argument));
  const line = string(place, (text) =>
    /["'\\$`]/.test(text) ? "must be a list where words are quoted" : argument(text),
  );
  return line.split(/[ \t\n]+/).filter((word) => word !== "");
}

function readAccount(place: Place, era: Era): string {
  const missing = absent(place) || place.value === "";
  return missing && era.accountsOptional ? "0" : string(place, account);
}

const handlerName = oneOf("pre-start", "post-stop");

function readEventHandlers(place: Place): EventHandler[] {
  const names: [string, Place][] = [];
  const handlers = items(place).map((item): EventHandler => {
    const field = fields(item);
    const name = string(field("name"), handlerName);
    names.push([name, field("name")]);
    return { name: name === "pre-start" ? name : "post-stop", exec: readExec(field("exec")) };
  });
  unique(names);
  return handlers;
}

/** Reads the name of a mount point, port or volume. */
export function readName(place: Place, era: Era): string {
  const value = era.wideNames && typeof place.value === "string" ? narrowName(place.value) : place.value;
  return string({ ...place, value }, acName);
}

function readMountPoint(field: Fields, era: Era): MountPoint {
  return {
    name: readName(field("name"), era),
    path: string(field("path"), pathInApp),
    readOnly: boolean(field("readOnly")),
  };
}

/** As in the Go code, the protocol may be missing and a count of 0 is 1. */
export function readPort(field: Fields, era: Era): Port {
  const port = integer(field("port"), 1, MAX_PORT);
  const count = optionalInteger(field("count"), 0, MAX_PORT) || 1;
  if (port + count - 1 > MAX_PORT) report(field("count"), `must end at port ${MAX_PORT}, got ${count} from ${port}`);
  return {
    name: readName(field("name"), era),
    protocol: optionalString(field("protocol"), argument) || "tcp",
    port,
    count,
    socketActivated: boolean(field("socketActivated")),
  };
}

export function readHostPort(place: Place): number {
  return integer(place, 1, MAX_PORT);
}

export function writeApp(app: App): object {
  return {
    exec: app.exec,
    user: app.user,
    group: app.group,
    supplementaryGIDs: some(app.supplementaryGIDs),
    eventHandlers: some(app.eventHandlers.map(({ exec, name }) => ({ exec, name }))),
    workingDirectory: app.workingDirectory,
    environment: some(app.environment.map(writePair)),
    isolators: some(app.isolators.map(writeIsolator)),
    mountPoints: some(
      app.mountPoints.map(({ name, path, readOnly }) => ({ name, path, readOnly: readOnly || undefined })),
    ),
    ports: some(app.ports.map(writePort)),
    userAnnotations: some(app.userAnnotations),
    userLabels: some(app.userLabels),
  };
}

export function writePair({ name, value }: NameValue): object {
  return { name, value };
}

export function writeIsolator({ name, value }: Isolator): object {
  return { name, value };
}

export function writePort({ name, port, count, protocol, socketActivated }: Port): object {
  return {
    name,
    port,
    count: count === 1 ? undefined : count,
    protocol,
    socketActivated: socketActivated || undefined,
  };
}
