/**
 * How long a downloaded image may be used without asking its server again.
 * Pure; `now` and times in milliseconds, ages in seconds.
 *
 * Source: RFC 9111 sections 4.2 and 5.2.2.
 */

/** Seconds for which a response may be reused unasked; undefined when the server says nothing about it. */
export function maxAge(headers: Readonly<Record<string, string | undefined>>): number | undefined {
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

/** A clock that went backwards makes a record stale, not eternal. */
export function isFresh(record: { maxAge?: number | undefined; downloadedAt: number }, now: number): boolean {
  if (record.maxAge === undefined || now < record.downloadedAt) return false;
  return now - record.downloadedAt < record.maxAge * 1000;
}
