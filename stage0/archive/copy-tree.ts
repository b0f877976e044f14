/** Copies of rendered trees, for containers without an overlay. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { RktError } from "../../shared/errors.ts";
import { HOST_ENVIRONMENT } from "../../shared/program.ts";

/**
 * Copies a tree to a directory that does not exist yet. cp(1) keeps metadata,
 * hard links, holes and attributes, and shares blocks where the file system can.
 */
export async function copyTree(from: string, to: string): Promise<void> {
  const child = spawn("cp", ["--archive", "--reflink=auto", "--sparse=auto", "--no-target-directory", "--", from, to], {
    stdio: ["ignore", "ignore", "pipe"],
    env: HOST_ENVIRONMENT,
  });
  let message = "";
  child.stderr.on("data", (chunk: Buffer) => {
    if (message.length < 500) message += chunk.toString();
  });
  const [status] = (await once(child, "close")) as [number | null];
  if (status === 0) return;
  // "cp: error copying 'A' to 'B': No space left on device": the names are ours, and long.
  const reason = (message.split("\n")[0] ?? "").replace(/^.*: /, "") || `cp ended with ${status}`;
  throw new RktError("copy-failed", `cannot copy ${from}: ${reason}`, {
    hint: reason === "No space left on device" ? "free some space, or leave --no-overlay out" : undefined,
  });
}
