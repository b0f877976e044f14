/**
 * What a running container uses: from its cgroups, and from /proc what they
 * do not tell. Nothing is entered. Processes come and go meanwhile, and what
 * has gone counts no more.
 *
 * Which processes are an app's is the kernel's word: they are in a cgroup
 * `app-NAME.service`, in whichever hierarchy. A stage1 without such cgroups
 * has one app, to which all belong that the container's supervisor started.
 */

import { readdirSync } from "node:fs";
import { readBeginning } from "../../shared/bounded-read.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { listedCgroups } from "./cgroups.ts";

export interface ProcessUsage {
  pid: number;
  /** Its arguments, or its name where it has none left. */
  command: string;
  /** Seconds of processor time. */
  cpu: number;
  /** Bytes of memory, with what it shares. */
  memory: number;
}

export interface Usage {
  /** Seconds of processor time, of all processes there have been where a cgroup counts them. */
  cpu: number;
  /** Bytes of memory, without cached files that nobody has used of late. */
  memory: number;
  /** Bytes; undefined: what the machine has. */
  memoryLimit: number | undefined;
  processes: ProcessUsage[];
}

export interface ContainerUsage {
  /** With what rkt itself needs there. */
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
  /** The app's own, not one that the app has made in it. */
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

/** v2 counts whether it has the controller or not; v1 in a hierarchy of its own. */
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

/** v1 says no limit as the largest number of pages there can be, v2 as "max". */
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

/** However long the chain from parent to child is. */
function descendants(pid: number): number[] {
  const found = [pid];
  for (const parent of found) {
    const children = (read(`/proc/${parent}/task/${parent}/children`) ?? "").split(" ");
    for (const word of children) if (number(word) !== undefined) found.push(Number(word));
  }
  return found;
}

/** USER_HZ, what the kernel counts in for programs; the same wherever there is Linux. */
const TICKS = 100;
const PAGE = 4096;
/** Of a process's arguments, which may be megabytes. */
const COMMAND_BYTES = 4096;

/** proc_pid_stat(5): the name in parentheses may hold anything, the last of them ends it. */
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

/** Numbers of some hundred thousand processes. */
const MAX_KERNEL_BYTES = 4 * 1024 * 1024;

/** What is gone is undefined, and so is what this kernel does not have. */
function read(path: string, limit = MAX_KERNEL_BYTES): string | undefined {
  try {
    return readBeginning(path, limit);
  } catch {
    return undefined;
  }
}
