import { renameSync, writeFileSync } from "node:fs";
import { beside } from "./beside.ts";

/** Writes a file that whoever reads it meanwhile finds whole, or not at all. */
export function writeWhole(path: string, text: string, mode: number): void {
  const temporary = beside(path);
  writeFileSync(temporary, text, { flag: "wx", mode });
  renameSync(temporary, path);
}
