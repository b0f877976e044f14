/**
 * An image of a local directory or archive into the store. It is the person's
 * own, and needs no signature, as a local App Container image does not. One
 * that has not changed since it was imported costs a look at its file.
 */

import { RktError } from "../../shared/errors.ts";
import { findPlatform } from "../oci/index.ts";
import { formatPlatform, HOST_PLATFORM, isHostPlatform, type Platform } from "../oci/platform.ts";
import type { StoredImage } from "../store/store.ts";
import { silentReporter } from "../terminal/progress.ts";
import { importOci } from "./import-oci.ts";
import { chooseEntries, type LocalEntry, type LocalImages, nameLocal } from "./local-images.ts";
import { type LocalReference, type LocalStore, localUrl } from "./local-reference.ts";

export interface LocalImport {
  store: LocalStore;
  platform?: Platform | undefined;
  signal?: AbortSignal | undefined;
}

export async function importLocal(
  reference: LocalReference,
  shown: string,
  { store, platform = HOST_PLATFORM, signal }: LocalImport,
): Promise<StoredImage> {
  const local = await openLocal(reference);
  try {
    const url = localUrl(reference) + (isHostPlatform(platform) ? "" : ` ${formatPlatform(platform)}`);
    const known = knownLocal(store, url, local.identity);
    if (known !== undefined) return known;
    const chosen = chooseEntries(local.entries, reference.ref, shown);
    const found = await findIn(local, chosen, platform, shown);
    const { name, reference: called } = nameLocal(found.entry, reference.path, reference.ref);
    const config = await local.read(found.config);
    return await importOci(
      store.beginOci(shown),
      { documents: { name, reference: called, manifest: found.bytes, config }, layer: local.layer },
      {
        by: "file",
        remote: { url, etag: local.identity, downloadedAt: Date.now() },
        reporter: silentReporter,
        signal,
      },
    );
  } finally {
    await local.close();
  }
}

async function openLocal({ kind, path }: LocalReference): Promise<LocalImages> {
  if (kind === "oci") return (await import("./oci-layout.ts")).openLayout(path);
  const { openArchive } = await import("./image-archive.ts");
  const archive = await openArchive(path);
  try {
    if (kind === "oci-archive") return await (await import("./oci-layout.ts")).layoutOf(archive);
    return await (await import("./docker-archive.ts")).dockerImagesOf(archive);
  } catch (error) {
    await archive.close();
    throw error;
  }
}

function knownLocal(store: LocalStore, url: string, identity: string): StoredImage | undefined {
  const record = store.remote(url);
  if (record?.etag !== identity) return undefined;
  try {
    return store.vouchAsFile(store.resolve(record.key));
  } catch (error) {
    if (error instanceof RktError && error.code === "no-such-image") return undefined;
    throw error;
  }
}

async function findIn(local: LocalImages, chosen: readonly LocalEntry[], platform: Platform, shown: string) {
  const [first] = chosen;
  if (first === undefined) throw new Error("no entry");
  if (chosen.length === 1) {
    const found = await findPlatform({ descriptor: first, bytes: await local.read(first) }, platform, local.read, shown);
    return { ...found, entry: first };
  }
  // Together they are an index.
  const manifests = chosen.map(({ mediaType, digest, size, platform }) => ({ mediaType, digest, size, platform }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests }));
  const top = { mediaType: "", digest: "", size: bytes.length };
  const found = await findPlatform({ descriptor: top, bytes }, platform, local.read, shown);
  return { ...found, entry: chosen.find(({ digest }) => digest === found.descriptor.digest) ?? first };
}
