/**
 * `npm run bench`: how fast, as ratios against a peer in the same run. Not a
 * test: a figure is read by a person, never asserted.
 *
 * Each pair runs in turn (A B A B …), so that both see the same machine; a
 * ratio is the median over the pairs. `--runs=N`, `--only=WORD`, `--json=FILE`;
 * `--small` does each once with little, which shows only that it runs.
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compile } from "../../build/runtime.ts";
import { importBench, listBench, renderBench } from "./store-bench.ts";

const root = join(import.meta.dirname, "../..");
const rkt = join(root, "dist/rkt");
const busybox = join(root, "dist/examples/busybox.aci");
const fly = join(root, "dist/stage1-fly.aci");

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "15" },
    only: { type: "string" },
    json: { type: "string" },
    small: { type: "boolean", default: false },
  },
});
const runs = values.small ? 1 : Number(values.runs);
/** How many of something that is measured by the thousand. */
const many = (count: number): number => (values.small ? Math.ceil(count / 100) : count);

type Argv = readonly [program: string, ...args: string[]];

interface Pair {
  name: string;
  subject: Argv;
  peer: Argv;
  /** What the ratio should be, and what it must not exceed. */
  target: string;
  /** The foreign program the peer needs. */
  needs?: string;
}

interface Row {
  name: string;
  subjectMs: number;
  peerMs: number;
  ratio: number;
  target: string;
}

const base = mkdtempSync(join(tmpdir(), "rkt-bench-"));
const data = join(base, "data");
const bundle = join(base, "rootfs");

