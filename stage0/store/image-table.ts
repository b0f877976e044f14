/**
 * The table of images for a person, which SQLite formats. The same table made
 * by `table.ts` of the rows took `rkt image list` of 10,000 images 1.7 times
 * the processor time of the whole command (94 ms, not 56). `table.ts` says how
 * a table looks, and formats those with characters that must be escaped;
 * image-table.test.ts holds that both agree, for generated images too.
 */

import { SHORT_DIGITS } from "../../shared/contract/image-ids.ts";
import { AGO, SIZES, table } from "../terminal/table.ts";
import type { IndexDb } from "./index-db.ts";

export const IMAGE_ORDERS = ["name", "id", "size", "importtime", "lastused"] as const;
export type ImageOrder = (typeof IMAGE_ORDERS)[number];

/** Columns; not all are worth an order. */
export const IMAGE_FIELDS = [...IMAGE_ORDERS, "digest"] as const;
export type ImageField = (typeof IMAGE_FIELDS)[number];

/** Hex digits of a registry's digest that a person sees. */
const DIGEST_DIGITS = 12;
export const shortDigest = (digest: string): string => digest.slice(0, "sha256:".length + DIGEST_DIGITS);

export interface ImageTableOptions {
  /** Whole keys, bytes, times in RFC 3339. */
  full: boolean;
  /** A first line with the names of the columns. */
  legend: boolean;
  /** Images that are equal in this come by their key. */
  by: ImageOrder;
  descending: boolean;
  /** Milliseconds since the epoch, as all times here. */
  now: number;
}

/** With a column for the digests of OCI images, if there is one. */
const legendOf = (digests: boolean): string[] =>
  ["ID", "NAME", ...(digests ? ["DIGEST"] : []), "SIZE", "IMPORTED", "LAST USED"];

const ORDER: Record<ImageOrder, string> = {
  name: "cell1",
  id: "key",
  size: "size",
  importtime: "imported_at",
  lastused: "used_at",
};

export function imageTable(index: IndexDb, { full, legend, by, descending, now }: ImageTableOptions): string {
  const time = (column: string) => (full ? rfc3339(column) : ago(column, now));
  const digests = index.get("SELECT 1 FROM images WHERE digest IS NOT NULL LIMIT 1") !== undefined;
  const LEGEND = legendOf(digests);
  const digest = `coalesce(${full ? "digest" : `substr(digest, 1, ${"sha256:".length + DIGEST_DIGITS})`}, '')`;
  const columns = [
    full ? "key" : `substr(key, 1, ${"sha512-".length + SHORT_DIGITS})`,
    "name || coalesce(':' || nullif(version, ''), '')",
    ...(digests ? [digest] : []),
    full ? "size" : bytes("size"),
    time("imported_at"),
    time("used_at"),
  ];
  const cells = `
    SELECT ${columns.map((column, i) => `${column} AS cell${i}`).join(", ")}, version
    FROM images INDEXED BY images_listed ORDER BY ${ORDER[by]} ${descending ? "DESC" : ""}, key`;
  const last = columns.length - 1;
  const padded = columns.slice(0, -1).map((_, i) => i);
  const least = (i: number) => (legend ? (LEGEND[i] ?? "").length : 0);
  // What is materialized keeps its order; an ORDER BY of group_concat's own would sort it once more.
  const [row = []] = index.scan(`
    WITH cells AS MATERIALIZED (${cells}),
      widths AS MATERIALIZED (
        SELECT ${padded.map((i) => `max(${least(i)}, coalesce(max(length(cell${i})), 0)) AS width${i}`)},
          total(octet_length(version) <> length(version) OR version GLOB '*[^ -~]*' OR version GLOB '*//*') AS strange
        FROM cells)
    SELECT strange, group_concat(printf('${"%-*s  ".repeat(last)}%s' || char(10),
        ${padded.map((i) => `width${i}, cell${i}`)}, cell${last}), ''),
      ${padded.map((i) => `width${i}`)}
    FROM widths CROSS JOIN cells`);
  const [strange, text, ...widths] = row as [number, string | null, ...number[]];
  if (strange > 0) {
    // Names are of harmless characters; a version is what its author wrote, and may be a URL with a password.
    const rows = index.scan(`SELECT ${columns.map((_, i) => `cell${i}`)} FROM (${cells})`);
    return table(
      legend ? LEGEND : undefined,
      rows.map((cell) => cell.map(String)),
    );
  }
  return legend ? `${LEGEND.map((name, i) => name.padEnd(widths[i] ?? 0)).join("  ")}\n${text ?? ""}` : (text ?? "");
}

/** As `bytes` in table.ts: three digits are without tenths. */
function bytes(column: string): string {
  const units = SIZES.slice(1).map((name, i) => {
    const unit = 1024 ** (i + 1);
    const whole = `((2 * ${column} + ${unit}) / ${2 * unit})`;
    const tenths = `((20 * ${column} + ${unit}) / ${2 * unit})`;
    const last = i === SIZES.length - 2;
    return `WHEN ${column} < ${100 * unit} THEN (${tenths} / 10) || '.' || (${tenths} % 10) || ' ${name}'
      WHEN ${last || `${column} < ${1024 * unit}`} THEN ${whole} || ' ${name}'`;
  });
  return `CASE WHEN ${column} < 1024 THEN ${column} || ' ${SIZES[0]}' ${units.join(" ")} END`;
}

/** As `ago` in table.ts. */
function ago(column: string, now: number): string {
  const units = AGO.map(
    ([name, unit]) => `WHEN ${column} <= ${now - unit}
      THEN ((${now} - ${column}) / ${unit}) || iif(${column} > ${now - 2 * unit}, ' ${name} ago', ' ${name}s ago')`,
  );
  return `CASE ${units.join(" ")} ELSE 'just now' END`;
}

/** As `Date.toISOString`. */
function rfc3339(column: string): string {
  return `strftime('%Y-%m-%dT%H:%M:%S', (${column} / 1000), 'unixepoch') || printf('.%03dZ', ${column} % 1000)`;
}
