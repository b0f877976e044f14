/**
 * Runs the built `rkt` as root. Each test has its own data directory, which is always removed afterwards.
 */

import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from "node:child_process";
import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { TestContext } from "node:test";
import { flock, LOCK_EX } from "../../shared/syscall/descriptor.ts";

const root = join(import.meta.dirname, "../..");
export const dist = join(root, "dist");
export const rktBinary = join(dist, "rkt");
export const exampleAci = (name: string): string => join(dist, "examples", `${name}.aci`);

/** What follows an image that has a shell: the shell runs the script in place of the image's command. */
export const sh = (script: string): string[] => ["--exec=/bin/sh", "--", "-c", script];

/** Guards the recursive removal: only a directory that carries it is ever deleted. */
const MARKER = ".rkt-test";

const needs: Record<string, () => string | undefined> = {
  root: () => (process.getuid?.() === 0 ? undefined : "not root"),
  build: () => (existsSync(rktBinary) ? undefined : "dist/rkt is not built: npm run build"),
  overlay: () =>
    /\boverlay\b/.test(readFileSync("/proc/filesystems", "utf8")) ? undefined : "the kernel has no overlayfs",
};

/** Skips the test, with the reason, if the machine lacks something. In CI a skip is a failure. */
export function requires(t: TestContext, ...what: (keyof typeof needs | string)[]): boolean {
  for (const name of what) {
    const reason = needs[name] === undefined ? (onPath(name) ? undefined : `${name} is not installed`) : needs[name]();
    if (reason === undefined) continue;
    t.skip(reason);
    return false;
  }
  return true;
}

const onPath = (program: string): boolean =>
  (process.env["PATH"] ?? "").split(":").some((dir) => existsSync(join(dir, program)));

export interface Result {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  input?: string | Buffer;
  env?: Record<string, string>;
  cwd?: string;
  timeout?: number;
}

/** A data directory and the `rkt` that works on it. */
export interface Rkt {
  readonly dir: string;
  /** A directory for the test's own files, removed with the data. */
  readonly scratch: string;
  /** Runs to the end; stdout and stderr as text. */
  run(args: readonly string[], options?: RunOptions): Result;
  /** As `run`, and asserts the exit status. */
  ok(args: readonly string[], options?: RunOptions): Result;
  /** As `run`, and asserts the exit status and the message on stderr. */
  fails(args: readonly string[], status: number, message: RegExp, options?: RunOptions): Result;
  /** Starts it and returns at once; killed at the end of the test. */
  start(args: readonly string[], options?: SpawnOptions): ChildProcess;
  /** Everything below the containers directory, as paths relative to it; empty when no container exists. */
  containers(): string[];
}

export interface RktOptions {
  /** Begin with an empty store: the first container also imports and renders the stage1. */
  empty?: boolean;
  /** Name of the data directory. */
  data?: string;
}

export function makeRkt(t: TestContext, { empty = false, data = "data" }: RktOptions = {}): Rkt {
  const base = mkdtempSync(join(tmpdir(), "rkt-test-"));
  writeFileSync(join(base, MARKER), "");
  const dir = join(base, data);
  const scratch = join(base, "scratch");
  mkdirSync(scratch);
  const children = new Set<ChildProcess>();
  t.after(() => {
    for (const child of children) if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    killInside(dir);
    // Networks are the host's. They are released before the directory is removed with the stage1 image, which does
    // that.
    if (hasContainers(dir)) spawnSync(rktBinary, [`--dir=${dir}`, "gc", "--grace-period=0"]);
    removeCgroups(dir);
    unmountBelow(base);
    assert.ok(existsSync(join(base, MARKER)), "refusing to remove a directory that is not a test's");
    rmSync(base, { recursive: true, force: true });
  });

  const argv = (args: readonly string[]): string[] => [`--dir=${dir}`, ...args];
  const furnishFor = (args: readonly string[]): void => {
    const container = args.includes("run") || args.includes("prepare");
    if (container && !empty && !existsSync(dir) && !args.some((word) => word.startsWith("--stage1-"))) furnish(dir);
  };
  const run = (args: readonly string[], options: RunOptions = {}): Result => {
    furnishFor(args);
    const done = spawnSync(rktBinary, argv(args), {
      input: options.input ?? "",
      env: { ...process.env, ...options.env },
      cwd: options.cwd ?? scratch,
      timeout: options.timeout ?? 60_000,
      killSignal: "SIGKILL",
      maxBuffer: 256 * 1024 * 1024,
    });
    return { status: done.status, signal: done.signal, stdout: done.stdout.toString(), stderr: done.stderr.toString() };
  };
  const show = (args: readonly string[], result: Result): string =>
    `rkt ${args.join(" ")}\nstatus ${result.status} signal ${result.signal}\n--- stdout\n${result.stdout}\n--- stderr\n${result.stderr}`;
  return {
    dir,
    scratch,
    run,
    ok(args, options) {
      const result = run(args, options);
      assert.equal(result.status, 0, show(args, result));
      return result;
    },
    fails(args, status, message, options) {
      const result = run(args, options);
      assert.equal(result.status, status, show(args, result));
      assert.match(result.stderr, message, show(args, result));
      return result;
    },
    start(args, options = {}) {
      furnishFor(args);
      const child = spawn(rktBinary, argv(args), { cwd: scratch, ...options });
      children.add(child);
      return child;
    },
    containers() {
      const containers = join(dir, "containers");
      if (!existsSync(containers)) return [];
      return readdirSync(containers).flatMap((state) =>
        readdirSync(join(containers, state)).map((uuid) => join(state, uuid)),
      );
    },
  };
}

