/** What the container's first process does before it becomes systemd. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { dist, makeRkt, requires } from "../helpers/rkt.ts";

test("a container whose nspawn died before the kernel would have told it does not start", (t) => {
  if (!requires(t, "root", "build", "flock")) return;
  const rkt = makeRkt(t);
  const root = join(rkt.scratch, "stage1");
  const make = 'mkdir -p "$1/rkt/status" "$1/rkt/stdio" && tar -C "$1" --strip-components=1 -xf "$0" rootfs';
  const made = spawnSync("sh", ["-c", make, join(dist, "stage1-nspawn.aci"), root], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  const pid1 = ["chroot", root, "/usr/lib/rkt/pid1", "pipe", "--", "--version"];
  const run = (argv: string[]) => spawnSync(argv[0] ?? "", argv.slice(1), { encoding: "utf8", timeout: 20_000 });

  const orphan = run(pid1);
  assert.deepEqual([orphan.status, orphan.stdout, orphan.stderr], [254, "", ""]);
  const alive = run(["flock", "--shared", join(root, "rkt/status"), ...pid1]);
  assert.equal(alive.status, 0, alive.stderr);
  assert.match(alive.stdout, /^systemd 252 /);
});
