/**
 * `npm run bench:fly`: how long stage1-fly takes, as a ratio against podman
 * with as little isolation, by hyperfine in one run. Read by a person, never
 * asserted. `--runs=N`.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dirname, "../..");
const rkt = join(root, "dist/rkt");
const busybox = join(root, "dist/examples/busybox.aci");
const fly = join(root, "dist/stage1-fly.aci");
const { values } = parseArgs({ options: { runs: { type: "string", default: "30" } } });

interface Peer {
  name: string;
  argv: string[];
  /** Runs before the measurement, in a mount namespace of its own. */
  prepare: string;
}

function podman(runtime: string, rootfs: string, ...flags: string[]): string[] {
  const limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
  const line = ["podman", "--cgroup-manager=cgroupfs", `--runtime=${runtime}`, "run", "--rm", "--network=host"];
  return [...line, ...flags, ...limits, "--rootfs", rootfs, "true"];
}

/** The first that works here: crun refuses hybrid cgroups, and runc has no --cgroups=disabled. */
function choosePeer(rootfs: string): Peer {
  const crun = podman("crun", rootfs, "--cgroups=disabled");
  const candidates: Peer[] = [
    { name: "podman with crun, --cgroups=disabled", argv: crun, prepare: ":" },
    {
      name: "podman with crun, --cgroups=disabled, the v2 part of hybrid cgroups unmounted",
      argv: crun,
      prepare: "umount /sys/fs/cgroup/unified",
    },
    { name: "podman with runc, with cgroups", argv: podman("runc", rootfs), prepare: ":" },
  ];
  const found = candidates.find(({ argv, prepare }) => inNamespace(prepare, argv).status === 0);
  if (found === undefined) throw new Error("podman runs with neither crun nor runc here");
  return found;
}

function inNamespace(prepare: string, argv: readonly string[]) {
  return spawnSync("unshare", ["--mount", "sh", "-c", `${prepare} && exec "$@"`, "sh", ...argv], { encoding: "utf8" });
}

interface Measured {
  results: { command: string; mean: number; median: number; min: number }[];
}

const base = mkdtempSync(join(tmpdir(), "rkt-fly-bench-"));
const data = `--dir=${join(base, "data")}`;
try {
  const rootfs = join(base, "rootfs");
  mkdirSync(rootfs);
  spawnSync("tar", ["-xzf", busybox, "-C", rootfs, "--strip-components=1", "rootfs"]);
  const empty = join(base, "empty.js");
  writeFileSync(empty, "");
  const peer = choosePeer(rootfs);
  const lines = [
    [rkt, data, "run", `--stage1-image=${fly}`, busybox, "--exec=/bin/true"],
    peer.argv,
    [join(root, "node_modules/.bin/node"), empty],
  ].map((argv) => argv.join(" "));
  const json = join(base, "result.json");
  const hyperfine = ["hyperfine", "-N", "--warmup=3", `--runs=${values.runs}`, `--export-json=${json}`, ...lines];
  const done = inNamespace(peer.prepare, hyperfine);
  if (done.status !== 0) throw new Error(`hyperfine: ${done.stderr}`);
  const { results } = JSON.parse(readFileSync(json, "utf8")) as Measured;
  const [subject, other, node] = results;
  if (subject === undefined || other === undefined || node === undefined) throw new Error("hyperfine gave no result");
  const row = (name: string, { mean, median, min }: Measured["results"][number]) =>
    `${name.padEnd(80)} median ${(median * 1e3).toFixed(1)} ms, mean ${(mean * 1e3).toFixed(1)}, least ${(min * 1e3).toFixed(1)}\n`;
  process.stdout.write(row("rkt run --stage1-image=stage1-fly.aci … true", subject));
  process.stdout.write(row(peer.name, other));
  process.stdout.write(row("bare Node.js", node));
  const ratio = (of: "median" | "mean" | "min") => (subject[of] / other[of]).toFixed(2);
  process.stdout.write(
    `${ratio("median")}× by median, ${ratio("mean")}× by mean, ${ratio("min")}× by least (target 1.0, ≤ 1.3)\n`,
  );
} finally {
  spawnSync(rkt, [data, "gc", "--grace-period=0"]);
  rmSync(base, { recursive: true, force: true });
}
