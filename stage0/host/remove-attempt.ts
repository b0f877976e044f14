import { removeTree } from "./remove-tree.ts";

/** Takes away what an attempt has made. That even this fails must not hide why the attempt did. */
export function removeAttempt(path: string): void {
  try {
    removeTree(path);
  } catch {}
}