function once(argv: Argv): number {
  const [program, ...args] = argv;
  const start = process.hrtime.bigint();
  const done = spawnSync(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  const time = Number(process.hrtime.bigint() - start) / 1e6;
  if (done.status !== 0)
    throw new Error(`${argv.join(" ")}: status ${done.status ?? done.signal}: ${done.stderr}${done.error ?? ""}`);
  return time;
}

const median = (list: readonly number[]): number =>
  [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;

function measure(pair: Pair): Row {
  const times: [number, number][] = [];
  once(pair.subject);
  once(pair.peer);
  for (let i = 0; i < runs; i++) times.push([once(pair.subject), once(pair.peer)]);
  return {
    name: pair.name,
    subjectMs: median(times.map(([a]) => a)),
    peerMs: median(times.map(([, b]) => b)),
    ratio: median(times.map(([a, b]) => a / b)),
    target: pair.target,
  };
}

/**
 * Without cgroups, which crun and runc refuse to make where v1 and v2 are mounted both. So that the pair is fair, neither
 * sees v2's mount. Podman's own cgroups are made by cgroupfs: there need not be a systemd on the host.
 */
const podman = (runtime: string, ...options: string[]): Argv =>
  withoutUnified([
    "podman",
    "--cgroup-manager=cgroupfs",
    `--runtime=${runtime}`,
    "run",
    "--rm",
    ...(runtime === "crun" ? ["--cgroups=disabled"] : []),
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=1024:1024",
    ...options,
    "--rootfs",
    bundle,
    "/bin/true",
  ]);

function withoutUnified(argv: readonly string[]): Argv {
  const script = "! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; exec \"$@\"";
  return ["unshare", "--mount", "sh", "-c", script, "sh", ...argv];
}

async function pairs(): Promise<Pair[]> {
  const empty = join(base, "empty");
  writeFileSync(`${empty}.cjs`, "");
  await compile(`${empty}.cjs`, empty);
  const image = spawnSync(rkt, [`--dir=${data}`, "fetch", "--insecure-options=image", busybox], { encoding: "utf8" });
  if (image.status !== 0) throw new Error(image.stderr);
  const run = (global: readonly string[], ...options: string[]): Argv =>
    withoutUnified([rkt, `--dir=${data}`, ...global, "run", ...options, image.stdout.trim(), "--exec=/bin/true"]);
  mkdirSync(bundle);
  spawnSync("tar", ["-xzf", busybox, "-C", bundle, "--strip-components=1", "rootfs"]);
  const host = "--network=host";
  const isFly = [`--stage1-path=${fly}`];
  return [
    { name: "rkt version / an empty compiled program", subject: [rkt, "version"], peer: [empty], target: "≤ 1.3" },
    { name: "rkt run true / podman with crun", subject: run([]), peer: podman("crun", host), target: "≤ 0.80", needs: "crun" },
    { name: "rkt run true / podman with runc", subject: run([]), peer: podman("runc", host), target: "≤ 0.80", needs: "runc" },
    { name: "rkt run true, fly / podman with crun", subject: run(isFly), peer: podman("crun", host), target: "≤ 0.42", needs: "crun" },
    {
      name: "rkt run --net true / podman with crun and its network",
      subject: run([], "--net"),
      peer: podman("crun"),
      target: "≤ 1.0",
      needs: "crun",
    },
    {
      name: `rkt list of ${many(1000)} exited containers / rkt version`,
      subject: [rkt, `--dir=${exited(many(1000))}`, "list"],
      peer: [rkt, `--dir=${data}`, "version"],
      target: "≤ 2",
    },
  ];
}

/** A data directory with so many exited containers. */
function exited(count: number): string {
  const dir = join(base, `exited-${count}`);
  once([rkt, `--dir=${dir}`, "run", busybox, "--exec=/bin/true"]);
  const script = `cd "$0"/containers/run; one=$(ls)
i=1; while [ $i -lt ${count} ]; do cp -a $one $(printf '%08x-0000-4000-8000-%012x' $i $i); i=$((i+1)); done`;
  once(["sh", "-c", script, dir]);
  return dir;
}

/** Milliseconds that gc takes for one of so many containers. */
function collection(count: number): number {
  return once([rkt, `--dir=${exited(count)}`, "gc", "--grace-period=0"]) / count;
}

/** Containers that run beside each other, and share the pages of their programs. */
const IDLE = 5;

/** Proportional set size of everything that an idle container has beside its app, in MB (proc_pid_smaps(5)). */
function idleMemory(): number | undefined {
  const command = `'${rkt}' --dir='${data}' run '${busybox}' --exec=/bin/sleep -- 1000 >/dev/null 2>&1 & echo $!`;
  const pids = Array.from({ length: IDLE }, () => Number(spawnSync("sh", ["-c", command], { encoding: "utf8" }).stdout));
  const isApp = (pid: number) => text(`/proc/${pid}/cmdline`).startsWith("/bin/sleep\0");
  try {
    for (let i = 0; i < 400; i++) {
      const families = pids.map((pid) => [pid, ...descendants(pid)]);
      if (families.every((family) => family.some(isApp))) {
        spawnSync("sleep", ["1"]);
        const all = pids.flatMap((pid) => [pid, ...descendants(pid)]).filter((pid) => !isApp(pid));
        return all.reduce((sum, pid) => sum + pss(pid), 0) / 1024 / IDLE;
      }
      spawnSync("sleep", ["0.05"]);
    }
    return undefined;
  } finally {
    for (const pid of pids) spawnSync("kill", ["-KILL", String(pid)]);
  }
}

const text = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "");
const pss = (pid: number): number => Number(/^Pss:\s+(\d+)/m.exec(text(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0);

function descendants(pid: number): number[] {
  const direct = text(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean).map(Number);
  return direct.flatMap((child) => [child, ...descendants(child)]);
}

async function main(): Promise<void> {
  const rows: Row[] = [];
  const report = (row: Row) => {
    rows.push(row);
    process.stdout.write(
      `${row.name.padEnd(60)} ${row.subjectMs.toFixed(1).padStart(7)} ms / ${row.peerMs.toFixed(1).padStart(7)} ms = ${row.ratio.toFixed(2)}×  (target ${row.target})\n`,
    );
  };
  for (const pair of await pairs()) {
    if (values.only !== undefined && !pair.name.includes(values.only)) continue;
    if (pair.needs !== undefined && spawnSync("which", [pair.needs]).status !== 0) {
      process.stdout.write(`${pair.name}: ${pair.needs} is not installed\n`);
      continue;
    }
    report(measure(pair));
  }
  const store = { rkt, small: busybox, base, rounds: runs, many };
  if (values.only === undefined || "image list".includes(values.only)) report(listBench(store));
  if (values.only === undefined || "render".includes(values.only))
    for (const row of await renderBench({ ...store, rounds: Math.min(runs, 5) })) report(row);
  if (values.only === undefined || "import".includes(values.only)) {
    const { row, memoryMB } = await importBench({ ...store, rounds: Math.min(runs, 5) });
    report(row);
    process.stdout.write(`${"peak memory of that import".padEnd(60)} ${memoryMB.toFixed(0)} MB  (target < 200)\n`);
  }
  const memory = values.only === undefined ? idleMemory() : undefined;
  if (memory !== undefined)
    process.stdout.write(
      `${"PSS of one of five idle containers beside its app".padEnd(60)} ${memory.toFixed(1)} MB  (target ≤ 4)\n`,
    );
  if (values.only === undefined)
    process.stdout.write(
      `${"gc of one container, of 100 and of 2,000".padEnd(60)} ${collection(many(100)).toFixed(1)} ms, ${collection(many(2000)).toFixed(1)} ms  (target: the same)\n`,
    );
  if (values.json !== undefined)
    writeFileSync(
      values.json,
      `${JSON.stringify({ runs, rows, idleMemoryMB: memory }, undefined, 2)}\n`,
    );
}

try {
  await main();
} finally {
  spawnSync(rkt, [`--dir=${data}`, "gc", "--grace-period=0"]);
  for (const mount of readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((m) => m.startsWith(base))
    .reverse())
    spawnSync("umount", ["-l", mount]);
  if (readdirSync(base).length > 0) rmSync(base, { recursive: true, force: true });
}
