/**
 * How long a downloaded image may be used without asking its server again, and
 * how the server then tells whether it has changed. Pure; `now` and times are
 * in milliseconds, ages in seconds.
 *
 * Source: RFC 9111 sections 4.2 and 5.2.2, RFC 9110 section 8.8.
 */

import type { Headers } from "./http.ts";

/** Never both: with an ETag, the date is not used (RFC 9110 13.1.3, 13.1.5). */
export interface Validators {
  etag?: string | undefined;
  /** An HTTP date, as the server wrote it. */
  lastModified?: string | undefined;
}

/**
 * A Last-Modified less than a second before the answer is not used, because a
 * later change in the same second would not be seen (RFC 9110 8.8.2.2).
 */
export function validators(headers: Headers): Validators {
  const { etag, date = "", "last-modified": lastModified } = headers;
  if (etag !== undefined) return { etag };
  return lastModified !== undefined && Date.parse(date) - Date.parse(lastModified) >= 1000 ? { lastModified } : {};
}

/** Seconds for which a response may be used without asking again; undefined if the server does not say. */
export function maxAge(headers: Headers): number | undefined {
  let age: number | undefined;
  for (const part of (headers["cache-control"] ?? "").split(",")) {
    const [name = "", value = ""] = part.trim().split("=");
    const directive = name.toLowerCase();
    if (directive === "no-store" || directive === "no-cache") return 0;
    if (directive !== "max-age") continue;
    const seconds = value.replaceAll('"', "");
    // An unreadable or repeated max-age is stale at once (RFC 9111 4.2.1).
    if (!/^\d{1,10}$/.test(seconds) || age !== undefined) return 0;
    age = Number(seconds);
  }
  if (age === undefined) return undefined;
  const spent = headers["age"];
  return Math.max(0, age - (spent !== undefined && /^\d{1,10}$/.test(spent) ? Number(spent) : 0));
}

/** If the clock has gone backwards since, the record is stale. */
export function isFresh(record: { maxAge?: number | undefined; downloadedAt: number }, now: number): boolean {
  if (record.maxAge === undefined || now < record.downloadedAt) return false;
  return now - record.downloadedAt < record.maxAge * 1000;
}
