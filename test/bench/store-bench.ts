/**
 * The store's part of `npm run bench`: taking a big image in, and rendering it
 * once it is there, against the shell's own pipelines for the same work, and listing ten thousand, against a
 * command that does nothing.
 *
 * Every round works in directories that are new, and deletes none: on ext4 the
 * deletion of a big tree slows down whoever writes next. It begins with an
 * empty page cache but for the image: in a virtual machine, memory that was
 * never used costs a fault of the host for each page, and whoever has used all
 * of the rest pays.
 */

import { spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { createWriteStream, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pipeline } from "node:stream/promises";
import { gzip } from "../../shared/aci/gzip.ts";
import { archive } from "../../shared/aci/writer.ts";
import { addFile, type Tree } from "../../shared/aci/tree.ts";
import { manifest } from "../fixtures/aci.ts";

export interface StoreBench {
  rkt: string;
  /** A small image, whose start brings the stage1 image into a new store. */
  small: string;
  /** Where everything is made. */
  base: string;
  rounds: number;
  /** How many of something that is measured by the thousand. */
  many(count: number): number;
}

export interface Times {
  name: string;
  subjectMs: number;
  peerMs: number;
  ratio: number;
  target: string;
}

const FILES = 2000;
const FILE_BYTES = 100_000;
const IMAGES = 10_000;

const median = (list: readonly number[]): number =>
  [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;

function summarize(name: string, target: string, times: readonly [subject: number, peer: number][]): Times {
  return {
    name,
    subjectMs: median(times.map(([subject]) => subject)),
    peerMs: median(times.map(([, peer]) => peer)),
    ratio: median(times.map(([subject, peer]) => subject / peer)),
    target,
  };
}

function timed(program: string, args: readonly string[]): number {
  const start = performance.now();
  const done = spawnSync(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  const time = performance.now() - start;
  if (done.status !== 0) throw new Error(`${program} ${args.join(" ")}: status ${done.status}: ${done.stderr}`);
  return time;
}

/** Import and render of 200 MB in 2,000 files, which gzip halves, and the most memory it took, in MB. */
export async function importBench({ rkt, small, base, rounds, many }: StoreBench): Promise<{ row: Times; memoryMB: number }> {
  const image = join(base, "big.aci");
  await writeBigImage(image, many(FILES));
  const times: [number, number][] = [];
  let memory = 0;
  for (let i = 0; i < rounds; i++) {
    const data = join(base, `import-${i}`);
    const unpacked = join(base, `unpacked-${i}`);
    mkdirSync(unpacked);
    timed(rkt, [`--dir=${data}`, "prepare", small]);
    emptyPageCache(image);
    const start = performance.now();
    memory = Math.max(memory, await peakMemory(rkt, [`--dir=${data}`, "prepare", image]));
    const subject = performance.now() - start;
    emptyPageCache(image);
    // The shell does not wait for a process substitution by itself.
    const peer = `gzip -dc '${image}' | tee >(sha512sum >'${unpacked}.sum') | tar -x -C '${unpacked}'; wait`;
    times.push([subject, timed("bash", ["-c", peer])]);
  }
  return {
    row: summarize("import + render 200 MB / gzip -dc | tee >(sha512sum) | tar -x", "≤ 1.3", times),
    memoryMB: memory / 1024,
  };
}

/** Milliseconds of the processor that a line of bash takes, with all its children. */
function processorTime(command: string): number {
  const words = ["-c", `TIMEFORMAT='%U %S'; time { ${command}; }`];
  const { status, stderr } = spawnSync("bash", words, { encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] });
  const times = stderr.trim().split("\n").at(-1)?.split(" ").map(Number) ?? [];
  if (status !== 0) throw new Error(`${command}: status ${status}: ${stderr}`);
  return times.reduce((sum, seconds) => sum + seconds * 1000, 0);
}

/** Rendering the same image once it is in the store, which hashes it again: wall clock and processor. */
export async function renderBench({ rkt, base, rounds, many }: StoreBench): Promise<Times[]> {
  const image = join(base, "stored.aci");
  await writeBigImage(image, many(FILES));
  const data = join(base, "render");
  timed(rkt, [`--dir=${data}`, "--insecure-options=image", "fetch", image]);
  const [blob = ""] = globSync(join(data, "cas/blob/sha512/*/*"));
  const wall: [number, number][] = [];
  const processor: [number, number][] = [];
  for (let i = 0; i < rounds; i++) {
    const peerAt = join(base, `rendered-peer-${i}`);
    mkdirSync(peerAt);
    const subject = `'${rkt}' --dir='${data}' image render example.com/big '${join(base, `rendered-${i}`)}'`;
    // The shell's own child, so that its time is in the sum.
    const hashing = `exec 3> >(sha512sum >'${peerAt}.sum')`;
    const peer = `${hashing}; tee /dev/fd/3 <'${blob}' | tar -x -C '${peerAt}'; exec 3>&-; wait`;
    const measure = (command: string): [ms: number, cpuMs: number] => {
      emptyPageCache(blob);
      const start = performance.now();
      const cpu = processorTime(command);
      return [performance.now() - start, cpu];
    };
    const [subjectMs, subjectCpu] = measure(subject);
    const [peerMs, peerCpu] = measure(peer);
    wall.push([subjectMs, peerMs]);
    processor.push([subjectCpu, peerCpu]);
  }
  return [
    summarize("render 200 MB / tee >(sha512sum) | tar -x", "≤ 1.3", wall),
    summarize("… processor time", "≤ 1", processor),
  ];
}

/** Leaves `image` alone in it. */
function emptyPageCache(image: string): void {
  timed("sync", []);
  writeFileSync("/proc/sys/vm/drop_caches", "1");
  readFileSync(image);
}

async function writeBigImage(path: string, files: number): Promise<void> {
  const rootfs: Tree = new Map();
  addFile(rootfs, "bin/true", "", 0o755);
  const text = randomBytes(FILE_BYTES / 2).toString("hex");
  for (let i = 0; i < files; i++) {
    const half = randomBytes(FILE_BYTES / 2);
    addFile(rootfs, `d${i % 50}/f${i}`, Buffer.concat([half, Buffer.from(text.slice(i, i + FILE_BYTES / 2))]));
  }
  await pipeline(gzip(archive({ manifest: manifest({ name: "example.com/big" }), rootfs })), createWriteStream(path));
}

/** Runs a program to its end; its peak resident set in KiB (proc_pid_status(5), VmHWM). */
async function peakMemory(program: string, args: readonly string[]): Promise<number> {
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "inherit"] });
  let peak = 0;
  const look = () => {
    try {
      peak = Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1] ?? peak);
    } catch {}
  };
  const timer = setInterval(look, 10);
  const status = await new Promise<number | null>((resolve) => child.once("exit", resolve));
  clearInterval(timer);
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: status ${status}`);
  return peak;
}

/** A list of 10,000 images, with the table that a person sees. */
export function listBench({ rkt, base, rounds, many }: StoreBench): Times {
  const data = join(base, "list");
  timed(rkt, [`--dir=${data}`, "image", "list"]);
  fillIndex(join(data, "cas/index.sqlite"), many(IMAGES));
  const times: [number, number][] = [];
  for (let i = 0; i < rounds; i++)
    times.push([timed(rkt, [`--dir=${data}`, "image", "list"]), timed(rkt, [`--dir=${data}`, "version"])]);
  return summarize(`rkt image list of ${many(IMAGES)} / rkt version`, "< 2", times);
}

function fillIndex(path: string, images: number): void {
  const index = new DatabaseSync(path);
  const image = index.prepare(
    "INSERT INTO images (key, id, name, version, labels, size, imported_at, used_at, provenance) VALUES (?,?,?,?,?,?,?,?,0)",
  );
  const text = index.prepare("INSERT INTO manifests VALUES (?,?)");
  index.exec("BEGIN");
  for (let i = 0; i < images; i++) {
    const id = `sha512-${createHash("sha512").update(String(i)).digest("hex")}`;
    const key = id.slice(0, 71);
    const name = `example.com/team-${i % 50}/app-${i % 1000}`;
    const labels = [
      { name: "version", value: `1.${i}` },
      { name: "os", value: "linux" },
      { name: "arch", value: "amd64" },
    ];
    const then = Date.now() - i * 60_000;
    image.run(key, id, name, `1.${i}`, JSON.stringify(labels), i * 1000, then - i * 3_600_000, then);
    text.run(key, manifest({ name, labels }));
  }
  index.exec("COMMIT");
  index.close();
}
