/**
 * A local file. If a signature lies beside it, or the person names one, the
 * file must be what was signed. A file without a signature is the person's own
 * and needs none.
 */

import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { errorText, RktError } from "../../shared/errors.ts";
import type { StoredImage } from "../store/store.ts";
import type { FetchContext } from "./fetch-context.ts";
import { fileChunks, openImageFile } from "../archive/file-chunks.ts";
import { readSignature, readSignatureBeside, reportVerified, type Signature } from "./fetch-signature.ts";

export async function fetchFile(
  path: string,
  signatureFile: string | undefined,
  context: FetchContext,
): Promise<StoredImage> {
  if (context.insecure.has("image")) return context.store.importFile(path);
  const signature = signatureFile === undefined ? readSignatureBeside(path) : readSignature(signatureFile);
  return signature === undefined ? context.store.importFile(path) : importSigned(resolve(path), signature, context);
}

/** A file that was verified is known by its identity and the signature's text, so that a second time costs a stat. */
async function importSigned(path: string, signature: Signature, context: FetchContext): Promise<StoredImage> {
  const { store, reporter } = context;
  const url = pathToFileURL(path).href;
  const etag = await identity(path, signature);
  const record = store.remote(url);
  if (record?.etag === etag && record.signatureUrl === signature.url) {
    try {
      return store.resolve(record.key);
    } catch (error) {
      if (!(error instanceof RktError) || error.code !== "no-such-image") throw error;
    }
  }

  const check = context.beginVerification();
  await check.expect?.(signature.bytes);
  const pending = store.beginImport(path);
  try {
    const file = await openImageFile(path);
    try {
      for await (const chunk of fileChunks(file)) {
        context.signal?.throwIfAborted();
        check.update(chunk);
        await pending.write(chunk);
      }
    } finally {
      await file.close();
    }
    const { key, manifest } = await pending.finish();
    const { identities } = await check.finish(signature.bytes, manifest.name);
    reportVerified(identities, reporter);
    return await pending.commit({ url, key, signatureUrl: signature.url, etag, downloadedAt: Date.now() });
  } catch (error) {
    await pending.abort();
    throw error;
  }
}

/** Call it before the file is read: a file that changes meanwhile is not known the next time. */
async function identity(path: string, signature: Signature): Promise<string> {
  const file = await stat(path, { bigint: true }).catch((cause) => {
    throw new RktError("no-such-file", errorText(cause), { cause });
  });
  if (!file.isFile()) throw new RktError("no-such-file", `image ${path} is no regular file`);
  const signed = createHash("sha256").update(signature.bytes).digest("hex");
  return [file.dev, file.ino, file.size, file.mtimeNs, file.ctimeNs, signed].join(":");
}
