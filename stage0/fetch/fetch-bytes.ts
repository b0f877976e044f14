/** Small documents in memory. */

import type { Headers, HttpClient } from "./http.ts";
import { HttpError, statusError } from "./http-error.ts";
import { waitToRetry, watchRate } from "./retry.ts";

export interface FetchedBytes {
  url: URL;
  status: number;
  headers: Headers;
  bytes: Buffer;
}

/**
 * Fetches a small document (page, signature, key) into memory, with retries.
 * If it has more than `limit` bytes, it is an error, or, with `cut`, its
 * beginning is given. A status other than 200 is an error, but for those in
 * `accept`.
 */
export async function fetchBytes(
  http: HttpClient,
  url: URL,
  options: { limit: number; cut?: boolean; accept?: readonly number[]; signal?: AbortSignal | undefined },
): Promise<FetchedBytes> {
  const rate = watchRate(http.leastRate);
  for (let failures = 1; ; failures++) {
    try {
      const response = await http.get(url, { headers: { "accept-encoding": "identity" }, signal: options.signal });
      const { status, headers } = response;
      if (status !== 200 && options.accept?.includes(status) !== true) {
        response.close();
        throw statusError(response);
      }
      const parts: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of response.body) {
        rate.arrived(chunk.length, response.shown);
        parts.push(chunk);
        size += chunk.length;
        if (size <= options.limit) continue;
        if (options.cut === true) break;
        throw new HttpError("too-big", `get ${response.shown}: more than ${options.limit} bytes`);
      }
      return { url: response.url, status, headers, bytes: Buffer.concat(parts) };
    } catch (error) {
      await waitToRetry(http, error, { failures, signal: options.signal });
    }
  }
}
