/** Tables for people: columns as wide as their widest cell, two spaces apart. */

import { printable } from "../shared/errors.ts";

export function table(header: readonly string[] | undefined, rows: readonly (readonly string[])[]): string {
  const given = header === undefined ? rows : [header, ...rows];
  // Nearly always all is well: that is one look, where each cell's own would cost more than the rest.
  const all = given.map((row) => row.join("")).join("");
  const lines = printable(all) === all ? given : given.map((row) => row.map(printable));
  const widths: number[] = [];
  for (const row of lines)
    for (let i = 0; i < row.length; i++) widths[i] = Math.max(widths[i] ?? 0, row[i]?.length ?? 0);
  let text = "";
  for (const row of lines) {
    // Blanks wait for a cell that needs them: none end a line.
    let blanks = 0;
    for (let i = 0; i < row.length; i++) {
      const cell = row[i] ?? "";
      if (cell !== "") text += blanks === 0 ? cell : " ".repeat(blanks) + cell;
      blanks = (cell === "" ? blanks : 0) + (widths[i] ?? 0) - cell.length + 2;
    }
    text += "\n";
  }
  return text;
}

/** In the largest unit of 1024s that fits: "3.6 MiB". */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  for (; value >= 1024 && unit < SIZES.length - 1; unit++) value /= 1024;
  const tenths = Math.round(value * 10);
  const number = unit === 0 || value >= 100 ? Math.round(value) : `${Math.floor(tenths / 10)}.${tenths % 10}`;
  return `${number} ${SIZES[unit]}`;
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
  let name = "second";
  let length = 1000;
  for ([name, length] of UNITS) if (past >= length) break;
  const count = Math.floor(past / length);
  return count === 0 ? "just now" : `${count} ${name}${count === 1 ? "" : "s"} ago`;
}
