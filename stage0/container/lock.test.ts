import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { hostPath } from "../../shared/contract/paths.ts";
import { isLocked, tryLock, waitUnlocked } from "./lock.ts";

function directory(t: TestContext) {
  const dir = mkdtempSync(join(tmpdir(), "rkt-lock-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return hostPath(dir);
}

/** A process that has the lock in its hands until it is killed. */
async function holder(t: TestContext, kind: "-s" | "-x", dir: string): Promise<ChildProcess> {
  const script = 'exec 9<"$1"; flock "$0" 9; echo; exec sleep 1000';
  const child = spawn("sh", ["-c", script, kind, dir], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  return child;
}

test("another process's lock is seen; its end is waited for", async (t) => {
  const dir = directory(t);
  assert.equal(isLocked(dir), false);
  const child = await holder(t, "-x", dir);
  assert.equal(isLocked(dir), true);
  assert.equal(tryLock(dir), "busy");
  child.kill("SIGKILL");
  assert.equal(waitUnlocked(dir), "free");
  const lock = tryLock(dir);
  assert.ok(typeof lock === "object");
  assert.equal(isLocked(dir), true);
  lock.close();
  lock.close();
  assert.equal(isLocked(dir), false);
});

test("a probe of another process is no lock, and not in the way of one", async (t) => {
  const dir = directory(t);
  const child = await holder(t, "-s", dir);
  assert.equal(isLocked(dir), false);
  // Dies when it is scheduled next, which `tryLock` has to await.
  child.kill("SIGKILL");
  const lock = tryLock(dir);
  assert.ok(typeof lock === "object", String(lock));
  lock.close();
});

test("a lock that nobody lets go of is not waited for, be it a probe's", async (t) => {
  const dir = directory(t);
  await holder(t, "-s", dir);
  assert.equal(tryLock(dir), "busy");
});

test("a directory that is not there, or another one by now", (t) => {
  const dir = directory(t);
  const inside = hostPath(join(dir, "a"));
  assert.equal(tryLock(inside), "gone");
  assert.equal(isLocked(inside), "gone");
  assert.equal(waitUnlocked(inside), "gone");
  mkdirSync(inside);
  const lock = tryLock(inside);
  assert.ok(typeof lock === "object");
  renameSync(inside, join(dir, "b"));
  assert.equal(isLocked(hostPath(join(dir, "b"))), true, "the lock goes with it");
  lock.close();
});
