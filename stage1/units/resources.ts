/**
 * Translates isolators into limits of cgroups: how much of the machine an app, or the container, may use. Pure.
 *
 * On cgroup v2 an app's limits are properties of its systemd unit. On v1, systemd-nspawn leaves the container only the
 * named hierarchy: in the others `init` makes the cgroups, and the launcher joins them.
 */

import type { UnitOption } from "systemd-unit-writer";
import { understandIsolators, type Where } from "../../shared/schema/isolators.ts";
import type { Isolator, PodManifest } from "../../shared/schema/types.ts";

export type Controller = "cpu" | "memory" | "pids" | "hugetlb";

export interface Resources {
  /** Bytes that can't be exceeded, swap included. */
  memory?: bigint | undefined;
  /** Bytes that the kernel reclaims last. */
  memoryRequest?: bigint | undefined;
  /** Processor time: thousandths of a core. */
  cpu?: bigint | undefined;
  /** Weight against other cgroups, in v1's unit: 1024 for a whole core. */
  cpuShares?: number | undefined;
}

/** A file of a cgroup and what to write there. */
export interface Setting {
  controller: Controller;
  file: string;
  value: string;
  /** A kernel without the file is no error: swap accounting, for one, can be left out of a kernel. */
  optional?: boolean;
}

/** The kernel's bounds of cpu.shares. */
const MIN_SHARES = 2;
const MAX_SHARES = 262_144;

/** The limits that a container manifest asks for. An app can have no more than the container (pods.md, "isolators"). */
export function resourceLimits(manifest: PodManifest): { container: Resources; apps: Map<string, Resources> } {
  const object = "container manifest";
  const container = resources(manifest.isolators, { object, path: "isolators" });
  const apps = manifest.apps.map(({ name, app }, i): [string, Resources] => {
    const asked = resources(app?.isolators ?? [], { object, path: `apps[${i}].app.isolators` });
    return [name, { ...asked, cpu: bounded(asked.cpu, container.cpu) }];
  });
  return { container, apps: new Map(apps) };
}

/**
 * v1 refuses a quota of processor time above the parent's. It accepts such a limit of memory, which then has no effect.
 */
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

/** A request is a weight: two apps that compete for a core share it in proportion to their requests. */
function sharesOf(request: bigint | undefined): number | undefined {
  if (request === undefined) return undefined;
  return Math.min(Math.max(Number((request * 1024n) / 1000n), MIN_SHARES), MAX_SHARES);
}

/** The range of v1 (2 to 262144) mapped to that of v2 (1 to 10000), as runc and Kubernetes do. */
function weight(shares: number): number {
  return 1 + Math.floor(((shares - MIN_SHARES) * 9999) / (MAX_SHARES - MIN_SHARES));
}

/** In microseconds. The kernel accepts no quota below 1 ms, so a small one needs a longer period (sched-bwc). */
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
    // The kernel chooses which process to kill, as on v1. By default systemd would end the whole app.
    set("OOMPolicy", "continue");
  }
  if (memoryRequest !== undefined) set("MemoryLow", String(memoryRequest));
  if (cpu !== undefined) set("CPUQuota", `${cpu / 10n}.${cpu % 10n}%`);
  if (cpuShares !== undefined) set("CPUWeight", String(weight(cpuShares)));
  return options;
}

/** For a v1 cgroup, in an order that the kernel accepts (cgroup-v1/memory.rst, scheduler/sched-bwc.rst). */
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

/** For a v2 cgroup that is not a systemd unit's (cgroup-v2.rst). */
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
 * Forbids huge pages in a cgroup, v1 or v2, that has these files: no limit of memory counts them. The files with `rsvd`
 * make mmap(2) fail; without them the app is killed when it touches such a page (hugetlbpage.rst,
 * cgroup-v1/hugetlb.rst).
 */
export const noHugePages = (files: readonly string[]): Setting[] =>
  files
    .filter((file) => /^hugetlb\.[^.]+(?:\.rsvd)?\.(?:limit_in_bytes|max)$/.test(file))
    .map((file) => ({ controller: "hugetlb", file, value: "0" }));
