/**
 * What a fetch asks of a registry: documents by tag or digest, layers, and the
 * tags there are. Asks the mirrors that the administrator has named first, and
 * the registry itself last. What a digest calls is checked against it; what a
 * tag calls is whatever the registry says (who vouches for it is asked
 * elsewhere).
 *
 * Source: distribution-spec.
 */

import { createHash } from "node:crypto";
import { RktError } from "../../shared/errors.ts";
import { parseJson } from "../../shared/schema/json.ts";
import { fields, items, root } from "../../shared/schema/place.ts";
import { type Descriptor, isDigest } from "../oci/descriptor.ts";
import { DOCUMENT_LIMIT, MEDIA_TYPES } from "../oci/index.ts";
import { formatReference, formatRegistryReference, type RegistryReference, repositoryName } from "../oci/reference.ts";
import type { Reporter } from "../terminal/progress.ts";
import { download } from "./download.ts";
import { fetchBytes } from "./fetch-bytes.ts";
import { HttpError } from "./http-error.ts";
import { type ConnectionOptions, connectRegistry, type RegistryConnection, RegistryError } from "./registry-connection.ts";
import { nearest } from "./nearest.ts";

export interface RegistryDocument {
  descriptor: Descriptor;
  bytes: Uint8Array;
}

export interface BlobSink {
  /** The first byte comes next: forget what was written. */
  begin(): Promise<void>;
  write(chunk: Uint8Array): Promise<void>;
}

export interface Registry {
  /** The document that a tag or digest calls; "unchanged" if the tag still has the digest `known`. */
  document(tagOrDigest: string, known?: string): Promise<RegistryDocument | "unchanged">;
  /** The document of a tag; undefined if there is none. */
  find(tag: string): Promise<RegistryDocument | undefined>;
  /** A document of an image: its digest and size are checked. */
  read(descriptor: Descriptor): Promise<Uint8Array>;
  /** A small blob, checked. */
  blob(descriptor: Descriptor, limit: number): Promise<Uint8Array>;
  /** A layer's bytes; its size is checked here, its digest by whoever takes the bytes. */
  layer(descriptor: Descriptor, sink: BlobSink, signal: AbortSignal | undefined): Promise<void>;
}

const ACCEPT = Object.values(MEDIA_TYPES).join(", ");
/** Asked for as well, so that an old registry's answer can be called by its name. */
const ACCEPT_OLD = "application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1";
const TAGS_LIMIT = 1 << 20;
const TAG_PAGES = 3;

