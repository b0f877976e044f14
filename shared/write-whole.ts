import { renameSync, rmSync, writeFileSync } from "node:fs";
import { beside } from "./beside.ts";

/** Writes a file that whoever reads it meanwhile finds whole, or not at all. A failure leaves nothing behind. */
export function writeWhole(path: string, text: string, mode: number): void {
  const temporary = beside(path);
  try {
    writeFileSync(temporary, text, { flag: "wx", mode });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
