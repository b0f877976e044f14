/**
 * What a person may call an image: a hash, a URL, a file, or a name with
 * labels. Owns the syntax of each and the rule that tells them apart; trusts
 * nothing. Pure: no I/O, so a bare `x.aci` is a file whether it exists or not.
 *
 * Source: appc spec, types.md "AC Identifier", discovery.md "Validation".
 */

import { arch, platform } from "node:process";
import { fileURLToPath } from "node:url";
import { usageError, withoutCredentials } from "../../shared/errors.ts";
import type { ACIdentifier, ImageID, NameValue } from "../../shared/schema/types.ts";
import { acIdentifier } from "../../shared/schema/values.ts";

export type ImageReference =
  | { kind: "hash"; hash: string }
  | { kind: "url"; url: URL }
  | { kind: "file"; path: string }
  | ({ kind: "name" } & ImageName);

/** A name and the labels that were asked for; never a label "name", never one twice. */
export interface ImageName {
  name: ACIdentifier;
  labels: NameValue[];
}

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i;

/**
 * `sha512-…` is a hash and `scheme://…` a URL; a path is absolute, has `./` in
 * it or ends in `.aci` (and has no colon); everything else is a name.
 */
export function parseImageReference(text: string): ImageReference {
  if (text.startsWith("sha512-")) return { kind: "hash", hash: parseHash(text) };
  if (SCHEME.test(text) || text.startsWith("file:")) return parseImageUrl(text);
  if (text.startsWith("/")) return { kind: "file", path: text };
  if (!text.includes(":") && (text.includes("./") || text.endsWith(".aci"))) return { kind: "file", path: text };
  return { kind: "name", ...parseImageName(text) };
}

function parseHash(text: string): string {
  if (!/^sha512-[0-9a-f]{2,128}$/.test(text)) {
    throw usageError(
      `image hash ${JSON.stringify(text)}: must be sha512- and 2 to 128 lower-case hex digits`,
      "a file of that name is meant by ./" + text,
    );
  }
  return text;
}

function parseImageUrl(text: string): ImageReference {
  const url = URL.parse(text);
  if (url === null) throw usageError(`image URL ${JSON.stringify(withoutCredentials(text))} is malformed`);
  if (url.protocol === "http:" || url.protocol === "https:") {
    url.hash = "";
    return { kind: "url", url };
  }
  if (url.protocol !== "file:") {
    throw usageError(`image URL ${JSON.stringify(text)}: rkt fetches from https:, http: and file: only`);
  }
  if (url.hostname !== "") throw usageError(`image URL ${JSON.stringify(text)}: a file: URL names no host`);
  try {
    return { kind: "file", path: fileURLToPath(url) };
  } catch {
    // "%2", "%2F", "%00": what decodes to no path.
    throw usageError(`image URL ${JSON.stringify(text)} names no file`);
  }
}

/** `coreos.com/etcd:v2.0.0,os=linux,arch=amd64`. The colon is short for the label version and stands only after the name. */
export function parseImageName(text: string): ImageName {
  const fail = (why: string, hint?: string) => usageError(`image name ${JSON.stringify(text)}: ${why}`, hint);
  // Before its parts are named one by one: what follows may be a user and a password.
  if (/^https?:/i.test(text)) throw fail("a URL has // after its scheme", "write https://HOST/PATH");
  const [head = "", ...pairs] = text.split(",");
  const colon = head.indexOf(":");
  const name = colon < 0 ? head : head.slice(0, colon);
  if (name === "") throw fail("there is no name");
  const broken = acIdentifier(name);
  if (broken !== undefined) {
    throw fail(`the name ${broken}`, /[A-Z]/.test(name) ? `the image may be called ${name.toLowerCase()}` : undefined);
  }

  const labels: NameValue[] = [];
  if (colon >= 0) {
    const version = head.slice(colon + 1);
    if (version === "") throw fail("there is no version after the colon");
    if (/[:/]/.test(version)) {
      throw fail(`the colon starts the version, and ${JSON.stringify(version)} is none`, "an image name has no port");
    }
    labels.push({ name: "version", value: version });
  }
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    if (equals < 0) throw fail(`label ${JSON.stringify(pair)} is not LABEL=VALUE`);
    const label = pair.slice(0, equals);
    const value = pair.slice(equals + 1);
    if (acIdentifier(label) !== undefined) throw fail(`${JSON.stringify(label)} is no label name`);
    if (label === "name") throw fail('a label cannot be called "name"');
    if (value === "") throw fail(`label ${label} has no value`);
    if (labels.some((l) => l.name === label)) throw fail(`label ${label} is given twice`);
    labels.push({ name: label, value });
  }
  return { name, labels };
}

/** The way parseImageName reads it back. */
export function formatImageName(image: ImageName): string {
  const version = image.labels.find((l) => l.name === "version");
  const short = version !== undefined && !/[:/,]/.test(version.value) ? version : undefined;
  const rest = image.labels.filter((l) => l !== short).map((l) => `,${l.name}=${l.value}`);
  return image.name + (short === undefined ? "" : `:${short.value}`) + rest.join("");
}

const APPC_ARCH: Record<string, string> = { x64: "amd64", ia32: "i386", arm64: "aarch64", arm: "armv7l" };

/** The labels os and arch of this machine, in the spec's words. */
export function hostLabels(): NameValue[] {
  return [
    { name: "os", value: platform },
    { name: "arch", value: APPC_ARCH[arch] ?? arch },
  ];
}

/**
 * Why `image` is not what was asked for; undefined when it is. Asked labels
 * must be there with the same value; os and arch, when not asked for, must not
 * contradict this machine (an image without them is for any).
 */
export function mismatch(image: ImageName, asked: ImageName): string | undefined {
  if (image.name !== asked.name) return `its manifest's name is ${image.name}`;
  const labelValue = (labels: readonly NameValue[], name: string) => labels.find((l) => l.name === name)?.value;
  for (const label of asked.labels) {
    const value = labelValue(image.labels, label.name);
    if (value === undefined) return `its manifest has no label ${label.name}`;
    if (value !== label.value) return `its manifest's label ${label.name} is ${JSON.stringify(value)}`;
  }
  for (const label of hostLabels()) {
    const value = labelValue(image.labels, label.name);
    if (value !== undefined && value !== label.value && labelValue(asked.labels, label.name) === undefined) {
      return `its manifest's label ${label.name} is ${JSON.stringify(value)}, and this machine is ${label.value}`;
    }
  }
  return undefined;
}

/** Whether an image is the one of an ID, which may be shortened; `sha256` is asked only where the ID is of that type. */
export function hasID(id: ImageID, wanted: string, sha256: () => string): boolean {
  return (wanted.startsWith("sha256-") ? sha256() : id).startsWith(wanted);
}
