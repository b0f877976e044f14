import { rmSync } from "node:fs";

/** Takes away what an attempt has made. That even this fails must not hide why the attempt did. */
export function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {}
}
