/**
 * What a registry or a layout answers with in an image's place: an index of
 * images for several platforms, or one image. Owns which of them is meant for a
 * platform. Trusts nothing: a document that could be read as two things is
 * refused (CVE-2021-41190), and an index leads to a bounded number of others.
 *
 * Source: image-spec, image-index.md, descriptor.md, media-types.md.
 */

import { RktError } from "../../shared/errors.ts";
import { parseJson } from "../../shared/schema/json.ts";
import { quote } from "../../shared/schema/manifest-error.ts";
import {
  absent,
  fields,
  finish,
  integer,
  items,
  optionalString,
  type Place,
  report,
  type Rule,
  root,
  string,
} from "../../shared/schema/place.ts";
import { type Descriptor, digestRule } from "./descriptor.ts";
import { DOCKER_MANIFEST, firstSchema, OCI_MANIFEST, parseOciManifest } from "./manifest.ts";
import { type Platform, formatPlatform, suitability } from "./platform.ts";

export interface IndexEntry extends Descriptor {
  platform: Platform | undefined;
  /** `org.opencontainers.image.ref.name`: the entry's name in a layout. */
  refName: string | undefined;
  /** `io.containerd.image.name`: the whole reference, as containerd and newer `docker save` write it. */
  imageName: string | undefined;
  /** A document about another image, such as an attestation, and no image. */
  about: boolean;
}

export type OciDocument =
  | { kind: "index"; entries: IndexEntry[] }
  | { kind: "image"; config: Descriptor; layers: Descriptor[] };

export const MEDIA_TYPES = {
  ociIndex: "application/vnd.oci.image.index.v1+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  ociManifest: OCI_MANIFEST,
  dockerManifest: DOCKER_MANIFEST,
} as const;

const INDEX_TYPES: readonly string[] = [MEDIA_TYPES.ociIndex, MEDIA_TYPES.dockerList];
const IMAGE_TYPES: readonly string[] = [MEDIA_TYPES.ociManifest, MEDIA_TYPES.dockerManifest];
/** Docker's first kind of manifest, which says nothing about its layers' archives. */
const SCHEMA_1 = /^application\/(?:vnd\.docker\.distribution\.manifest\.v1\+(?:json|prettyjws))$/;

/** Bytes of an index, a manifest or a configuration. */
export const DOCUMENT_LIMIT = 4 << 20;
/** Of one index. */
const MAX_ENTRIES = 1000;
/** Documents read until an image is found: an index in an index in an index. */
const MAX_DEPTH = 4;

const MEDIA_TYPE = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;
const mediaType: Rule = (text) => (MEDIA_TYPE.test(text) ? undefined : "must be a media type");
/**
 * Reads an index or an image's manifest. `claimed` is the media type that its source gives it, if any; errors call it
 * by `object`.
 */
export function parseOciDocument(bytes: Uint8Array, claimed: string | undefined, object: string): OciDocument {
  const document = root(parseJson(bytes, object), object);
  const get = fields(document);
  const own = optionalString(get("mediaType"));
  const schema = get("schemaVersion").value;
  if (schema === 1 || SCHEMA_1.test(own ?? "") || (own === undefined && SCHEMA_1.test(claimed ?? "")))
    throw firstSchema(object);
  if (schema !== 2) report(get("schemaVersion"), "must be 2");
  // A registry that says nothing of the type, or "this is JSON", says nothing that could disagree.
  const said = [...INDEX_TYPES, ...IMAGE_TYPES].includes(claimed ?? "") ? claimed : undefined;
  if (own !== undefined && said !== undefined && own !== said)
    report(get("mediaType"), `must be the ${quote(said)} that its source says it is, got ${quote(own)}`);
  const type = own ?? said;
  const isIndex = type === undefined ? !absent(get("manifests")) : INDEX_TYPES.includes(type);
  if (type !== undefined && !isIndex && !IMAGE_TYPES.includes(type))
    report(get("mediaType"), `must be one of an image's manifest or an index, got ${quote(type)}`);
  for (const name of isIndex ? ["config", "layers", "fsLayers"] : ["manifests", "fsLayers"])
    if (!absent(get(name))) report(get(name), `must not be in ${isIndex ? "an index" : "an image's manifest"}`);
  if (isIndex) return finish(document, { kind: "index", entries: readEntries(get("manifests")) });
  finish(document, undefined);
  const { config, layers } = parseOciManifest(bytes, object);
  return { kind: "image", config, layers };
}

