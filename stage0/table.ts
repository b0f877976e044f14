/** Tables for people: columns as wide as their widest cell, two spaces apart. */

import { printable } from "../shared/errors.ts";

export function table(header: readonly string[] | undefined, rows: readonly (readonly string[])[]): string {
  const lines = (header === undefined ? rows : [header, ...rows]).map((row) => row.map(printable));
  const widths: number[] = [];
  for (const row of lines) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  return lines
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

/** In the largest unit of 1024s that fits: "3.6 MiB". */
export function bytes(count: number): string {
  let [value, unit] = [count, 0];
  while (value >= 1024 && unit < SIZES.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${SIZES[unit]}`;
}

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

const UNITS: readonly [name: string, milliseconds: number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1000],
];

/** How long ago, in the largest unit that fits: "3 minutes ago". */
export function ago(then: number, now: number): string {
  const past = Math.max(0, now - then);
  const [name, length] = UNITS.find(([, milliseconds]) => past >= milliseconds) ?? ["second", 1000];
  const count = Math.floor(past / length);
  return count === 0 ? "just now" : `${count} ${name}${count === 1 ? "" : "s"} ago`;
}
