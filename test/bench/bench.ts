/**
 * `npm run bench`: how fast, as ratios against a peer in the same run. Not a
 * test: a figure is read by a person, never asserted.
 *
 * Each pair runs in turn (A B A B …), so that both see the same machine; a
 * ratio is the median over the pairs. `--runs=N`, `--only=WORD`, `--json=FILE`.
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { importBench, listBench, renderBench } from "./store-bench.ts";

const root = join(import.meta.dirname, "../..");
const rkt = join(root, "dist/rkt");
const busybox = join(root, "dist/examples/busybox.aci");
const node = join(root, "node_modules/.bin/node");

const { values } = parseArgs({
  options: { runs: { type: "string", default: "15" }, only: { type: "string" }, json: { type: "string" } },
});
const runs = Number(values.runs);

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

/** Its cgroups by cgroupfs: there need not be a systemd on the host. */
const podman = (...flags: string[]): Argv => [
  "podman",
  "--cgroup-manager=cgroupfs",
  ...flags,
  "run",
  "--rm",
  "--network=host",
  "--ulimit=nofile=1024:1024",
  "--ulimit=nproc=1024:1024",
  "--rootfs",
  bundle,
  "/bin/true",
];

function pairs(): Pair[] {
  const empty = join(base, "empty.js");
  writeFileSync(empty, "");
  const image = spawnSync(rkt, [`--dir=${data}`, "fetch", "--insecure-options=image", busybox], { encoding: "utf8" });
  if (image.status !== 0) throw new Error(image.stderr);
  const run = (...options: string[]): Argv => [
    rkt,
    `--dir=${data}`,
    "run",
    ...options,
    image.stdout.trim(),
    "--exec=/bin/true",
  ];
  mkdirSync(bundle);
  spawnSync("tar", ["-xzf", busybox, "-C", bundle, "--strip-components=1", "rootfs"]);
  return [
    { name: "rkt version / bare runtime", subject: [rkt, "version"], peer: [node, empty], target: "≤ 1.5" },
    {
      name: "rkt run true / podman --runtime runc run true",
      subject: run(),
      peer: podman("--runtime=runc"),
      target: "1.0, ≤ 1.4",
      needs: "runc",
    },
    {
      name: "rkt list of 1,000 exited containers / rkt version",
      subject: [rkt, `--dir=${exited(1000)}`, "list"],
      peer: [rkt, `--dir=${data}`, "version"],
      target: "≤ 3",
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

/** Proportional set size of everything a running container has beside its app, in MB (proc_pid_smaps(5)). */
function idleMemory(): number | undefined {
  const child = spawnSync(
    "sh",
    ["-c", `'${rkt}' --dir='${data}' run '${busybox}' --exec=/bin/sleep -- 1000 >/dev/null 2>&1 & echo $!`],
    { encoding: "utf8" },
  );
  const pid = Number(child.stdout);
  try {
    for (let i = 0; i < 200; i++) {
      const family = descendants(pid);
      const app = family.find((p) => text(`/proc/${p}/cmdline`).startsWith("/bin/sleep\0"));
      if (app !== undefined) {
        spawnSync("sleep", ["1"]);
        return [pid, ...descendants(pid)].filter((p) => p !== app).reduce((sum, p) => sum + pss(p), 0) / 1024;
      }
      spawnSync("sleep", ["0.05"]);
    }
    return undefined;
  } finally {
    spawnSync("kill", ["-KILL", String(pid)]);
  }
}

const text = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "");
const pss = (pid: number): number => Number(/^Pss:\s+(\d+)/m.exec(text(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0);

function descendants(pid: number): number[] {
  const direct = text(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean).map(Number);
  return direct.flatMap((child) => [child, ...descendants(child)]);
}

/** Where a run's milliseconds go, from one traced run: the moments at which one program becomes the next. */
function breakdown(): [step: string, ms: number][] {
  const trace = join(base, "trace");
  const done = spawnSync(
    "strace",
    [
      "-f",
      "-ttt",
      "-e",
      "trace=execve,exit_group",
      "-o",
      trace,
      rkt,
      `--dir=${data}`,
      "run",
      busybox,
      "--exec=/bin/true",
    ],
    { encoding: "utf8" },
  );
  if (done.status !== 0) return [];
  const events = readFileSync(trace, "utf8")
    .split("\n")
    .flatMap((line) => {
      const match = /^\d+ +(\d+\.\d+) (execve\("([^"]+)"|exit_group\((\d+)\)).*= (?:0|\?)$/.exec(line);
      return match === null ? [] : [{ at: Number(match[1]) * 1000, what: match[3] ?? "exit" }];
    });
  const marks: [string, RegExp][] = [
    ["stage 0 (rkt)", /dist\/rkt$/],
    ["stage 1 (init)", /rootfs\/(usr\/lib\/rkt\/)?init$/],
    ["systemd-nspawn", /ld-linux/],
    ["pid1 (shell, relays)", /\/pid1$/],
    ["systemd starts the app", /systemd\/systemd$/],
    ["stage 2 (launcher)", /\/launcher$/],
    ["the app", /\/bin\/true$/],
    ["record its status", /\/record$/],
    ["systemd-shutdown, drain", /systemd-shutdown$/],
  ];
  const found = marks.flatMap(([step, pattern]) => {
    const event = events.find((e) => pattern.test(e.what));
    return event === undefined ? [] : [{ step, at: event.at }];
  });
  const end = events.at(-1)?.at ?? 0;
  return found.map(({ step, at }, i) => [step, (found[i + 1]?.at ?? end) - at]);
}

async function main(): Promise<void> {
  const rows: Row[] = [];
  const report = (row: Row) => {
    rows.push(row);
    process.stdout.write(
      `${row.name.padEnd(50)} ${row.subjectMs.toFixed(1).padStart(7)} ms / ${row.peerMs.toFixed(1).padStart(7)} ms = ${row.ratio.toFixed(2)}×  (target ${row.target})\n`,
    );
  };
  for (const pair of pairs()) {
    if (values.only !== undefined && !pair.name.includes(values.only)) continue;
    if (pair.needs !== undefined && spawnSync("which", [pair.needs]).status !== 0) {
      process.stdout.write(`${pair.name}: ${pair.needs} is not installed\n`);
      continue;
    }
    report(measure(pair));
  }
  const store = { rkt, small: busybox, base, rounds: runs };
  if (values.only === undefined || "image list".includes(values.only)) report(listBench(store));
  if (values.only === undefined || "render".includes(values.only))
    for (const row of await renderBench({ ...store, rounds: Math.min(runs, 5) })) report(row);
  if (values.only === undefined || "import".includes(values.only)) {
    const { row, memoryMB } = await importBench({ ...store, rounds: Math.min(runs, 5) });
    report(row);
    process.stdout.write(`${"peak memory of that import".padEnd(50)} ${memoryMB.toFixed(0)} MB  (target < 200)\n`);
  }
  const memory = values.only === undefined ? idleMemory() : undefined;
  if (memory !== undefined)
    process.stdout.write(
      `${"PSS of an idle container beside its app".padEnd(50)} ${memory.toFixed(1)} MB  (target ≤ 14)\n`,
    );
  if (values.only === undefined)
    process.stdout.write(
      `${"gc of one container, of 100 and of 2,000".padEnd(50)} ${collection(100).toFixed(1)} ms, ${collection(2000).toFixed(1)} ms  (target: the same)\n`,
    );
  const steps = values.only === undefined ? breakdown() : [];
  if (steps.length > 0) process.stdout.write("\none traced run (tracing slows it), from one program to the next:\n");
  for (const [step, ms] of steps) process.stdout.write(`  ${step.padEnd(26)} ${ms.toFixed(1).padStart(7)} ms\n`);
  if (values.json !== undefined)
    writeFileSync(
      values.json,
      `${JSON.stringify({ runs, rows, idleMemoryMB: memory, breakdown: steps }, undefined, 2)}\n`,
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
