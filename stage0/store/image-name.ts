/**
 * An image's name with labels: its syntax, and whether an image has the name
 * and the labels that were asked for. What else a person may call an image, a
 * file or a URL, is known to the sources of images (fetch/image-source.ts).
 *
 * Source: appc spec, types.md "AC Identifier", discovery.md "Validation".
 */

import { arch, platform } from "node:process";
import { usageError } from "../../shared/errors.ts";
import type { ACIdentifier, NameValue } from "../../shared/schema/types.ts";
import { acIdentifier } from "../../shared/schema/values.ts";

/** A name and labels. No label is called "name", and none is there twice. */
export interface ImageName {
  name: ACIdentifier;
  labels: NameValue[];
}

/** `coreos.com/etcd:v2.0.0,os=linux,arch=amd64`. `:VALUE` after the name is short for the label version. */
export function parseImageName(text: string): ImageName {
  const fail = (why: string, hint?: string) => usageError(`image name ${JSON.stringify(text)}: ${why}`, hint);
  // This comes first, because the other messages quote parts of the text, which may be a user and a password.
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

/** The text from which parseImageName reads the same name and labels. */
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
 * Why `image` is not what was asked for; undefined when it is. It must have
 * the labels that were asked for, with the same values. If os and arch were
 * not asked for, they must not contradict this machine: an image without them
 * is for any machine.
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
