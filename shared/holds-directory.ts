import { readdirSync, type Stats, statSync } from "node:fs";

/** Whether a process has the directory open: a recycled pid has not. */
export function holdsDirectory(pid: number, dir: Stats): boolean {
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return false;
  }
  return names.some((name) => {
    const target = statSync(`/proc/${pid}/fd/${name}`, { throwIfNoEntry: false });
    return target !== undefined && target.ino === dir.ino && target.dev === dir.dev;
  });
}
