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
