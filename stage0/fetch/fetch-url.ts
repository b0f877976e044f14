/**
 * An image by its URL. If the store has an image of the URL, the server is
 * asked whether it is still current; if it is not, the image is downloaded. The
 * bytes go to the pending import and to the signature check as they come. The
 * import is committed when the signature is verified and the image is the one
 * that was asked for.
 */

import { RktError } from "../../shared/errors.ts";
import { type Expectation, unexpected } from "../store/expectation.ts";
import type { PendingImport, RemoteRecord, StoredImage } from "../store/store.ts";
import { isFresh, maxAge, validators } from "./caching.ts";
import { download } from "./download.ts";
import type { FetchContext } from "./fetch-context.ts";
import type { SignatureCheck } from "../trust/signature-check.ts";
import { fetchSignature, readSignature, reportVerified, type Signature, signatureUrls } from "./fetch-signature.ts";
import type { Headers } from "./http.ts";
import { HttpError } from "./http-error.ts";
import { plainHref } from "./plain-href.ts";

export interface UrlRequest {
  url: URL;
  /** Of the signature; undefined: beside the image. */
  signatureUrl?: URL | undefined;
  /** The person's own file of the signature, instead. */
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

/** The store's image of this URL, if it is the expected one, and was verified in case signatures are checked. */
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
  const ownSignature = request.signatureFile === undefined ? undefined : readSignature(request.signatureFile);
  const urls = request.signatureUrl === undefined ? signatureUrls(request.url) : [request.signatureUrl];
  const stop = new AbortController();
  const signal = context.signal === undefined ? stop.signal : AbortSignal.any([context.signal, stop.signal]);

  let pending: PendingImport | undefined;
  let check: SignatureCheck | undefined;
  let early: Promise<Signature | "deferred"> | undefined;
  const transfer = reporter.transfer(request.label);
  try {
    const result = await download(http, request.url, {
      known: known?.record,
      size: request.expected.size,
      signal,
      async begin(length) {
        await pending?.abort();
        pending = store.beginImport(plainHref(request.url));
        transfer.begin(length);
        if (!verify) return;
        check = context.beginVerification();
        if (ownSignature !== undefined) await check.expect?.(ownSignature.bytes);
        if (ownSignature !== undefined || early !== undefined) return;
        // Fetched while the image comes: if there is no signature, the download of a big image ends early.
        early = fetchSignature(http, urls, signal);
        early.then(
          (signature) => (signature === "deferred" ? undefined : check?.expect?.(signature.bytes)),
          (error) => stop.abort(error),
        );
      },
      async write(chunk) {
        check?.update(chunk);
        await pending?.write(chunk);
        transfer.advance(chunk.length);
      },
    });
    transfer.end();
    if (!result.changed) {
      await pending?.abort();
      return stillGood(known, result.headers, context);
    }
    if (pending === undefined) throw new Error("a download without a beginning");

    const { id, key, manifest } = await pending.finish();
    const { sha256 } = pending;
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
    return await pending.commit({
      url: plainHref(request.url),
      key,
      signatureUrl: check === undefined ? undefined : signature?.url,
      ...validators(result.headers),
      maxAge: maxAge(result.headers),
      downloadedAt: Date.now(),
    });
  } catch (error) {
    await pending?.abort();
    throw error;
  } finally {
    transfer.end();
    stop.abort();
    await early?.catch(() => {});
  }
}

/** The server has answered 304: the record holds for another while. */
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

/** The signature, which is fetched now if the server had deferred it. Its progress bar comes after that of the image. */
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
