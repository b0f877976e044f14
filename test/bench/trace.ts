/** What the kernel's trace of fork, exec and exit says of a process and all that came of it. Pure. */

export interface Event {
  /** Seconds of the kernel's clock. */
  time: number;
  pid: number;
  kind: "fork" | "exec" | "exit";
  /** Of an exec: the program. */
  program?: string;
  /** Of a fork: the new process. */
  child?: number;
}

export interface Span {
  name: string;
  from: number;
  to: number;
}

/** The events of `root`, which begins with its first exec, and of its descendants, in their order. */
export function parseTrace(text: string, root: number): Event[] {
  const ours = new Set([root]);
  const events: Event[] = [];
  for (const line of text.split("\n")) {
    const event = parseLine(line);
    if (event === undefined || !ours.has(event.pid)) continue;
    if (events.length === 0 && event.kind !== "exec") continue;
    if (event.child !== undefined) ours.add(event.child);
    events.push(event);
  }
  return events;
}

/** `comm-PID [CPU] FLAGS TIME: sched_process_exec: filename=… pid=… old_pid=…` and the like. */
function parseLine(line: string): Event | undefined {
  const match = /\s(\d+\.\d+): sched_process_(fork|exec|exit): (.*)$/.exec(line);
  if (match === null) return undefined;
  const [, time, kind, rest = ""] = match;
  const number = (name: string) => Number(new RegExp(`(?:^| )${name}=(\\d+)`).exec(rest)?.[1]);
  const at = { time: Number(time), pid: number("pid") };
  if (kind === "fork") return { ...at, kind, child: number("child_pid") };
  if (kind === "exec") return { ...at, kind, program: /filename=(.*) pid=/.exec(rest)?.[1] ?? "" };
  // A thread's end is none of its process's.
  return /group_dead=false/.test(rest) ? undefined : { ...at, kind: "exit" };
}

/** What a process executes when a stage begins: the first exec of such a program, after the one before. */
const BEGINNINGS: readonly [name: string, program: RegExp][] = [
  ["stage 0: rkt", /./],
  ["stage 1: init", /\/init$/],
  ["systemd-nspawn, to its first process", /systemd-nspawn$|\/ld-linux[^/]*$/],
  ["pid1", /\/pid1$/],
  ["systemd, to the launcher", /\/systemd$/],
  ["stage 2: launcher, to the app", /\/launcher$/],
];

/** The stages one after another, and then the end: from the app's exit to the end of the process that rkt was. */
export function stages(events: readonly Event[]): Span[] {
  const begun: { name: string; time: number; pid: number }[] = [];
  const begin = (name: string, event: Event | undefined) => {
    if (event !== undefined) begun.push({ name, time: event.time, pid: event.pid });
  };
  let at = 0;
  for (const [name, program] of BEGINNINGS) {
    const found = events.findIndex((event, i) => i >= at && event.kind === "exec" && program.test(event.program ?? ""));
    if (found === -1) continue;
    begin(name, events[found]);
    at = found + 1;
  }
  const launcher = begun.at(-1)?.pid;
  // A helper comes between the launcher and the app.
  begin("the app", events.findLast(({ kind, pid }, i) => i >= at && kind === "exec" && pid === launcher));
  const end = events.at(-1)?.time ?? 0;
  const exit = events.findLast(({ kind, pid }) => kind === "exit" && pid === launcher)?.time ?? end;
  const spans = begun.map(({ name, time }, i) => ({ name, from: time, to: begun[i + 1]?.time ?? exit }));
  return [...spans, { name: "the end", from: exit, to: end }];
}

/** Each program that ran, from its exec to the next one of its process, or to its exit. */
export function processes(events: readonly Event[]): { pid: number; program: string; from: number; to: number }[] {
  const end = events.at(-1)?.time ?? 0;
  return events.flatMap(({ kind, pid, program = "", time }, i) => {
    if (kind !== "exec") return [];
    const next = events.find((other, j) => j > i && other.pid === pid && other.kind !== "fork");
    return [{ pid, program, from: time, to: next?.time ?? end }];
  });
}
