/**
 * The sources of images in files and directories of the host: `SCHEME:PATH[:REF]`,
 * as skopeo and podman write them. Small, because every start loads it.
 */

import { usageError } from "../../shared/errors.ts";
import type { StoredImage } from "../store/store.ts";
import { type ImageSource, lastPart } from "./image-source.ts";
import { type LocalKind, type LocalReference, localUrl } from "./local-reference.ts";

const MAX_REF = 512;

/** A source of that scheme, whose images `open` reads. */
export function localSource<Kind extends LocalKind>(kind: Kind): ImageSource<LocalReference<Kind>> {
  const format = ({ path, ref }: LocalReference<Kind>) => `${kind}:${path}${ref === undefined ? "" : `:${ref}`}`;
  return {
    kind,
    schemes: [],
    origin: "host",
    /** The first colon ends the path. */
    parse(text) {
      if (!text.startsWith(`${kind}:`)) return undefined;
      const rest = text.slice(kind.length + 1);
      const colon = rest.indexOf(":");
      const path = colon < 0 ? rest : rest.slice(0, colon);
      const ref = colon < 0 ? undefined : rest.slice(colon + 1);
      const fail = (why: string) => usageError(`image ${JSON.stringify(text)}: ${why}`, `${kind}:PATH or ${kind}:PATH:REF`);
      if (path === "") throw fail("there is no path");
      if (ref === "" || (ref?.length ?? 0) > MAX_REF || /[\0-\x20\x7f]/.test(ref ?? "")) throw fail("its REF can't be one");
      return { kind, path, ref };
    },
    format,
    shortName: ({ path }) => lastPart(path),
    stored(reference, store) {
      const record = store.remote(localUrl(reference));
      return record === undefined ? [] : [store.resolve(record.key)];
    },
    async find(reference, { store, signature, platform }) {
      if (signature !== undefined) throw noSignature(format(reference));
      const { importLocal } = await import("./import-local.ts");
      return await importLocal(reference, format(reference), { store, platform });
    },
    // `find` has given it.
    async fetch(reference, { signature }, context): Promise<StoredImage> {
      if (signature !== undefined) throw noSignature(format(reference));
      const { importLocal } = await import("./import-local.ts");
      return await importLocal(reference, format(reference), context);
    },
  };
}

const noSignature = (shown: string) =>
  usageError(`--signature is for App Container images, and ${shown} is none`, "a local OCI image is taken as it is");
