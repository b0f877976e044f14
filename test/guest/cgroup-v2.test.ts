/** A host with cgroup v2 alone, as most users have: a virtual machine, since the machines of the tests have v1 beside it. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { requires } from "../helpers/rkt.ts";

const root = join(import.meta.dirname, "../..");

test("on cgroup v2 alone: run, limits, the OOM kill, enter, stop, a network, gc", async (t) => {
  if (!requires(t, "root", "build", "qemu-system-x86_64", "busybox")) return;
  const packages = join(root, ".cache/guest");
  mkdirSync(packages, { recursive: true });
  const guest = spawn("sh", [join(import.meta.dirname, "cgroup-v2.sh"), packages], { stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => guest.kill("SIGTERM"));
  const ended = new Promise<number | null>((resolve) => guest.once("close", resolve));
  const [said, errors, status] = await Promise.all([text(guest.stdout), text(guest.stderr), ended]);
  const checks = (said.match(/^(?:good|BAD): .*$/gm) ?? []).map((line) => line.trim());
  for (const check of checks) t.diagnostic(check);
  assert.equal(status, 0, `${said}${errors}`);
  assert.ok(checks.length > 10, said);
  assert.deepEqual(checks.filter((check) => check.startsWith("BAD")), []);
});