function readEntries(list: Place): IndexEntry[] {
  if (absent(list)) report(list, "is required");
  const places = items(list);
  if (places.length > MAX_ENTRIES) {
    report(list, `must have at most ${MAX_ENTRIES} entries`);
    return [];
  }
  return places.map(readEntry);
}

function readEntry(place: Place): IndexEntry {
  const get = fields(place);
  const notes = absent(get("annotations")) ? undefined : fields(get("annotations"));
  const note = (name: string) => (notes === undefined ? undefined : optionalString(notes(name), shortText));
  const platform = readPlatform(get("platform"));
  return {
    mediaType: string(get("mediaType"), mediaType),
    digest: string(get("digest"), digestRule),
    size: integer(get("size"), 0, Number.MAX_SAFE_INTEGER),
    platform,
    refName: note("org.opencontainers.image.ref.name"),
    imageName: note("io.containerd.image.name"),
    about: note("vnd.docker.reference.type") !== undefined || platform?.os === "unknown",
  };
}

const shortText: Rule = (text) => (text.length <= 1024 ? undefined : "must not be longer than 1024 characters");
const platformWord: Rule = (text) =>
  /^[A-Za-z0-9._-]{0,64}$/.test(text) ? undefined : "must be a word of letters, digits and hyphens";

function readPlatform(place: Place): Platform | undefined {
  if (absent(place)) return undefined;
  const get = fields(place);
  const os = string(get("os"), platformWord);
  const architecture = string(get("architecture"), platformWord);
  return { os, architecture, variant: optionalString(get("variant"), platformWord) || undefined };
}

/** A document with its digest. */
export interface FoundImage {
  descriptor: Descriptor;
  bytes: Uint8Array;
  config: Descriptor;
}

/**
 * The image for a platform, from what an image's name led to. `read` gives the checked bytes of a descriptor's
 * document; errors call what the name led to by `object`.
 */
export async function findPlatform(
  top: { descriptor: Descriptor; bytes: Uint8Array },
  platform: Platform,
  read: (descriptor: Descriptor) => Promise<Uint8Array>,
  object: string,
): Promise<FoundImage> {
  const seen = new Set<string>();
  const others = new Set<string>();
  let documents = 0;

  const find = async (descriptor: Descriptor, bytes: Uint8Array, depth: number): Promise<FoundImage | undefined> => {
    if (seen.has(descriptor.digest)) return undefined;
    seen.add(descriptor.digest);
    const document = parseOciDocument(bytes, descriptor.mediaType, depth === 0 ? object : `${object}, ${descriptor.digest}`);
    if (document.kind === "image") return { descriptor, bytes, config: document.config };
    if (depth === MAX_DEPTH || ++documents > MAX_DEPTH * 2)
      throw new RktError("manifest-invalid", `${object}: its indexes are nested more than ${MAX_DEPTH} deep`);
    for (const entry of candidates(document.entries, platform)) {
      const found = await find(entry, await read(entry), depth + 1);
      if (found !== undefined) return found;
    }
    for (const { platform: other, about } of document.entries)
      if (other !== undefined && !about) others.add(formatPlatform(other));
    return undefined;
  };

  const found = await find(top.descriptor, top.bytes, 0);
  if (found !== undefined) return found;
  const list = [...others].sort();
  throw new RktError("no-such-platform", `${object} is not for ${formatPlatform(platform)}`, {
    hint:
      list.length === 0
        ? "it is an index without an image"
        : `it is for ${list.slice(0, 20).join(", ")}${list.length > 20 ? ` and ${list.length - 20} more` : ""}`,
  });
}

/** The entries to look at, the best first. Nothing that is for another platform is looked at. */
function candidates(entries: readonly IndexEntry[], wanted: Platform): IndexEntry[] {
  const images = entries.filter(({ about, mediaType }) => !about && [...INDEX_TYPES, ...IMAGE_TYPES].includes(mediaType));
  const ranked = images
    .map((entry) => ({ entry, rank: entry.platform === undefined ? undefined : suitability(entry.platform, wanted) }))
    .filter(({ rank }) => rank !== undefined)
    .sort((a, b) => Number(a.rank) - Number(b.rank))
    .map(({ entry }) => entry);
  // An entry that does not say: an index of indexes, or a layout's only image.
  const silent = images.filter(({ platform }) => platform === undefined);
  const nested = silent.filter(({ mediaType }) => INDEX_TYPES.includes(mediaType));
  return [...ranked, ...nested, ...(images.length === 1 && nested.length === 0 ? silent : [])];
}

