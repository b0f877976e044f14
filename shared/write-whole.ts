import { renameSync, rmSync, writeFileSync } from "node:fs";

/**
 * Replaces a file, so that a reader finds it either complete or not at all. No two processes may write it at the same
 * time: `temporary`, its name until it is complete, is always the same, so that the next process replaces the one of a
 * killed process. Give another `temporary`, in the same file system, if readers of the directory must not find such a
 * file.
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
