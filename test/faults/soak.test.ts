/**
 * The life of containers over and over: at the end there is what there was at
 * the beginning. A few cycles in the suite; on a machine that does nothing else
 * RKT_SOAK_CYCLES=2000 also counts what the whole machine has.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { test } from "node:test";
import { exampleAci, finished, makeRkt, requires, type Rkt, sh } from "../helpers/rkt.ts";
import { assertAftermath, assertImages, ownCgroups } from "./aftermath.ts";

const asked = process.env["RKT_SOAK_CYCLES"];
const cycles = Number(asked ?? 12);
/** Alone on the machine. */
const long = asked !== undefined;
const cgroups = process.getuid?.() === 0 ? ownCgroups() : [];
const busybox = exampleAci("busybox");
const words = (command: string, ...args: string[]): string =>
  spawnSync(command, args, { encoding: "utf8" }).stdout.trim();
const linesOf = (text: string): number => (text === "" ? 0 : text.split("\n").length);

const WAITS = sh("trap 'exit 3' TERM; (trap '' TERM; exec sleep 1000) & echo up; sleep 1000 & wait");
/** The default network is the machine's: other tests use it too. */
const network = long ? ["--net", "--port=8000-tcp:18099"] : [];

/** Starts it, waits until it is up, and does something to it. */
async function whileUp(rkt: Rkt, options: string[], act: (uuid: string) => void): Promise<number | null> {
  const child = rkt.start(["run", ...options, busybox, ...WAITS]);
  const done = finished(child);
  await Promise.race([new Promise((resolve) => child.stdout?.once("data", resolve)), done]);
  const running = JSON.parse(rkt.ok(["list", "--format=json"]).stdout).find(
    (one: { state: string }) => one.state === "running",
  );
  act(running?.uuid ?? assert.fail((await done).stderr));
  return (await done).status;
}

const lives: ((rkt: Rkt) => Promise<void> | void)[] = [
  (rkt) => assert.equal(rkt.run(["run", busybox, ...sh("sleep 1000 & exit 4")]).status, 4),
  async (rkt) => assert.equal(await whileUp(rkt, network, (uuid) => void rkt.ok(["stop", uuid])), 3),
  (rkt) => void rkt.ok(["run", "--rm", "--private-users", busybox, ...sh("true")]),
  async (rkt) => assert.equal(await whileUp(rkt, network, (uuid) => void rkt.run(["stop", "--force", uuid])), null),
  (rkt) => {
    const uuid = rkt.ok(["prepare", "--no-overlay", busybox, ...sh("exit 0")]).stdout.trim();
    rkt.ok(["run-prepared", uuid]);
    rkt.ok(["rm", uuid]);
  },
  async (rkt) =>
    void (await whileUp(rkt, [], (uuid) => {
      rkt.ok(["enter", uuid, "/bin/true"]);
      rkt.ok(["logs", uuid]);
      rkt.ok(["stop", uuid]);
    })),
];

/** Of the containers that there have been, as far as they were seen, and whatever is below this test's own cgroups. */
const seen = new Set<string>();
const ours = (cgroup: string): boolean =>
  cgroups.some((own) => cgroup.startsWith(`${own}/`)) || seen.has(/\/rkt-([0-9a-f-]{36})/.exec(cgroup)?.[1] ?? "");

/** What must be as it was. */
function census(rkt: Rkt): Record<string, number> {
  const own = {
    "descriptors of this process": readdirSync("/proc/self/fd").length,
    "mounts of the data directory": readFileSync("/proc/self/mountinfo", "utf8").split(rkt.dir).length - 1,
    "containers, and work in progress": rkt.containers().length + readdirSync(`${rkt.dir}/cas/tmp`).length,
    "files of the data directory": linesOf(words("find", rkt.dir)),
  };
  if (!long) return own;
  const kinds = ["mnt", "net", "pid", "user", "uts", "ipc", "cgroup"];
  const namespaces = kinds.map((kind) => [`${kind} namespaces`, linesOf(words("lsns", "-n", "-t", kind))] as const);
  return {
    ...own,
    ...Object.fromEntries(namespaces),
    mounts: linesOf(readFileSync("/proc/self/mountinfo", "utf8").trim()),
    cgroups: words("find", "/sys/fs/cgroup", "-type", "d", "-path", "*rkt-*").split("\n").filter(ours).length,
    interfaces: linesOf(words("ip", "-brief", "link")),
    "rules of iptables": linesOf(
      words("iptables-save")
        .split("\n")
        .filter((line) => line.startsWith("-A"))
        .join("\n"),
    ),
    "files of /run/rkt": linesOf(words("find", "/run/rkt")),
    processes: readdirSync("/proc").filter((name) => /^\d+$/.test(name) && !kernelThread(name)).length,
  };
}

function kernelThread(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8") === "";
  } catch {
    return true;
  }
}

/** MiB that all of the machine uses, caches left out; and open files. */
function usage(): { memory: number; files: number; disk: number } {
  writeFileSync("/proc/sys/vm/drop_caches", "3");
  const kilobytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(readFileSync("/proc/meminfo", "utf8"))?.[1]);
  return {
    memory: Math.round((kilobytes("MemTotal") - kilobytes("MemAvailable")) / 1024),
    files: Number(readFileSync("/proc/sys/fs/file-nr", "utf8").split("\t")[0]),
    disk: Math.round(Number(words("df", "--output=used", "-k", "/").split("\n")[1]) / 1024),
  };
}

test(`${cycles} cycles of run, stop and gc`, { timeout: 180_000 + cycles * 3000 }, async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const kept = rkt.ok(["prepare", busybox, ...sh("exit 0")]).stdout.trim();
  const images = JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout).map(({ id }: { id: string }) => id);
  const cycle = async (i: number) => {
    await lives[i % lives.length]?.(rkt);
    for (const container of rkt.containers()) seen.add(basename(container));
    rkt.ok(["gc", "--grace-period=0", "--expire-prepared=1h"]);
  };
  // The first of each makes what stays: trees, indexes, the network's chains.
  for (let i = 0; i < lives.length; i++) await cycle(i);
  const before = census(rkt);
  const used = long ? usage() : undefined;
  for (let i = 0; i < cycles; i++) await cycle(i);
  assert.deepEqual(census(rkt), before);
  if (used !== undefined) {
    const now = usage();
    t.diagnostic(
      `before ${JSON.stringify(used)}, after ${cycles} cycles ${JSON.stringify(now)}; ${JSON.stringify(before)}`,
    );
    // A hundredth of what a cycle uses would show.
    assert.ok(now.memory - used.memory < 64 + cycles / 20, "MiB of memory");
    assert.ok(now.files - used.files < 256, "open files");
    assert.ok(now.disk - used.disk < 64, "MiB of disk");
  }
  rkt.ok(["run-prepared", kept]);
  assertImages(rkt, images, "soak");
  assertAftermath(rkt, cgroups, "soak");
});
