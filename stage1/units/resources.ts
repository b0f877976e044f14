/**
 * How much of the machine an app, or the container, may use: isolators in
 * terms of cgroups. Pure.
 *
 * On cgroup v2 an app's limits are properties of its unit. Of v1's hierarchies
 * systemd-nspawn leaves the container only the named one, so `init` makes
 * cgroups there and the launcher joins them.
 */

import type { UnitOption } from "systemd-unit-writer";
import { understandIsolators, type Where } from "../../shared/schema/isolators.ts";
import type { Isolator, PodManifest } from "../../shared/schema/types.ts";

export type Controller = "cpu" | "memory" | "pids" | "hugetlb";

export interface Resources {
  /** Bytes that can't be exceeded, swap included. */
  memory?: bigint | undefined;
  /** Bytes that are taken back last. */
  memoryRequest?: bigint | undefined;
  /** Processor time: thousandths of a core. */
  cpu?: bigint | undefined;
  /** Weight against others as v1 counts: 1024 for a whole core. */
  cpuShares?: number | undefined;
}

/** A file of a cgroup and what to write there. */
export interface Setting {
  controller: Controller;
  file: string;
  value: string;
  /** Not every kernel has it: swap accounting is an option. */
  optional?: boolean;
}

/** The kernel's bounds of cpu.shares. */
const MIN_SHARES = 2;
const MAX_SHARES = 262_144;

/** What a container manifest asks for. An app can have no more than the container (pods.md, "isolators"). */
export function resourceLimits(manifest: PodManifest): { container: Resources; apps: Map<string, Resources> } {
  const object = "container manifest";
  const container = resources(manifest.isolators, { object, path: "isolators" });
  const apps = manifest.apps.map(({ name, app }, i): [string, Resources] => {
    const asked = resources(app?.isolators ?? [], { object, path: `apps[${i}].app.isolators` });
    return [name, { ...asked, cpu: bounded(asked.cpu, container.cpu) }];
  });
  return { container, apps: new Map(apps) };
}

/** v1 refuses a cgroup more processor time than the one above it has; more memory it only never gives. */
function bounded(asked: bigint | undefined, bound: bigint | undefined): bigint | undefined {
  return asked !== undefined && bound !== undefined && asked > bound ? bound : asked;
}

function resources(isolators: readonly Isolator[], where: Where): Resources {
  const { known } = understandIsolators(isolators, where);
  const memory = known["resource/memory"];
  const cpu = known["resource/cpu"];
  const asked = memory?.request !== memory?.limit ? memory?.request : undefined;
  return {
    memory: memory?.limit,
    memoryRequest: asked,
    cpu: cpu?.limit,
    cpuShares: known["os/linux/cpu-shares"] ?? sharesOf(cpu?.request),
  };
}

/** A request is a weight: two apps that fight for a core get it in the proportion of what they asked for. */
function sharesOf(request: bigint | undefined): number | undefined {
  if (request === undefined) return undefined;
  return Math.min(Math.max(Number((request * 1024n) / 1000n), MIN_SHARES), MAX_SHARES);
}

/** The range of v1 (2 to 262144) mapped to that of v2 (1 to 10000), as runc and Kubernetes do. */
function weight(shares: number): number {
  return 1 + Math.floor(((shares - MIN_SHARES) * 9999) / (MAX_SHARES - MIN_SHARES));
}

/** Microseconds. The kernel knows no quota below 1 ms, so little takes a longer period (sched-bwc). */
function quota(cpu: bigint): { quota: bigint; period: bigint } {
  const period = cpu < 10n ? 1_000_000n : 100_000n;
  return { quota: (cpu * period) / 1000n, period };
}

/** systemd.resource-control(5) */
export function unitProperties({ memory, memoryRequest, cpu, cpuShares }: Resources): UnitOption[] {
  const options: UnitOption[] = [];
  const set = (name: string, value: string) => options.push(["Service", name, value]);
  if (memory !== undefined) {
    set("MemoryMax", String(memory));
    set("MemorySwapMax", "0");
    // The kernel chooses who dies, as on v1; by default systemd would end the app with its child.
    set("OOMPolicy", "continue");
  }
  if (memoryRequest !== undefined) set("MemoryLow", String(memoryRequest));
  if (cpu !== undefined) set("CPUQuota", `${cpu / 10n}.${cpu % 10n}%`);
  if (cpuShares !== undefined) set("CPUWeight", String(weight(cpuShares)));
  return options;
}

/** For a cgroup of v1; cgroup-v1/memory.rst, scheduler/sched-bwc.rst. In an order that the kernel accepts. */
export function version1Settings({ memory, memoryRequest, cpu, cpuShares }: Resources): Setting[] {
  const settings: Setting[] = [];
  const set = (controller: Controller, file: string, value: bigint | number, optional = false) =>
    settings.push({ controller, file: `${controller}.${file}`, value: String(value), optional });
  if (memory !== undefined) {
    set("memory", "limit_in_bytes", memory);
    set("memory", "memsw.limit_in_bytes", memory, true);
  }
  if (memoryRequest !== undefined) set("memory", "soft_limit_in_bytes", memoryRequest);
  if (cpu !== undefined) {
    set("cpu", "cfs_period_us", quota(cpu).period);
    set("cpu", "cfs_quota_us", quota(cpu).quota);
  }
  if (cpuShares !== undefined) set("cpu", "shares", cpuShares);
  return settings;
}

/** For a cgroup of v2 that is no unit; cgroup-v2.rst. */
export function unifiedSettings({ memory, memoryRequest, cpu, cpuShares }: Resources): Setting[] {
  const settings: Setting[] = [];
  const set = (controller: Controller, file: string, value: string, optional = false) =>
    settings.push({ controller, file: `${controller}.${file}`, value, optional });
  if (memory !== undefined) {
    set("memory", "max", String(memory));
    set("memory", "swap.max", "0", true);
  }
  if (memoryRequest !== undefined) set("memory", "low", String(memoryRequest));
  if (cpu !== undefined) set("cpu", "max", `${quota(cpu).quota} ${quota(cpu).period}`);
  if (cpuShares !== undefined) set("cpu", "weight", String(weight(cpuShares)));
  return settings;
}

/**
 * No huge pages, which no limit of memory counts: for a cgroup of v1 or v2 that has these files. What is reserved by
 * mmap(2) has files of its own, by which that call fails; without them the app is killed when it touches a page
 * (hugetlbpage.rst, cgroup-v1/hugetlb.rst).
 */
export const noHugePages = (files: readonly string[]): Setting[] =>
  files
    .filter((file) => /^hugetlb\.[^.]+(?:\.rsvd)?\.(?:limit_in_bytes|max)$/.test(file))
    .map((file) => ({ controller: "hugetlb", file, value: "0" }));
