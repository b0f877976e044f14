import { RktError, usageError } from "../../shared/errors.ts";
import { type Command, readLine } from "../cli/command.ts";
import { inspect } from "../container/inspect.ts";
import { listContainers } from "../container/lifecycle.ts";
import { selectContainers, uuidFileOption } from "../container/select.ts";
import { type ContainerUsage, containerUsage, type RunningContainer, type Usage } from "../container/usage.ts";
import { duration } from "../cli/duration.ts";
import { print, printJson } from "../terminal/output.ts";
import { bytes, table } from "../terminal/table.ts";
import { jsonForm } from "../cli/options.ts";
import { formatOption } from "./json-options.ts";

const options = {
  processes: { type: "boolean", description: "a line for each process, too" },
  interval: {
    type: "string",
    value: "DURATION",
    description: "how long to measure the use of the processors (500ms)",
  },
  "no-legend": { type: "boolean", description: "no line with the names of the columns" },
  ...formatOption("table"),
  ...uuidFileOption,
} as const;

const INTERVAL = "500ms";
const MAX_INTERVAL = 60_000;

export const command: Command = {
  usage: "top [options] [UUID...]",
  description:
    "Shows what the apps of running containers use: processes, processor time and memory. Without a UUID, it shows all containers. `rkt stats` is the same.\n\nCPU is the share of one core during the interval, CPU TIME the time since the app's start. MEMORY is that of the app's cgroup, without cached files that were not used recently. An app without a cgroup for memory has the sum of its processes, in which shared memory counts several times.",
  examples: [
    ["rkt top", "all running containers"],
    ["rkt top --processes 6ba7b810", "one, and its processes"],
    ["rkt top --format=json --interval=1s", "for a program"],
  ],
  options,
  operands: [0, Number.POSITIVE_INFINITY],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const interval = duration("interval", given.interval ?? INTERVAL);
    if (interval > MAX_INTERVAL) throw usageError("--interval: a minute is the most");
    const named = operands.length > 0 || given["uuid-file"] !== undefined;
    const containers = named
      ? selectContainers(globals.dir, operands, given["uuid-file"]).map((ref) => requireRunning(globals.dir, ref))
      : listContainers(globals.dir).flatMap((ref) => running(globals.dir, ref) ?? []);
    const before = containers.map(containerUsage);
    const start = process.hrtime.bigint();
    await new Promise((resolve) => setTimeout(resolve, containers.length === 0 ? 0 : interval));
    const samples = containers.map((container, i) => {
      const now = containerUsage(container);
      const seconds = Number(process.hrtime.bigint() - start) / 1e9;
      return { container, now, share: shares(before[i] ?? now, now, seconds) };
    });
    const form = jsonForm(given);
    if (form !== undefined) printJson(samples.map(json), form.pretty);
    else print(asTable(samples, given.processes, !given["no-legend"]));
  },
};

interface Sample {
  container: RunningContainer;
  now: ContainerUsage;
  /** The share of one core, of an app or of the whole container. */
  share(app?: string): number;
}

type Ref = ReturnType<typeof listContainers>[number];

function running(data: string, ref: Ref): RunningContainer | undefined {
  const facts = inspect(data, ref);
  if (facts?.pid === undefined) return undefined;
  return { dir: ref.dir, uuid: ref.uuid, pid: facts.pid, apps: facts.apps.map(({ name }) => name) };
}

function requireRunning(data: string, ref: Ref): RunningContainer {
  const container = running(data, ref);
  if (container === undefined)
    throw new RktError("not-running", `container ${ref.uuid} is not running`, {
      hint: `\`rkt status ${ref.uuid.slice(0, 8)}\` shows its state`,
    });
  return container;
}

function shares(before: ContainerUsage, now: ContainerUsage, seconds: number): Sample["share"] {
  return (app) => {
    const [then, at] = [before, now].map(
      (sample) => (app === undefined ? sample.container : sample.apps.get(app))?.cpu,
    );
    // The sum over processes becomes smaller when one ends.
    return Math.max(((at ?? 0) - (then ?? 0)) / Math.max(seconds, 0.001), 0);
  };
}

function asTable(samples: readonly Sample[], processes: boolean, legend: boolean): string {
  const rows = samples.flatMap(({ container, now, share }) =>
    [...now.apps].flatMap(([app, usage], i) => [
      [i === 0 ? container.uuid.slice(0, 8) : "", app, String(usage.processes.length), ...amounts(usage, share(app))],
      ...(processes
        ? usage.processes.map((one) => ["", "", String(one.pid), "", time(one.cpu), bytes(one.memory), "", one.command])
        : []),
    ]),
  );
  const columns = ["UUID", "APP", processes ? "PROCESSES, PID" : "PROCESSES", "CPU", "CPU TIME", "MEMORY", "LIMIT"];
  return table(legend ? [...columns, ...(processes ? ["COMMAND"] : [])] : undefined, rows);
}

function amounts(usage: Usage, share: number): string[] {
  const limit = usage.memoryLimit === undefined ? "-" : bytes(usage.memoryLimit);
  return [`${(share * 100).toFixed(1)}%`, time(usage.cpu), bytes(usage.memory), limit];
}

/** `1:02:03.45`, as top(1). */
function time(seconds: number): string {
  const hundredths = Math.floor(seconds * 100);
  const two = (count: number) => String(count).padStart(2, "0");
  const minutes = Math.floor(hundredths / 6000);
  const rest = `${two(Math.floor(hundredths / 100) % 60)}.${two(hundredths % 100)}`;
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${rest}`;
}

/** Seconds and bytes; `cpu` is the share of one core during the interval. */
function json({ container, now, share }: Sample): object {
  const amount = (usage: Usage, app?: string) => ({
    cpu: share(app),
    cpuTime: usage.cpu,
    memory: usage.memory,
    memoryLimit: usage.memoryLimit,
  });
  const apps = [...now.apps].map(([name, usage]) => ({
    name,
    ...amount(usage, name),
    processes: usage.processes.map(({ pid, command, cpu, memory }) => ({ pid, command, cpuTime: cpu, memory })),
  }));
  return { uuid: container.uuid, ...amount(now.container), processes: now.container.processes.length, apps };
}
