/**
 * One URL: is the store's image of it still good, and if not, the download.
 * The bytes go to the staged import and to the signature check as they come;
 * nothing is indexed before the signature is verified and the image is the one
 * that was asked for.
 */

import { RktError } from "../../shared/errors.ts";
import type { RemoteRecord, StagedImport, StoredImage } from "../store/store.ts";
import { isFresh, maxAge, validators } from "./caching.ts";
import { download } from "./download.ts";
import { type Expectation, type FetchContext, unexpected } from "./fetch-context.ts";
import type { SignatureCheck } from "../trust/signature-check.ts";
import { fetchSignature, readSignature, reportVerified, type Signature, signatureUrls } from "./fetch-signature.ts";
import { type Headers, HttpError, plainHref } from "./http.ts";

export interface UrlRequest {
  url: URL;
  /** Of the signature; beside the image unless told. */
  signatureUrl?: URL | undefined;
  /** The person's own file instead. */
  signatureFile?: string | undefined;
  expected: Expectation;
  /** Of the progress bar: "Downloading aci". */
  label: string;
}

export async function fetchUrl(request: UrlRequest, context: FetchContext): Promise<StoredImage> {
  const known = knownImage(request, context);
  if (known !== undefined) {
    if (context.pullPolicy !== "update" || isFresh(known.record, Date.now())) return known.image;
  } else if (context.pullPolicy === "never") {
    const unverified = context.store.remote(plainHref(request.url)) === undefined ? "" : " with a verified signature";
    throw new RktError("no-such-image", `image ${plainHref(request.url)} is not in the store${unverified}`, {
      hint: "--pull-policy=new fetches it",
    });
  }

  const { reporter } = context;
  reporter.line(`rkt: fetching image from ${plainHref(request.url)}`);
  if (context.insecure.has("image")) reporter.line("rkt: warning: the image's signature is not checked");
  if (context.insecure.has("tls") && request.url.protocol === "https:") {
    reporter.line("rkt: warning: the server's certificate is not checked");
  }
  return downloadImage(request, known, context);
}

interface KnownImage {
  record: RemoteRecord;
  image: StoredImage;
}

/** What the store has of this URL and may use: verified, where that is asked for, and as expected. */
function knownImage(request: UrlRequest, { store, insecure }: FetchContext): KnownImage | undefined {
  if (request.signatureFile !== undefined) return undefined;
  const record = store.remote(plainHref(request.url));
  if (record === undefined) return undefined;
  if (record.signatureUrl === undefined && !insecure.has("image")) return undefined;
  try {
    const image = store.resolve(record.key);
    return unexpected(image, request.expected, () => store.sha256(image.key)) === undefined
      ? { record, image }
      : undefined;
  } catch (error) {
    if (error instanceof RktError && error.code === "no-such-image") return undefined;
    throw error;
  }
}

async function downloadImage(
  request: UrlRequest,
  known: KnownImage | undefined,
  context: FetchContext,
): Promise<StoredImage> {
  const { store, http, reporter } = context;
  const verify = !context.insecure.has("image");
  const ownSignature = request.signatureFile === undefined ? undefined : await readSignature(request.signatureFile);
  const urls = request.signatureUrl === undefined ? signatureUrls(request.url) : [request.signatureUrl];
  const stop = new AbortController();
  const signal = context.signal === undefined ? stop.signal : AbortSignal.any([context.signal, stop.signal]);

  let staged: StagedImport | undefined;
  let check: SignatureCheck | undefined;
  let early: Promise<Signature | "deferred"> | undefined;
  const transfer = reporter.transfer(request.label);
  try {
    const result = await download(http, request.url, {
      known: known?.record,
      size: request.expected.size,
      signal,
      async begin(length) {
        await staged?.abort();
        staged = await store.stage({ name: plainHref(request.url) });
        transfer.begin(length);
        if (!verify) return;
        check = context.beginVerification();
        if (ownSignature !== undefined) await check.expect?.(ownSignature.bytes);
        if (ownSignature !== undefined || early !== undefined) return;
        // Beside the image: a missing signature ends the download of a big one.
        early = fetchSignature(http, urls, signal);
        early.then(
          (signature) => (signature === "deferred" ? undefined : check?.expect?.(signature.bytes)),
          (error) => stop.abort(error),
        );
      },
      async write(chunk) {
        check?.update(chunk);
        await staged?.write(chunk);
        transfer.advance(chunk.length);
      },
    });
    transfer.end();
    if (!result.changed) {
      await staged?.abort();
      return stillGood(known, result.headers, context);
    }
    if (staged === undefined) throw new Error("a download without a beginning");

    const { id, key, manifest } = await staged.finish();
    const { sha256 } = staged;
    const wrong = unexpected({ id, ...manifest }, request.expected, sha256);
    if (wrong !== undefined) {
      throw new RktError("wrong-image", `the image at ${plainHref(request.url)} is not the one asked for: ${wrong}`);
    }
    let signature = ownSignature;
    if (check !== undefined) {
      signature ??= await settle(await early, urls, context);
      const { identities } = await check.finish(signature.bytes, manifest.name);
      reportVerified(identities, reporter);
    }
    return await staged.commit({
      url: plainHref(request.url),
      key,
      signatureUrl: check === undefined ? undefined : signature?.url,
      ...validators(result.headers),
      maxAge: maxAge(result.headers),
      downloadedAt: Date.now(),
    });
  } catch (error) {
    await staged?.abort();
    throw error;
  } finally {
    transfer.end();
    stop.abort();
    await early?.catch(() => {});
  }
}

/** 304: the record holds for another while. */
function stillGood(known: KnownImage | undefined, headers: Headers, { store }: FetchContext): StoredImage {
  if (known === undefined) throw new Error("an unchanged image that nobody knew");
  store.updateRemote({
    ...known.record,
    ...(headers["etag"] === undefined ? {} : validators(headers)),
    maxAge: maxAge(headers) ?? known.record.maxAge,
    downloadedAt: Date.now(),
  });
  return known.image;
}

/** The signature, now that the image's bar has ended: fetched already, or, deferred, fetched now. */
async function settle(
  early: Signature | "deferred" | undefined,
  urls: readonly URL[],
  { http, reporter, signal }: FetchContext,
): Promise<Signature> {
  const signature = early === "deferred" ? await fetchSignature(http, urls, signal) : early;
  if (signature === undefined) throw new Error("a verification without a signature");
  if (signature === "deferred") {
    throw new HttpError(
      "signature-deferred",
      `get ${urls.map(plainHref).join(", ")}: the signature is not ready, though the image is`,
    );
  }
  reporter.line(`Downloading signature from ${signature.url}`);
  const transfer = reporter.transfer("Downloading signature");
  transfer.begin(signature.bytes.length);
  transfer.advance(signature.bytes.length);
  transfer.end();
  return signature;
}
