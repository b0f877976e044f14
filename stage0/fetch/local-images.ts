/**
 * What the readers of local images give: a list of images with names, and the
 * bytes of what these name. Owns which image of several is meant. Trusts
 * nothing of the files: what is read in memory is bounded and checked.
 */

import { basename } from "node:path";
import { RktError } from "../../shared/errors.ts";
import type { ACIdentifier } from "../../shared/schema/types.ts";
import { acIdentifier } from "../../shared/schema/values.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { IndexEntry } from "../oci/index.ts";
import { formatReference, formatRegistryReference, imageNameOf, type RegistryReference, tryReference } from "../oci/reference.ts";
import type { BlobSink } from "./registry.ts";

export interface LocalEntry extends IndexEntry {
  /** As a person can ask for it; none if it has no name. */
  names: string[];
}

export interface LocalImages {
  entries: LocalEntry[];
  /** A manifest or configuration: its digest and size are checked. */
  read(descriptor: Descriptor): Promise<Uint8Array>;
  /** A layer's bytes; whoever takes them checks them. */
  layer(descriptor: Descriptor, sink: BlobSink, signal: AbortSignal): Promise<void>;
  /** What tells whether it was changed. */
  identity: string;
  close(): Promise<void>;
}

const MAX_LISTED = 20;

/** The entries of the image that is meant: several if it is for several platforms. */
export function chooseEntries(entries: readonly LocalEntry[], ref: string | undefined, shown: string): LocalEntry[] {
  const images = entries.filter(({ about }) => !about);
  if (images.length === 0) throw new RktError("no-such-tag", `${shown} has no image`);
  const [, place] = /^@([0-9]{1,6})$/.exec(ref ?? "") ?? [];
  if (place !== undefined) {
    const entry = entries[Number(place)];
    if (entry !== undefined) return [entry];
  } else if (ref !== undefined) {
    const named = images.filter(({ names }) => names.some((name) => isCalled(name, ref)));
    if (new Set(named.map(groupOf)).size <= 1 && named.length > 0) return named;
    if (named.length > 0) throw several(entries, named, `${shown}: several of its images are called so`);
  } else {
    if (new Set(images.map(groupOf)).size === 1) return images;
    throw several(entries, images, `${shown} has several images`);
  }
  throw new RktError("no-such-tag", `${shown}: it has no such image`, { hint: `it has ${list(entries, images)}` });
}

/** Entries without a name of their own belong together only if their platforms tell them apart. */
const groupOf = ({ names, platform, digest }: LocalEntry): string => {
  if (names.length > 0) return names.join(" ");
  return platform === undefined ? digest : "";
};

function isCalled(name: string, ref: string): boolean {
  if (name === ref) return true;
  const [one, other] = [tryReference(name), tryReference(ref)];
  return one !== undefined && other !== undefined && name.includes("/") && formatReference(one) === formatReference(other);
}

const several = (entries: readonly LocalEntry[], images: readonly LocalEntry[], message: string): RktError =>
  new RktError("ambiguous-image", message, { hint: `name one after a colon: ${list(entries, images)}` });

function list(entries: readonly LocalEntry[], images: readonly LocalEntry[]): string {
  const words = images.map((image) => image.names[0] ?? `@${entries.indexOf(image)}`);
  const all = [...new Set(words)];
  return all.slice(0, MAX_LISTED).join(", ") + (all.length > MAX_LISTED ? ` and ${all.length - MAX_LISTED} more` : "");
}

/** What an image of a file is called: by its own name if that is a registry's, else by its file's. */
export function nameLocal(entry: LocalEntry, path: string, ref: string | undefined): { name: ACIdentifier; reference: string } {
  const asked = entry.names.find((name) => ref !== undefined && isCalled(name, ref));
  const names = [...(asked === undefined ? [] : [asked]), ...entry.names];
  const whole = names.filter((name) => name.includes("/")).map((name) => tryReference(name));
  const reference = whole.find((found): found is RegistryReference => found !== undefined);
  if (reference !== undefined) return { name: imageNameOf(reference), reference: formatRegistryReference(reference) };
  const name = identifierOf(basename(path).replace(/(?:\.(?:tar|oci|gz|tgz|xz|zst|bz2))+$/, ""));
  const tag = names.find((each) => /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(each));
  return { name, reference: `oci:${name}${tag === undefined ? "" : `:${tag}`}` };
}

function identifierOf(text: string): ACIdentifier {
  const plain = text
    .toLowerCase()
    .replace(/[^a-z0-9._~-]+/g, "-")
    .replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, "");
  return acIdentifier(plain) === undefined ? plain : "image";
}
