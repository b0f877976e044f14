import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";

/** Builds a Go package, or a file, as a static program at `output`, without the network. */
export function buildGo(source: string, output: string): void {
  const done = spawnSync("go", ["build", "-o", output, source], {
    env: {
      PATH: process.env["PATH"],
      GOPATH: "/usr/share/gocode",
      GO111MODULE: "off",
      CGO_ENABLED: "0",
      GOCACHE: join(import.meta.dirname, "../../.cache/go-build"),
    },
    encoding: "utf8",
  });
  assert.equal(done.status, 0, `${done.stderr}${done.error ?? ""}`);
}
