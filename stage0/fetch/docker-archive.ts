/**
 * What `docker save` writes: `manifest.json`, and the configurations and layers
 * that it names. Such an image has no OCI manifest, so one is made of its
 * configuration and layers: the same from the same archive.
 *
 * Source: Docker's image specification v1.2, "Combined Image JSON + Filesystem Changeset Format".
 */

import { createHash } from "node:crypto";
import { RktError } from "../../shared/errors.ts";
import { parseJson } from "../../shared/schema/json.ts";
import { absent, fields, finish, items, report, root, string } from "../../shared/schema/place.ts";
import { detectCompression, MAGIC_BYTES } from "../archive/decompress.ts";
import { parseConfiguration } from "../oci/configuration.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { DOCUMENT_LIMIT } from "../oci/index.ts";
import { DOCKER_CONFIG, DOCKER_MANIFEST } from "../oci/manifest.ts";
import { formatReference, tryReference } from "../oci/reference.ts";
import type { ImageArchive } from "./image-archive.ts";
import type { LocalEntry, LocalImages } from "./local-images.ts";
import { type PartFile, partChunks, wholeOf } from "./part-file.ts";
import { digestOf } from "./registry.ts";

interface SavedImage {
  config: string;
  names: string[];
  layers: string[];
}

const MAX_IMAGES = 1000;
const MAX_NAMES = 100;
const MAX_LAYERS = 1000;
const DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";

/** The images of the archive, which is closed with them. */
export async function dockerImagesOf(archive: ImageArchive): Promise<LocalImages> {
  const saved = await readSaved(archive);
  const documents = new Map<string, Uint8Array>();
  const layers = new Map<string, string>();
  const made = new Map<number, Uint8Array>();

  /** Reads the image's configuration, and if its layers are compressed them, too; nothing of other images. */
  async function make(i: number): Promise<Uint8Array> {
    const { config, layers: paths } = saved[i] as SavedImage;
    const bytes = await documentOf(archive, config);
    const { diffIds } = parseConfiguration(bytes, `${archive.path}: ${config}`);
    if (diffIds.length !== paths.length)
      throw new RktError("not-an-image", `${archive.path}: ${config} says ${diffIds.length} layers, and manifest.json ${paths.length}`);
    const descriptors: Descriptor[] = [];
    for (const [n, path] of paths.entries()) {
      const descriptor = await describeLayer(archive, path, diffIds[n] ?? "");
      layers.set(descriptor.digest, path);
      descriptors.push(descriptor);
    }
    const of = { mediaType: DOCKER_CONFIG, size: bytes.length, digest: digestOf(bytes) };
    const manifest = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: DOCKER_MANIFEST, config: of, layers: descriptors }),
    );
    documents.set(of.digest, bytes);
    made.set(i, manifest);
    return manifest;
  }

  return {
    // What an image's manifest is, is known when it is asked for: until then its place stands for its digest.
    entries: saved.map(({ names }, i): LocalEntry => ({
      mediaType: DOCKER_MANIFEST,
      digest: placeholder(i),
      size: 0,
      platform: undefined,
      refName: undefined,
      imageName: undefined,
      about: false,
      names,
    })),
    async read({ digest }) {
      const [, i] = PLACEHOLDER.exec(digest) ?? [];
      if (i !== undefined) return await make(Number(i));
      const bytes = documents.get(digest);
      if (bytes === undefined) throw new Error("a document that no image has");
      return bytes;
    },
    async layer({ digest }, sink, signal) {
      const file = await memberOf(archive, layers.get(digest) ?? "");
      await sink.begin();
      for await (const chunk of partChunks(file)) {
        signal.throwIfAborted();
        await sink.write(chunk);
      }
    },
    identity: archive.identity,
    close: () => archive.close(),
  };
}

const PLACEHOLDER = /^image ([0-9]+)$/;
const placeholder = (i: number): string => `image ${i}`;

async function readSaved(archive: ImageArchive): Promise<SavedImage[]> {
  const { path } = archive;
  const file = await archive.open("manifest.json");
  if (file === undefined)
    throw new RktError("not-an-image", `${path} has no manifest.json, which \`docker save\` writes`, {
      hint: (await archive.open("index.json")) === undefined ? "an App Container image is given by its path alone" : `it is an OCI layout: oci-archive:${path}`,
    });
  const object = `${path}: manifest.json`;
  const place = root(parseJson(await wholeOf(file, DOCUMENT_LIMIT, object), object), object);
  const images = items(place);
  if (images.length > MAX_IMAGES) report(place, `must have at most ${MAX_IMAGES} images`);
  return finish(
    place,
    images.slice(0, MAX_IMAGES).map((image) => {
      const get = fields(image);
      const tags = get("RepoTags");
      const names = absent(tags) ? [] : items(tags).slice(0, MAX_NAMES);
      const layers = items(get("Layers"));
      if (layers.length > MAX_LAYERS) report(get("Layers"), `must be at most ${MAX_LAYERS}`);
      return {
        config: string(get("Config"), memberName),
        names: names.map((name) => string(name, shortText)).map(wholeName),
        layers: layers.slice(0, MAX_LAYERS).map((layer) => string(layer, memberName)),
      };
    }),
  );
}

/** `docker save` writes "nginx:1.25", and podman the whole of it. */
function wholeName(name: string): string {
  const reference = tryReference(name);
  return reference === undefined ? name : formatReference(reference);
}

const shortText = (text: string) => (text.length <= 1024 ? undefined : "must not be longer than 1024 characters");
const memberName = (text: string) =>
  text !== "" && text.length <= 1024 && !/[\0-\x1f]/.test(text) ? undefined : "must be the name of a file in the archive";

async function memberOf(archive: ImageArchive, name: string): Promise<PartFile> {
  const file = await archive.open(name);
  if (file !== undefined) return file;
  throw new RktError("blob-missing", `${archive.path} has no ${name}, which its manifest.json names`, {
    hint: "the archive is not whole: make it again",
  });
}

const documentOf = async (archive: ImageArchive, name: string): Promise<Buffer> =>
  await wholeOf(await memberOf(archive, name), DOCUMENT_LIMIT, `${archive.path}: ${name}`);

/** A layer that is not compressed has its diff ID for a digest, which is checked when it is imported. */
async function describeLayer(archive: ImageArchive, name: string, diffId: string): Promise<Descriptor> {
  const file = await memberOf(archive, name);
  const start = Buffer.alloc(Math.min(MAGIC_BYTES, file.size));
  await file.read(start, 0);
  const compression = detectCompression(start);
  if (compression === "none") return { mediaType: DOCKER_LAYER, size: file.size, digest: diffId };
  const hash = createHash("sha256");
  for await (const chunk of partChunks(file)) hash.update(chunk);
  const suffix = compression === "gzip" || compression === "zstd" ? `.${compression}` : "";
  return { mediaType: DOCKER_LAYER + suffix, size: file.size, digest: `sha256:${hash.digest("hex")}` };
}
