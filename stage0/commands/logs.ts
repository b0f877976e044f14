import { isatty } from "node:tty";
import { printable, RktError, usageError } from "../../shared/errors.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import type { Stream } from "../../shared/contract/logs.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { type Command, readLine } from "../cli/command.ts";
import { readManifest, requireLayout } from "../container/inspect.ts";
import { listContainers, type Phase, phase, readWhereItIs } from "../container/lifecycle.ts";
import { type LogEntry, openLogs } from "../container/log.ts";
import { selectContainer, uuidFileOption } from "../container/select.ts";
import { duration } from "../cli/duration.ts";
import { print, say, writeError } from "../terminal/output.ts";

const options = {
  app: { type: "string", value: "NAME", description: "only the output of this app (of all apps)" },
  follow: { type: "boolean", alias: "f", description: "go on until the container has ended" },
  since: {
    type: "string",
    value: "TIME",
    description: "only output since then: a duration (10m) or a time in RFC 3339",
  },
  ...uuidFileOption,
} as const;

export const command: Command = {
  usage: "logs [options] UUID",
  description:
    "Prints the output of a container's apps: their standard output on standard output, their standard error on standard error. With several apps, each line begins with the app's name. With one app, and not on a terminal, the output is unchanged; on a terminal, control characters are shown as escapes.\n\nA container keeps the last 4 to 8 MiB of each stream until it is removed. It does not keep what an interactive app writes to its terminal.",
  examples: [
    ["rkt logs 6ba7b810", "everything that is kept"],
    ["rkt logs -f --since=10m --app=db 6ba7b810", "one app's last ten minutes, and all that follows"],
  ],
  options,
  operands: [0, 1],
  needsRoot: true,
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const since = given.since === undefined ? "" : sinceTime(given.since, Date.now());
    const ref = selectContainer(globals.dir, operands, given["uuid-file"]);
    const manifest = readWhereItIs(globals.dir, ref, ({ dir }) => readManifest(dir));
    requireLayout(ref.uuid, manifest);
    const names = manifest.apps.map((app) => app.name);
    if (given.app !== undefined && !names.includes(given.app))
      throw new RktError("no-such-app", `the container has no app ${given.app}`, {
        hint: `there are: ${names.join(", ")}`,
      });
    if (annotation(manifest.annotations, ANNOTATIONS.interactive) === "true")
      say(`container ${ref.uuid} is interactive: what its app says to a terminal is not kept`);

    const apps = given.app === undefined ? names : [given.app];
    // From here on open files are read, so that a rename of the container does not matter.
    const logs = readWhereItIs(globals.dir, ref, ({ dir }) => openLogs(dir, apps));
    const printer = makePrinter(given.app === undefined && names.length > 1);
    for (;;) {
      // Asked before reading, so that the last read has all output until the end.
      const over = !given.follow || hasEnded(globals.dir, ref.uuid);
      for (const entry of logs.read()) if (entry.time >= since) printer.entry(entry);
      if (over) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    printer.end();
    logs.close();
  },
};

const BEFORE_THE_END: readonly (Phase | undefined)[] = ["embryo", "preparing", "prepared", "running"];

function hasEnded(data: string, uuid: string): boolean {
  for (;;) {
    const ref = listContainers(data).find((one) => one.uuid === uuid);
    if (ref === undefined) return true;
    const now = phase(ref);
    // Undefined: it was renamed just now.
    if (now !== undefined) return !BEFORE_THE_END.includes(now);
  }
}

/** The time of `--since`, in the form of the log's times, with nanoseconds. */
export function sinceTime(text: string, now: number): string {
  const absolute = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(text);
  const time = absolute ? Date.parse(text) : now - duration("since", text);
  if (Number.isNaN(time)) throw usageError(`--since: ${JSON.stringify(text)} is no time`);
  return new Date(time).toISOString().replace("Z", "000000Z");
}

interface Printer {
  entry(entry: LogEntry): void;
  end(): void;
}

/** Bytes of an unfinished line that are held back; a longer line is printed in pieces. */
const MAX_BEGUN = 64 * 1024;
const NEWLINE = Buffer.from("\n");

/** Prints entries. With names before the lines, an unfinished line is held back until its end. */
function makePrinter(names: boolean): Printer {
  const terminal = { stdout: isatty(1), stderr: isatty(2) };
  const write = (stream: Stream, text: Buffer) => {
    const shown = terminal[stream] ? onTerminal(text.toString()) : text;
    if (stream === "stdout") print(shown);
    else writeError(shown);
  };
  if (!names) return { entry: ({ stream, text }) => write(stream, text), end: () => {} };

  const begun = new Map<string, { stream: Stream; line: Buffer }>();
  return {
    entry({ app, stream, text }) {
      const key = `${app} ${stream}`;
      const line = Buffer.concat([begun.get(key)?.line ?? Buffer.from(`${app}: `), text]);
      const whole = text.at(-1) === 0x0a;
      if (whole || line.length > MAX_BEGUN) {
        begun.delete(key);
        write(stream, whole ? line : Buffer.concat([line, NEWLINE]));
      } else begun.set(key, { stream, line });
    },
    end() {
      for (const { stream, line } of begun.values()) write(stream, Buffer.concat([line, NEWLINE]));
    },
  };
}

/** Escapes an app's text for a terminal. Only newlines and tabs stay. */
export function onTerminal(text: string): string {
  return text
    .split(/(\r?\n|\t)/)
    .map((part, i) => (i % 2 === 1 ? part : printable(part)))
    .join("");
}
