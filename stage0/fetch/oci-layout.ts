/**
 * OCI image layouts: `oci-layout`, `index.json` and `blobs/sha256/…`, in a
 * directory or an archive. In a directory no link is followed below the one
 * that the person named (openat2(2)): a link could lead to any file of root's.
 *
 * Source: image-spec, image-layout.md.
 */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { parseJson } from "../../shared/schema/json.ts";
import { fields, root } from "../../shared/schema/place.ts";
import {
  O_PATH,
  openat2IfThere,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
} from "../../shared/syscall/file.ts";
import { DOCUMENT_LIMIT, MEDIA_TYPES, parseOciDocument } from "../oci/index.ts";
import type { ImageArchive } from "./image-archive.ts";
import type { LocalImages } from "./local-images.ts";
import { type PartFile, partChunks, wholeOf } from "./part-file.ts";
import { digestOf } from "./registry.ts";

/** Where the files of a layout are. */
interface LayoutFiles {
  path: string;
  /** Undefined if there is no such file. */
  open(name: string): Promise<PartFile | undefined>;
  identity(index: Uint8Array): string;
  close(): Promise<void>;
}

const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

export async function openLayout(path: string): Promise<LocalImages> {
  let directory: number;
  try {
    directory = openSync(path, O_PATH | constants.O_DIRECTORY);
  } catch (cause) {
    throw new RktError("no-such-file", `cannot open the OCI layout: ${errorText(cause)}`, {
      hint: errorCode(cause) === "ENOTDIR" ? `is it an archive? oci-archive:${path}` : undefined,
      cause,
    });
  }
  const files: LayoutFiles = {
    path,
    async open(name) {
      let fd: number | undefined;
      try {
        fd = openat2IfThere(directory, name, constants.O_RDONLY | constants.O_NONBLOCK, 0, RESOLVE);
      } catch (cause) {
        throw new RktError("not-an-image", `${path}/${name} can't be read: ${errorText(cause)}`, {
          hint: errorCode(cause) === "ELOOP" ? "rkt follows no link in an OCI layout" : undefined,
          cause,
        });
      }
      return fd === undefined ? undefined : regular(fd, `${path}/${name}`);
    },
    // The blobs are called by their digests: the index says all.
    identity: digestOf,
    async close() {
      closeSync(directory);
    },
  };
  return await readLayout(files);
}

function regular(fd: number, path: string): PartFile {
  const stat = fstatSync(fd);
  if (!stat.isFile()) {
    closeSync(fd);
    throw new RktError("not-an-image", `${path} is no regular file`);
  }
  return {
    size: stat.size,
    read: async (buffer, position) => readSync(fd, buffer, 0, buffer.length, position),
    close: async () => closeSync(fd),
  };
}

/** The layout in an archive, which is closed with it. */
export async function layoutOf(archive: ImageArchive): Promise<LocalImages> {
  return await readLayout({
    path: archive.path,
    open: (name) => archive.open(name),
    identity: () => archive.identity,
    close: () => archive.close(),
  });
}

async function readLayout(files: LayoutFiles): Promise<LocalImages> {
  const { path } = files;
  try {
    const marker = await readWhole(files, "oci-layout", DOCUMENT_LIMIT);
    const bytes = marker === undefined ? undefined : await readWhole(files, "index.json", DOCUMENT_LIMIT);
    if (marker === undefined || bytes === undefined)
      throw new RktError("not-an-image", `${path} is no OCI layout: it has no ${marker === undefined ? "oci-layout" : "index.json"}`, {
        hint: "`docker save` writes another kind of archive: docker-archive:FILE",
      });
    const version = fields(root(parseJson(marker, `${path}: oci-layout`), "oci-layout"))("imageLayoutVersion").value;
    if (typeof version !== "string" || !/^1\.[0-9.]{1,20}$/.test(version))
      throw new RktError("not-an-image", `${path}: oci-layout has a version that rkt does not know`);
    const document = parseOciDocument(bytes, MEDIA_TYPES.ociIndex, `${path}: index.json`);
    if (document.kind !== "index") throw new RktError("not-an-image", `${path}: index.json is no index`);
    return {
      entries: document.entries.map((entry) => {
        const names = [entry.imageName, entry.refName].filter((name) => name !== undefined);
        return { ...entry, names: [...new Set(names)] };
      }),
      async read(descriptor) {
        const name = blobName(descriptor.digest);
        const read = descriptor.size > DOCUMENT_LIMIT ? undefined : await readWhole(files, name, DOCUMENT_LIMIT);
        if (read === undefined) throw missing(path, descriptor.digest);
        if (read.length !== descriptor.size || digestOf(read) !== descriptor.digest)
          throw new RktError("wrong-digest", `${path}: ${name} is not what its name says`);
        return read;
      },
      async layer({ digest }, sink, signal) {
        const file = await files.open(blobName(digest));
        if (file === undefined) throw missing(path, digest);
        try {
          await sink.begin();
          for await (const chunk of partChunks(file)) {
            signal.throwIfAborted();
            await sink.write(chunk);
          }
        } finally {
          await file.close();
        }
      },
      identity: files.identity(bytes),
      close: () => files.close(),
    };
  } catch (error) {
    await files.close();
    throw error;
  }
}

const blobName = (digest: string): string => `blobs/${digest.replace(":", "/")}`;

const missing = (path: string, digest: string): RktError =>
  new RktError("blob-missing", `${path} has no ${digest}`, { hint: "the layout is not whole: make it again" });

async function readWhole(files: LayoutFiles, name: string, limit: number): Promise<Buffer | undefined> {
  const file = await files.open(name);
  if (file === undefined) return undefined;
  try {
    return await wholeOf(file, limit, `${files.path}: ${name}`);
  } finally {
    await file.close();
  }
}
