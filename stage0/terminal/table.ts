/** Lays out tables: columns are as wide as their widest cell, two spaces apart. */

import { printable } from "../../shared/errors.ts";

export function table(header: readonly string[] | undefined, rows: readonly (readonly string[])[]): string {
  const given = header === undefined ? rows : [header, ...rows];
  const text = layOut(given);
  // Nearly always no cell needs escapes: one test of the whole text is faster than one of each of thousands of cells.
  const plain = !/:\/\/|[^\n\u0020-\u007e]/.test(text) && text.split("\n").length === given.length + 1;
  return plain ? text : layOut(given.map((row) => row.map(printable)));
}

function layOut(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    for (let i = 0; i < row.length; i++) {
      const width = (row[i] as string).length + 2;
      if (!(width <= (widths[i] ?? 0))) widths[i] = width;
    }
  let text = "";
  for (const row of rows) {
    let line = "";
    for (let i = 0; i < row.length - 1; i++) line += (row[i] as string).padEnd(widths[i] as number);
    const last = row.at(-1) ?? "";
    text += last === "" ? `${line.trimEnd()}\n` : `${line}${last}\n`;
  }
  return text;
}

/** A number of bytes in the largest binary unit that fits: "3.6 MiB". */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  for (; value >= 1024 && unit < SIZES.length - 1; unit++) value /= 1024;
  const tenths = Math.round(value * 10);
  const number = unit === 0 || value >= 100 ? Math.round(value) : `${Math.floor(tenths / 10)}.${tenths % 10}`;
  return `${number} ${SIZES[unit]}`;
}

/** In steps of 1024. */
export const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** The units of `ago`, in milliseconds. */
export const AGO: readonly (readonly [name: string, milliseconds: number])[] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1000],
];

/** How long ago, in the largest unit that fits: "3 minutes ago". */
export function ago(then: number, now: number): string {
  const past = now - then;
  const fitting = AGO.find(([, milliseconds]) => past >= milliseconds);
  if (fitting === undefined) return "just now";
  const [name, milliseconds] = fitting;
  const count = Math.floor(past / milliseconds);
  return `${count} ${name}${count === 1 ? "" : "s"} ago`;
}
