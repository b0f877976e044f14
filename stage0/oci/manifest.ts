/**
 * Image manifests (image-spec, manifest.md; Docker's schema 2), strictly read:
 * which configuration and which layers an image of one platform has. Nothing
 * of them is trusted: numbers are bounded, and digests are what they say.
 */

import { RktError } from "../../shared/errors.ts";
import { MAX_MANIFEST_BYTES, parseJson } from "../../shared/schema/json.ts";
import { absent, fields, finish, integer, items, optionalString, report, root } from "../../shared/schema/place.ts";
import { type Descriptor, MAX_BLOB_BYTES, readDescriptor } from "./descriptor.ts";

export interface OciManifest {
  mediaType: string;
  config: Descriptor;
  /** Lowest first. */
  layers: Descriptor[];
}

export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
export const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
export const DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";

const CONFIGS = [OCI_CONFIG, DOCKER_CONFIG];

export const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";

/** Layers that are not to be passed on are layers all the same. How the bytes are compressed they say themselves. */
const LAYERS = [
  OCI_LAYER,
  "application/vnd.oci.image.layer.nondistributable.v1.tar",
  DOCKER_LAYER,
  "application/vnd.docker.image.rootfs.foreign.diff.tar",
].flatMap((type) => ["", "+gzip", "+zstd", ".gzip", ".zstd"].map((compression) => type + compression));

/** Of one image. Docker makes 127 at most; the rest is for images that others have made. */
export const MAX_LAYERS = 1000;

/** Throws "manifest-invalid", "old-image-format" and "not-an-image". `object` is what errors call the document. */
export function parseOciManifest(input: Uint8Array, object = "image manifest"): OciManifest {
  const place = root(parseJson(input, object), object);
  const field = fields(place);
  if (field("schemaVersion").value === 1) throw firstSchema(object);
  integer(field("schemaVersion"), 2, 2);
  const mediaType = optionalString(field("mediaType"));
  if (!absent(field("manifests")))
    // Two readers would see two images in it (CVE-2021-41190).
    report(field("manifests"), "must not be there: that is an index's, which lists manifests and is none");
  if (mediaType !== undefined && mediaType !== OCI_MANIFEST && mediaType !== DOCKER_MANIFEST)
    report(field("mediaType"), `must be ${OCI_MANIFEST} or ${DOCKER_MANIFEST}`);
  const config = field("config");
  const configType = fields(config)("mediaType").value;
  if (typeof configType === "string" && !CONFIGS.includes(configType))
    throw new RktError("not-an-image", `the ${object} is of something else than an image: ${configType}`, {
      hint: "registries also keep charts, signatures and other files; rkt runs images",
    });
  const layers = items(field("layers"));
  if (layers.length > MAX_LAYERS) report(field("layers"), `must not be more than ${MAX_LAYERS}`);
  return finish(place, {
    mediaType: mediaType ?? OCI_MANIFEST,
    config: readDescriptor(config, CONFIGS, MAX_MANIFEST_BYTES),
    layers: layers.slice(0, MAX_LAYERS).map((layer) => readDescriptor(layer, LAYERS, MAX_BLOB_BYTES)),
  });
}

/** The error about an image of Docker's first format. */
export function firstSchema(object: string): RktError {
  return new RktError(
    "old-image-format",
    `the ${object} is of Docker's schema 1, which has no digest of what it describes`,
    {
      hint: "push the image again with a tool of today: `skopeo copy --format=oci` makes one of it",
    },
  );
}
