import { renameSync, rmSync, writeFileSync } from "node:fs";

/**
 * Writes a file that whoever reads it meanwhile finds whole, or not at all. Nobody else may write it at the same time:
 * until it is whole it has a name of its own, which is the same each time, so that what a killed process has left there
 * is replaced by the next one. `temporary` is that name, in the same file system, where whoever looks through the
 * file's directory must not find it.
 */
export function writeWhole(path: string, text: string, mode: number, temporary = `${path}.tmp`): void {
  rmSync(temporary, { force: true });
  try {
    writeFileSync(temporary, text, { flag: "wx", mode });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
