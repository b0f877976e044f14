import { type Dir, opendirSync, type Stats, statSync } from "node:fs";

/**
 * Whether a process has the directory open, which another process that got the same pid has not. It reads one entry at
 * a time, because a process may have a million open files.
 */
export function holdsDirectory(pid: number, dir: Stats): boolean {
  let descriptors: Dir;
  try {
    descriptors = opendirSync(`/proc/${pid}/fd`);
  } catch {
    return false;
  }
  try {
    for (let entry = descriptors.readSync(); entry !== null; entry = descriptors.readSync()) {
      const target = statSync(`${descriptors.path}/${entry.name}`, { throwIfNoEntry: false });
      if (target !== undefined && target.ino === dir.ino && target.dev === dir.dev) return true;
    }
    return false;
  } catch {
    // It has ended.
    return false;
  } finally {
    descriptors.closeSync();
  }
}
