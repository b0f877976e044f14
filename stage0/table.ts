/** Tables for people: columns as wide as their widest cell, two spaces apart. */

import { printable } from "../shared/errors.ts";

export function table(header: readonly string[] | undefined, rows: readonly (readonly string[])[]): string {
  const given = header === undefined ? rows : [header, ...rows];
  // Nearly always all is well: a look at each row costs less than one at each cell.
  const lines = given.map((row) => {
    const text = row.join(" ");
    return printable(text) === text ? row : row.map(printable);
  });
  const widths: number[] = [];
  for (const row of lines)
    for (let i = 0; i < row.length; i++) widths[i] = Math.max(widths[i] ?? 0, row[i]?.length ?? 0);
  const texts = lines.map((row) => {
    let line = "";
    for (let i = 0; i < row.length - 1; i++) line += (row[i] ?? "").padEnd((widths[i] ?? 0) + 2);
    const last = row.at(-1) ?? "";
    return last === "" ? line.trimEnd() : line + last;
  });
  return texts.length === 0 ? "" : `${texts.join("\n")}\n`;
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

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How long ago, in the largest unit that fits: "3 minutes ago". */
export function ago(then: number, now: number): string {
  const past = now - then;
  if (past >= DAY) return counted(past / DAY, "day");
  if (past >= HOUR) return counted(past / HOUR, "hour");
  if (past >= MINUTE) return counted(past / MINUTE, "minute");
  return past >= SECOND ? counted(past / SECOND, "second") : "just now";
}

function counted(amount: number, unit: string): string {
  const count = Math.floor(amount);
  return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
}
