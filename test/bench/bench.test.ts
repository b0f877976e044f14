/** That the benchmarks run, each once with little. Their figures are for people, and nothing is asserted of them. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { requires } from "../helpers/rkt.ts";

test("every benchmark runs", (t) => {
  if (!requires(t, "root", "build", "podman", "crun")) return;
  const argv = ["--no-warnings", join(import.meta.dirname, "bench.ts"), "--small"];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: "utf8" });
  assert.equal(status, 0, stdout + stderr);
  for (const line of ["rkt version", "run true / podman with crun", "fly", "--net", "rkt list", "image list", "render", "import", "PSS", "gc of one"])
    assert.match(stdout, new RegExp(`^.*${line}.*\\d (?:MB|ms)`, "m"), stdout);
});
