/** Starts a metadata service for a test, on a free port. */

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { finished, type Rkt } from "./rkt.ts";

export interface MetadataService {
  url: string;
  pid: number;
  /** Stops it in order, and returns its exit status. */
  stop(): Promise<number | null>;
}

export async function startMetadataService(
  t: TestContext,
  rkt: Rkt,
  options: readonly string[] = ["--listen=127.0.0.1:0"],
): Promise<MetadataService> {
  const child = rkt.start(["metadata-service", ...options], { stdio: ["ignore", "ignore", "pipe"] });
  const done = finished(child);
  t.after(() => child.kill("SIGKILL"));
  const url = await new Promise<string>((resolve, reject) => {
    let said = "";
    child.stderr?.on("data", (chunk) => {
      said += chunk;
      const match = /metadata service at (\S+)/.exec(said);
      if (match?.[1] !== undefined) resolve(match[1]);
    });
    void done.then(({ status }) => reject(new Error(`the metadata service ended with ${status}: ${said}`)));
  });
  return {
    url,
    pid: child.pid ?? 0,
    async stop() {
      assert.ok(child.kill("SIGTERM"));
      return (await done).status;
    },
  };
}