export function openRegistry(
  reference: RegistryReference,
  options: ConnectionOptions & { reporter: Reporter },
): Registry {
  const { access, reporter, signal } = options;
  const connections = access.endpoints(reference).map((endpoint) => connectRegistry(endpoint, options));
  /** What did not have the image is not asked for its layers. */
  let first = 0;

  /** The answer of the first place that has one. The registry's own failure is the one to tell of. */
  async function ask<T>(from: (connection: RegistryConnection) => Promise<T>): Promise<T> {
    for (let i = first; ; i++) {
      const connection = connections[i];
      if (connection === undefined) throw new Error("a repository that is nowhere");
      try {
        const answer = await from(connection);
        first = i;
        return answer;
      } catch (error) {
        signal?.throwIfAborted();
        const passable = error instanceof HttpError || (error instanceof RktError && error.code === "wrong-digest");
        if (i === connections.length - 1 || !passable) throw error;
        reporter.line(`rkt: mirror ${connection.endpoint.host}: ${error.message}`);
      }
    }
  }

  async function manifest(connection: RegistryConnection, tagOrDigest: string): Promise<RegistryDocument> {
    const client = connection.client(`${ACCEPT}, ${ACCEPT_OLD}`);
    const url = connection.url(`manifests/${tagOrDigest}`);
    const { bytes, headers } = await fetchBytes(client, url, { limit: DOCUMENT_LIMIT, signal });
    const mediaType = (headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
    return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes };
  }

  /** Costs no download, and at Docker Hub nothing of the limit. Any failure means "ask for all of it". */
  async function isUnchanged(connection: RegistryConnection, tag: string, known: string): Promise<boolean> {
    try {
      const url = connection.url(`manifests/${tag}`);
      const response = await connection.client(ACCEPT).get(url, { method: "HEAD", signal });
      response.close();
      return response.status === 200 && response.headers["docker-content-digest"] === known;
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      return false;
    }
  }

  async function bytesOf(path: string, descriptor: Descriptor, limit: number, accept?: string): Promise<Uint8Array> {
    const { digest, size } = descriptor;
    if (size > limit)
      throw new HttpError("too-big", `${formatReference(reference)}: ${digest} has ${size} bytes, more than ${limit}`);
    return await ask(async (connection) => {
      const url = connection.url(path);
      const { bytes } = await fetchBytes(connection.client(accept), url, { limit: Math.max(size, 1), signal });
      if (bytes.length !== size || digestOf(bytes) !== digest) throw wrongDigest(connection, digest);
      return bytes;
    });
  }

  const wrongDigest = ({ endpoint }: RegistryConnection, digest: string): RktError =>
    new RktError("wrong-digest", `registry ${endpoint.host} sends other bytes for ${digest} of ${formatReference(reference)}`, {
      hint: "try again; if it stays so, the registry or a proxy before it is damaged",
    });

  return {
    async document(tagOrDigest, known) {
      return await ask(async (connection) => {
        if (known !== undefined && (await isUnchanged(connection, tagOrDigest, known))) return "unchanged";
        try {
          const document = await manifest(connection, tagOrDigest);
          if (isDigest(tagOrDigest) && document.descriptor.digest !== tagOrDigest) throw wrongDigest(connection, tagOrDigest);
          return document;
        } catch (error) {
          if (!(error instanceof RegistryError) || error.status !== 404) throw error;
          throw await notThere(connection, tagOrDigest, error.codes);
        }
      });
    },
    async find(tag) {
      return await ask(async (connection) => {
        try {
          return await manifest(connection, tag);
        } catch (error) {
          if (error instanceof RegistryError && error.status === 404) return undefined;
          throw error;
        }
      });
    },
    read: (descriptor) => bytesOf(`manifests/${descriptor.digest}`, descriptor, DOCUMENT_LIMIT, ACCEPT),
    blob: (descriptor, limit) => bytesOf(`blobs/${descriptor.digest}`, descriptor, limit),
    async layer({ digest, size }, { begin, write }, stop) {
      await ask(async (connection) => {
        try {
          await download(connection.client(), connection.url(`blobs/${digest}`), {
            size,
            immutable: true,
            signal: stop,
            begin,
            write,
          });
        } catch (error) {
          if (!(error instanceof RegistryError) || error.status !== 404) throw error;
          throw new RegistryError("blob-missing", `registry ${connection.endpoint.host} has no layer ${digest} of ${formatReference(reference)}`, {
            status: 404,
            hint: "the image is not whole there: its publisher pushes it again",
          });
        }
      });
    },
  };

  async function notThere(connection: RegistryConnection, wanted: string, codes: readonly string[]): Promise<HttpError> {
    const { host } = connection.endpoint;
    if (wanted === reference.digest || isDigest(wanted))
      return new RegistryError("no-such-tag", `registry ${host} has no image ${formatReference(reference)}`, {
        status: 404,
        hint: "is the digest right? registries remove images that no tag names",
      });
    const tags = await tagsOf(connection);
    const noRepository = codes.includes("NAME_UNKNOWN") || tags === undefined;
    if (noRepository && (tags?.length ?? 0) === 0)
      return new RegistryError("no-such-tag", `registry ${host} has no repository ${connection.endpoint.repository}`, {
        status: 404,
        hint: "is the name right? a name without a registry is one of docker.io",
      });
    const near = nearest(wanted, tags ?? [], 6);
    return new RegistryError("no-such-tag", `${repositoryName(reference)} has no tag ${wanted}`, {
      status: 404,
      hint: near.length === 0 ? "it has no tag at all" : `it has ${near.join(", ")}`,
    });
  }

  /** The first pages of them; undefined if the registry does not tell. */
  async function tagsOf(connection: RegistryConnection): Promise<string[] | undefined> {
    const tags: string[] = [];
    let url = connection.url("tags/list?n=1000");
    try {
      for (let page = 0; page < TAG_PAGES; page++) {
        const { bytes, headers } = await fetchBytes(connection.client(), url, { limit: TAGS_LIMIT, signal });
        const list = fields(root(parseJson(bytes, "tags"), "tags"))("tags");
        for (const { value } of items(list))
          if (typeof value === "string" && /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(value)) tags.push(value);
        const [, next] = /^<([^>]{1,2048})>; *rel="?next"?$/.exec(headers["link"] ?? "") ?? [];
        const to = next === undefined ? null : URL.parse(next, url);
        if (to === null || to.origin !== url.origin || to.href === url.href) break;
        url = to;
      }
    } catch (error) {
      if (!(error instanceof RktError)) throw error;
      signal?.throwIfAborted();
      if (tags.length === 0) return undefined;
    }
    return tags;
  }
}

export const digestOf = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** As errors and bars call the image. */
export const shownReference = formatRegistryReference;