const hasContainers = (dir: string): boolean => globSync(join(dir, "containers/*/*")).length > 0;

let furnished: string | undefined;

/**
 * Makes a data directory with the default stage1 in its store, as a first `rkt run` leaves it. That takes two seconds,
 * so it is done once for all test files of a run (build/run-tests.ts), or once in a test's process. Each test gets hard
 * links to its blobs and trees, into which nobody writes.
 */
function furnish(dir: string): void {
  furnished ??= makeFurnished();
  const script = 'cp -al "$1" "$2" && rm "$2/cas/index.sqlite" && cp -a "$1/cas/index.sqlite" "$2/cas"';
  const { status, stderr } = spawnSync("sh", ["-ec", script, "sh", furnished, dir], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
}

/** A directory that all test files of a run share. build/run-tests.ts makes and removes it. */
const COMMON = process.env["RKT_TEST_COMMON"];

function makeFurnished(): string {
  if (COMMON === undefined) {
    const base = mkdtempSync(join(tmpdir(), "rkt-store-"));
    process.once("exit", () => rmSync(base, { recursive: true, force: true }));
    return fillStore(join(base, "data"));
  }
  const lock = openSync(join(COMMON, "lock"), "a", 0o600);
  try {
    // The first file that needs the store makes it, and others wait.
    flock(lock, LOCK_EX);
    const dir = join(COMMON, "data");
    if (existsSync(dir)) return dir;
    renameSync(fillStore(join(COMMON, "new")), dir);
    return dir;
  } finally {
    closeSync(lock);
  }
}

function fillStore(dir: string): string {
  const rkt = (...args: string[]): string => {
    const { status, stdout, stderr } = spawnSync(rktBinary, [`--dir=${dir}`, ...args], { encoding: "utf8" });
    assert.equal(status, 0, stderr);
    return stdout.trim();
  };
  const uuid = rkt("prepare", exampleAci("busybox"));
  rkt("rm", uuid);
  rkt("image", "rm", "example.com/busybox");
  rmSync(join(dir, "cas/locks"), { recursive: true });
  return dir;
}

/**
 * Kills the containers of a data directory that still run: a supervisor has the container's UUID in its arguments, or
 * has the container's directory as its working directory.
 */
function killInside(dir: string): void {
  const run = join(dir, "containers", "run");
  if (!existsSync(run)) return;
  const uuids = readdirSync(run);
  if (uuids.length === 0) return;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const cmdline = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      const cwd = readlinkSync(`/proc/${pid}/cwd`);
      if (uuids.some((uuid) => cmdline.includes(`rkt-${uuid}`) || cwd === join(run, uuid))) killFamily(pid);
    } catch {
      // It ended meanwhile.
    }
  }
}

/** Removes the containers' cgroups, as `rkt gc` would. Processes that were killed just now may need a moment. */
function removeCgroups(dir: string): void {
  const lists = globSync(join(dir, "containers/*/*/cgroups"));
  const cgroups = lists.flatMap((path) => readFileSync(path, "utf8").split("\n")).filter((path) => path !== "");
  const script =
    'for dir; do find "$dir" -depth -type d -exec rmdir {} +; done 2>/dev/null; for dir; do [ ! -d "$dir" ] || exit 1; done';
  for (let tries = 0; tries < 50; tries++) {
    if (cgroups.length === 0 || spawnSync("sh", ["-c", script, "sh", ...cgroups]).status === 0) return;
    spawnSync("sleep", ["0.05"]);
  }
}

function killFamily(pid: string): void {
  for (const child of readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" "))
    if (child !== "") killFamily(child);
  spawnSync("kill", ["-KILL", pid]);
}

function unmountBelow(base: string): void {
  const targets = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((target) => target.startsWith(`${base}/`))
    .sort()
    .reverse();
  for (const target of targets) spawnSync("umount", ["-l", target]);
}

/** Waits until `probe` returns a value; fails with `what` after the deadline. */
export async function eventually<T>(what: string, probe: () => T | undefined, milliseconds = 20_000): Promise<T> {
  const end = Date.now() + milliseconds;
  for (;;) {
    const value = probe();
    if (value !== undefined) return value;
    if (Date.now() > end) assert.fail(`${what}: not within ${milliseconds} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The exit status and output of a started process. */
export function finished(child: ChildProcess): Promise<Result> {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => err.push(chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) =>
      resolve({ status, signal, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    );
  });
}

/** Writes a file in the scratch directory, and returns its path. */
export function scratchFile(rkt: Rkt, name: string, content: string | Buffer): string {
  const path = join(rkt.scratch, basename(name));
  const fd = openSync(path, "w", 0o644);
  try {
    writeFileSync(fd, content);
  } finally {
    closeSync(fd);
  }
  return path;
}
