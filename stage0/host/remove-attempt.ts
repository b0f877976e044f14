import { removeTree } from "./remove-tree.ts";

/**
 * Removes what a failed attempt has made. A failure of the removal is ignored, so that it does not hide the first one.
 */
export function removeAttempt(path: string): void {
  try {
    removeTree(path);
  } catch {}
}
