/**
 * Gets the bytes of an image's detached signature, from a file that the person
 * names or from the place beside the image. `verify.ts` judges what they prove.
 */

import { pathToFileURL } from "node:url";
import { readNamed, readRegular } from "../../shared/bounded-read.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { fetchBytes } from "./fetch-bytes.ts";
import type { HttpClient } from "./http.ts";
import { HttpError } from "./http-error.ts";
import { plainHref } from "./plain-href.ts";
import type { Reporter } from "../terminal/progress.ts";
import { strangersText } from "../trust/review.ts";
import { signaturePaths } from "./signature-paths.ts";

export interface Signature {
  url: string;
  bytes: Uint8Array;
}

/** A signature has some hundred bytes; with several signers and long comments a few thousand. */
const SIGNATURE_LIMIT = 1 << 18;
/** Storage services whose files cannot be listed answer 403 for a file that does not exist. */
const ABSENT = [403, 404, 410];

export function signatureUrls(image: URL): URL[] {
  return signaturePaths(image.pathname).map((path) => {
    const url = new URL(image);
    url.pathname = path;
    return url;
  });
}

/**
 * The first of `urls` that has a signature. "deferred": the server will have it
 * only after the image was fetched (202).
 */
export async function fetchSignature(
  http: HttpClient,
  urls: readonly URL[],
  signal: AbortSignal | undefined,
): Promise<Signature | "deferred"> {
  const absent: HttpError[] = [];
  for (const url of urls) {
    try {
      const answer = await fetchBytes(http, url, { limit: SIGNATURE_LIMIT, accept: [202], signal });
      if (answer.status === 202) return "deferred";
      if (!isWebPage(answer.bytes)) return { url: plainHref(url), bytes: answer.bytes };
      absent.push(new HttpError("no-signature", `get ${plainHref(url)}: a web page, not a signature`));
    } catch (error) {
      if (!(error instanceof HttpError) || !ABSENT.includes(error.status ?? 0)) throw error;
      absent.push(error);
    }
  }
  throw new HttpError("no-signature", `the image is not signed: ${absent.map((error) => error.message).join("; ")}`, {
    hint: "--signature names the file of a signature, --insecure-options=image does without one",
    cause: absent[0],
  });
}

/** The file that the person names. */
export const readSignature = (path: string): Signature => read(path, readNamed);

function read(path: string, bytesOf: typeof readNamed): Signature {
  try {
    return { url: pathToFileURL(path).href, bytes: bytesOf(path, SIGNATURE_LIMIT) };
  } catch (cause) {
    throw new RktError("no-signature", `cannot read the signature: ${errorText(cause)}`, { cause });
  }
}

/** The signature beside a local image; undefined when there is none. */
export function readSignatureBeside(image: string): Signature | undefined {
  for (const path of signaturePaths(image)) {
    try {
      return read(path, readRegular);
    } catch (error) {
      if (!(error instanceof RktError) || errorCode(error.cause) !== "ENOENT") throw error;
    }
  }
  return undefined;
}

export function reportVerified(identities: readonly string[], reporter: Reporter): void {
  reporter.line("rkt: signature verified:");
  for (const identity of identities) reporter.line(`  ${strangersText(identity)}`);
}

/** Whether it is a login or error page that came with status 200: no signature begins with "<". */
function isWebPage(bytes: Buffer): boolean {
  return /^\ufeff?\s*</.test(bytes.toString("utf8", 0, 256));
}
