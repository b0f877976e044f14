/**
 * What must hold after any fault: rkt answers, gc brings the data directory
 * back to no container, nothing of one is left on the machine, no image is
 * lost, and the next run works.
 *
 * The calling test process moves to a cgroup of its own, so that whatever is
 * left of its containers, and nobody else's, shows below it.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after } from "node:test";
import type { Rkt } from "../helpers/rkt.ts";

/** This process's own cgroup directory in each hierarchy (cgroups(7)), but for cpusets, which would have to be filled first. */
function currentCgroups(): string[] {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter((words) => words.includes("cgroup") || words.includes("cgroup2"))
    .map((words) => ({ at: words[4] ?? "", type: words.at(-3), options: (words.at(-1) ?? "").split(",") }));
  const lines = readFileSync("/proc/self/cgroup", "utf8").trim().split("\n");
  return lines.flatMap((line) => {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers.split(",").includes("cpuset")) return [];
    const mount = mounts.find(({ type, options }) =>
      controllers === "" ? type === "cgroup2" : controllers.split(",").every((one) => options.includes(one)),
    );
    return mount === undefined ? [] : join(mount.at, path);
  });
}

/** Cgroups of this test process alone, in every hierarchy where that is possible. */
export function ownCgroups(): string[] {
  const made: { parent: string; dir: string }[] = [];
  for (const parent of currentCgroups()) {
    const dir = join(parent, `rkt-faults-${process.pid}`);
    mkdirSync(dir);
    writeFileSync(join(dir, "cgroup.procs"), "0");
    made.push({ parent, dir });
  }
  assert.ok(made.length > 0, "there is no hierarchy of cgroups");
  after(() => {
    for (const { parent, dir } of made) {
      writeFileSync(join(parent, "cgroup.procs"), "0");
      rmdirSync(dir);
    }
  });
  return made.map(({ dir }) => dir);
}

const subdirectories = (dir: string): string[] =>
  readdirSync(dir, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [join(dir, entry.name)] : []));

/** The living processes of this test's cgroup, but for itself. */
function processes(cgroup: string): string[] {
  const pids = readFileSync(join(cgroup, "cgroup.procs"), "utf8").split("\n").filter(Boolean);
  return pids.flatMap((pid) => {
    if (Number(pid) === process.pid) return [];
    try {
      const state = /^State:\t(\S)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      return state === "Z" ? [] : [`${pid} ${line}`];
    } catch {
      return [];
    }
  });
}

/** Puts everything to the test; `what` was done before. */
export function assertAftermath(rkt: Rkt, cgroups: readonly string[], what: string): void {
  const list = rkt.run(["list", "--full"]);
  assert.equal(list.status, 0, `${what}: rkt list: ${list.stderr}`);
  // A container whose last process is about to go is still running: what ends by itself may take its time.
  const end = Date.now() + 20_000;
  for (;;) {
    const gc = rkt.run(["gc", "--grace-period=0", "--expire-prepared=0"]);
    assert.equal(gc.status, 0, `${what}: rkt gc: ${gc.stderr}`);
    const left = [...rkt.containers(), ...cgroups.flatMap(subdirectories), ...processes(cgroups[0] ?? "")];
    if (left.length === 0) break;
    if (Date.now() > end) assert.fail(`${what}: there is left ${left.join("\n")}`);
    spawnSync("sleep", ["0.02"]);
  }
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  assert.ok(!mounts.includes(rkt.dir), `${what}: mounts`);
  assert.deepEqual(readdirSync(join(rkt.dir, "cas/tmp")), [], `${what}: work in progress of the store`);
}

/** The images there are, whole: their IDs, computed from their bytes by `rkt image verify`. */
export function assertImages(rkt: Rkt, ids: readonly string[], what: string): void {
  const there = JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout).map((image: { id: string }) => image.id);
  for (const id of ids) assert.ok(there.includes(id), `${what}: image ${id} is lost`);
  rkt.ok(["image", "verify"]);
}

/** An rkt that fails must say so in its own words, and not with a stack. */
export function assertManners(status: number | null, stderr: string, what: string): void {
  assert.doesNotMatch(stderr, /internal error|^ +at /m, what);
  // Where no write(2) succeeds any more, none to stderr does.
  const isMute = /inject=write:error=\w+:when=\d+\+$/.test(what);
  if (status === 254 && !isMute) assert.match(stderr, /^rkt: /m, what);
}
