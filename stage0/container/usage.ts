/**
 * Measures what a running container uses: from its cgroups, and otherwise from /proc. It enters no namespace. Processes
 * may end meanwhile; those are ignored.
 *
 * An app's processes are those in a cgroup `app-NAME.service`, in any hierarchy. A stage1 without such cgroups has one
 * app: all processes that the container's supervisor has started belong to it.
 */

import { readdirSync } from "node:fs";
import { readBeginning } from "../../shared/bounded-read.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { listedCgroups } from "./cgroups.ts";

export interface ProcessUsage {
  pid: number;
  /** Its arguments, or its name if it has erased them. */
  command: string;
  /** Seconds of processor time. */
  cpu: number;
  /** Bytes of memory, with shared memory. */
  memory: number;
}

export interface Usage {
  /** Seconds of processor time; if a cgroup counts it, including that of ended processes. */
  cpu: number;
  /** Bytes of memory, without cached files that were not used recently. */
  memory: number;
  /** Bytes; undefined: no limit. */
  memoryLimit: number | undefined;
  processes: ProcessUsage[];
}

export interface ContainerUsage {
  /** Including stage 1's own processes. */
  container: Usage;
  apps: Map<string, Usage>;
}

export interface RunningContainer {
  dir: HostPath;
  uuid: string;
  /** The process that holds the lock. */
  pid: number;
  apps: readonly string[];
}

export function containerUsage({ dir, uuid, pid, apps }: RunningContainer): ContainerUsage {
  const bases = listedCgroups(dir, uuid);
  const cgroups = bases.flatMap((base) => walk(base));
  const owners = new Map<number, string | undefined>(descendants(pid).map((process) => [process, undefined]));
  for (const { app, pids } of cgroups) for (const process of pids) owners.set(process, app ?? owners.get(process));
  const [onlyApp, ...others] = apps;
  const split = cgroups.some(({ app }) => app !== undefined);
  if (!split && others.length === 0)
    for (const process of owners.keys()) if (process !== pid) owners.set(process, onlyApp);

  const processes = [...owners.keys()].sort((a, b) => a - b).flatMap((process) => processUsage(process) ?? []);
  const of = (app: string): Usage =>
    usage(
      cgroups.filter((cgroup) => cgroup.app === app && cgroup.isTop).map((cgroup) => cgroup.dir),
      processes.filter((process) => owners.get(process.pid) === app),
    );
  return { container: usage(bases, processes), apps: new Map(apps.map((app) => [app, of(app)])) };
}

interface Cgroup {
  dir: string;
  app: string | undefined;
  /** It is the app's own cgroup, not one that the app has made below it. */
  isTop: boolean;
  pids: number[];
}

const APP_CGROUP = /^app-([a-z0-9-]+)\.service$/;

function walk(dir: string, above?: string): Cgroup[] {
  const app = above ?? APP_CGROUP.exec(dir.slice(dir.lastIndexOf("/") + 1))?.[1];
  const text = read(`${dir}/cgroup.procs`);
  if (text === undefined) return [];
  const pids = text.split("\n").flatMap((line) => (/^[1-9]\d*$/.test(line) ? [Number(line)] : []));
  const here: Cgroup = { dir, app, isTop: above === undefined, pids };
  return [here, ...directories(dir).flatMap((name) => walk(`${dir}/${name}`, app))];
}

function directories(dir: string): string[] {
  try {
    return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  } catch {
    return [];
  }
}

function usage(cgroups: readonly string[], processes: ProcessUsage[]): Usage {
  const sum = (key: "cpu" | "memory") => processes.reduce((total, process) => total + process[key], 0);
  return {
    cpu: first(cgroups, cgroupCpu) ?? sum("cpu"),
    memory: first(cgroups, cgroupMemory) ?? sum("memory"),
    memoryLimit: first(cgroups, memoryLimit),
    processes,
  };
}

function first<T>(dirs: readonly string[], probe: (dir: string) => T | undefined): T | undefined {
  for (const dir of dirs) {
    const found = probe(dir);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** v2 counts processor time even without its controller; v1 counts it in its own hierarchy. */
function cgroupCpu(dir: string): number | undefined {
  const microseconds = field(read(`${dir}/cpu.stat`), "usage_usec");
  if (microseconds !== undefined) return microseconds / 1e6;
  const nanoseconds = number(read(`${dir}/cpuacct.usage`));
  return nanoseconds === undefined ? undefined : nanoseconds / 1e9;
}

function cgroupMemory(dir: string): number | undefined {
  const all = number(read(`${dir}/memory.current`) ?? read(`${dir}/memory.usage_in_bytes`));
  if (all === undefined) return undefined;
  const stat = read(`${dir}/memory.stat`);
  return Math.max(all - (field(stat, "total_inactive_file") ?? field(stat, "inactive_file") ?? 0), 0);
}

/** "No limit" is the largest possible number on v1, and "max" on v2. */
function memoryLimit(dir: string): number | undefined {
  const bytes = number(read(`${dir}/memory.max`) ?? read(`${dir}/memory.limit_in_bytes`));
  return bytes !== undefined && bytes < 2 ** 62 ? bytes : undefined;
}

function field(text: string | undefined, name: string): number | undefined {
  return number(new RegExp(`^${name} (\\d+)$`, "m").exec(text ?? "")?.[1]);
}

function number(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+\n?$/.test(text) ? Number(text) : undefined;
}

// --- processes ----------------------------------------------------------------------------

/** A process and all its descendants. */
function descendants(pid: number): number[] {
  const found = [pid];
  for (const parent of found) {
    const children = (read(`/proc/${parent}/task/${parent}/children`) ?? "").split(" ");
    for (const word of children) if (number(word) !== undefined) found.push(Number(word));
  }
  return found;
}

/** USER_HZ: the unit of the kernel's times in /proc. It is always 100. */
const TICKS = 100;
const PAGE = 4096;
/** Bytes that are read of a process's arguments, which may have megabytes. */
const COMMAND_BYTES = 4096;

/** proc_pid_stat(5): the name in parentheses may contain any character; the last parenthesis ends it. */
function processUsage(pid: number): ProcessUsage | undefined {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const end = stat.lastIndexOf(")");
  const fields = stat.slice(end + 2).split(" ");
  const [state, user, system, pages] = [0, 11, 12, 21].map((i) => fields[i] ?? "");
  if (state === "Z" || state === "X") return undefined;
  const command = (read(`/proc/${pid}/cmdline`, COMMAND_BYTES) ?? "").replace(/\0+$/, "").replaceAll("\0", " ");
  return {
    pid,
    command: command === "" ? stat.slice(stat.indexOf("(") + 1, end) : command,
    cpu: (Number(user) + Number(system)) / TICKS,
    memory: Number(pages) * PAGE,
  };
}

/** Enough for the pids of several hundred thousand processes. */
const MAX_KERNEL_BYTES = 4 * 1024 * 1024;

/** Reads a file; undefined if it is gone, or this kernel does not have it. */
function read(path: string, limit = MAX_KERNEL_BYTES): string | undefined {
  try {
    return readBeginning(path, limit);
  } catch {
    return undefined;
  }
}
