/**
 * Downloads one big file, and passes its bytes on as they arrive. A broken
 * transfer is resumed if the server can prove that the file is still the same
 * (Range with If-Range); otherwise it starts again from the first byte.
 *
 * Source: RFC 9110 sections 8.8 (validators), 13.1.5 (If-Range), 14 (Range).
 */

import { type Validators, validators } from "./caching.ts";
import type { Headers, HttpClient, HttpResponse } from "./http.ts";
import { AGAIN, HttpError, statusError } from "./http-error.ts";
import { waitToRetry, watchRate } from "./retry.ts";

export interface DownloadOptions {
  /** The file that the caller has: it is sent only if it is another one by now (If-None-Match, If-Modified-Since). */
  known?: Validators | undefined;
  /** Bytes the file must have. */
  size?: number | undefined;
  /** What is at the URL never changes, because it is called by its digest: a transfer is resumed without a proof. */
  immutable?: boolean;
  signal?: AbortSignal | undefined;
  /** The first byte comes next: forget everything that was written. `length` is known if the server says it. */
  begin(length: number | undefined): Promise<void> | void;
  /** Errors thrown here end the download and pass through unchanged. */
  write(chunk: Uint8Array): Promise<void> | void;
}

export type Download = { changed: false; headers: Headers } | { changed: true; headers: Headers; size: number };

export async function download(http: HttpClient, url: URL, options: DownloadOptions): Promise<Download> {
  const { signal } = options;
  let offset = 0;
  let total: number | undefined;
  let validator: string | undefined;
  /** Of the answer that began the file. */
  let headers: Headers = {};
  let farthest = 0;
  let failures = 0;
  /** What arrived is of no use: the next request is for all of it. */
  let restart = false;
  const rate = watchRate(http.leastRate);
  const condition = conditionOf(options.known);

  for (;;) {
    try {
      const proof = validator === undefined ? undefined : { "if-range": validator };
      const resumable = offset > 0 && !restart && (options.immutable === true || proof !== undefined);
      const rest = resumable ? { range: `bytes=${offset}-`, ...proof } : undefined;
      const resuming = rest !== undefined;
      const response = await http.get(url, {
        signal,
        headers: {
          // The bytes of the file itself were signed, and an offset counts them.
          "accept-encoding": "identity",
          ...(rest ?? condition),
        },
      });
      if (response.status === 304 && !resuming && condition !== undefined) {
        response.close();
        return { changed: false, headers: response.headers };
      }
      if (response.status === 206 && resuming) {
        if (!continues(response, { offset, total, validator })) {
          response.close();
          restart = true;
          throw broken(response, "the server answers a range with another one");
        }
      } else if (response.status === 200) {
        headers = response.headers;
        total = contentLength(headers);
        validator = strongValidator(headers);
        offset = 0;
        restart = false;
        checkSize(response, total, options.size);
        await options.begin(total);
        rate.busy();
      } else {
        response.close();
        if (resuming && response.status === 416) {
          restart = true;
          throw broken(response, `the file has become shorter than ${offset} bytes`);
        }
        throw statusError(response);
      }

      for await (const chunk of response.body) {
        offset += chunk.length;
        if (options.size !== undefined && offset > options.size) checkSize(response, offset, options.size);
        rate.arrived(chunk.length, response.shown);
        await options.write(chunk);
        rate.busy();
      }
      if (total !== undefined && offset !== total) throw broken(response, `${offset} of ${total} bytes arrived`);
      checkSize(response, offset, options.size);
      return { changed: true, headers, size: offset };
    } catch (error) {
      if (offset > farthest) {
        farthest = offset;
        failures = 0;
      }
      failures++;
      await waitToRetry(http, error, { failures, midway: offset > 0, signal });
    }
  }
}

function conditionOf({ etag, lastModified }: Validators = {}): Record<string, string> | undefined {
  if (etag !== undefined) return { "if-none-match": etag };
  return lastModified === undefined ? undefined : { "if-modified-since": lastModified };
}

/** Whether a 206 is the rest of the file that was begun. */
function continues(
  response: HttpResponse,
  begun: { offset: number; total: number | undefined; validator: string | undefined },
): boolean {
  const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers["content-range"] ?? "");
  if (range === null || Number(range[1]) !== begun.offset) return false;
  const total = range[3] === "*" ? undefined : Number(range[3]);
  if (total !== undefined && (Number(range[2]) !== total - 1 || (begun.total ?? total) !== total)) return false;
  const etag = response.headers["etag"];
  return etag === undefined || !(begun.validator ?? "").startsWith('"') || etag === begun.validator;
}

/** A validator that proves, byte for byte, that a file is the same; a weak ETag does not. */
function strongValidator(headers: Headers): string | undefined {
  const { etag, lastModified } = validators(headers);
  return etag === undefined || etag.startsWith('"') ? (etag ?? lastModified) : undefined;
}

function contentLength(headers: Headers): number | undefined {
  const value = headers["content-length"];
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : undefined;
}

function checkSize(response: HttpResponse, size: number | undefined, wanted: number | undefined): void {
  if (wanted === undefined || size === undefined || size === wanted) return;
  response.close();
  throw new HttpError(
    "wrong-size",
    `get ${response.shown}: ${size} bytes, and the image that asks for it says ${wanted}`,
  );
}

const broken = (response: HttpResponse, why: string): HttpError =>
  new HttpError("download-broken", `get ${response.shown}: ${why}`, { transient: true, hint: AGAIN });
