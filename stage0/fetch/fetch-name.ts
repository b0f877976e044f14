/** An image by its name: the store's, or the one at an endpoint that discovery finds. */

import { existsSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import { passedOverHint } from "../store/best-image.ts";
import type { NamedExpectation } from "../store/expectation.ts";
import { formatImageName, type ImageName } from "../store/image-name.ts";
import type { StoredImage } from "../store/store.ts";
import { discoverEndpoints, formatAttempts } from "./discovery.ts";
import { type FetchContext, leastOf, verifying } from "./fetch-context.ts";
import { fetchUrl } from "./fetch-url.ts";
import { HttpError, withoutUrl } from "./http-error.ts";

export interface NameRequest {
  /** The person's own file, in place of the signature at the endpoint. */
  signature?: string | undefined;
  label: string;
  expected: NamedExpectation;
}

export async function fetchName(name: ImageName, request: NameRequest, from: FetchContext): Promise<StoredImage> {
  const { signature, expected, label } = request;
  // An ID says which image is meant, whoever signed it.
  const context = from.least === "verified" && expected.id === undefined ? verifying(from) : from;
  const { store, http, pullPolicy, reporter, signal } = context;
  const least = leastOf(context);
  if (pullPolicy !== "update" && signature === undefined) {
    const stored = store.best(expected, least);
    if (stored !== undefined) return stored;
  }
  const hint = passedOverHint(store.candidates(expected), expected, least);
  const text = formatImageName(name);
  if (pullPolicy === "never") {
    throw new RktError("no-such-image", `image ${text} is not in the store`, {
      hint: hint ?? "--pull-policy=new fetches it",
    });
  }

  const { found, attempts } = await discoverEndpoints(http, name, {
    signal,
    port: context.discoveryPort,
    onPlainHttp: (url) => reporter.line(`rkt: warning: image discovery over plain http: ${url}`),
  });
  let last: HttpError | undefined;
  for (const { image, signature: signatureUrl } of found) {
    try {
      return await fetchUrl({ url: image, signatureUrl, signatureFile: signature, expected, label }, context);
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      attempts.push({ url: image.href, why: withoutUrl(error) });
      last = error;
    }
  }
  const elsewhere = last?.status === 404 || last?.code === "unreachable" ? undefined : last?.hint;
  throw new RktError("image-not-found", `image ${text} cannot be found: ${formatAttempts(attempts)}`, {
    hint: hint ?? (existsSync(name.name) ? `the file of that name is ./${name.name}` : (elsewhere ?? NOWHERE)),
    cause: last,
  });
}

const NOWHERE = "is the name right, its host included? an image is also a URL or a file";
