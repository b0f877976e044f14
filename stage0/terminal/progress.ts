/**
 * Reports the progress of a fetch on stderr. On a terminal, each transfer has a bar below the lines, which is redrawn
 * in place. Elsewhere, a transfer is a line from time to time and one at its end. With --quiet nothing is printed.
 */

import { printable } from "../../shared/errors.ts";

export interface Reporter {
  line(text: string): void;
  /** `label`: "Downloading aci". */
  transfer(label: string): Transfer;
}

export interface Transfer {
  /** The transfer begins. `total`: its size, if that is known. */
  begin(total: number | undefined): void;
  advance(bytes: number): void;
  /** The transfer ends: the bar stays as it is. Does nothing if it has not begun or has ended already. */
  end(): void;
}

/** The part of a tty.WriteStream that is used. */
export interface Terminal {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

export interface ReporterOptions {
  stream: Terminal;
  quiet?: boolean;
  /** Milliseconds; monotonic. */
  clock?: () => number;
}

const REDRAW_INTERVAL = 100;
const LINE_INTERVAL = 10_000;
/** Milliseconds: the rate is computed for the last seconds, not for the whole transfer. */
const RATE_WINDOW = 5_000;

export function openReporter({ stream, quiet, clock = () => performance.now() }: ReporterOptions): Reporter {
  if (quiet === true) return silentReporter;
  return stream.isTTY === true ? terminalReporter(stream, clock) : lineReporter(stream, clock);
}

export const silentReporter: Reporter = {
  line() {},
  transfer: () => ({ begin() {}, advance() {}, end() {} }),
};

function lineReporter(stream: Terminal, clock: () => number): Reporter {
  const line = (text: string) => void stream.write(`${printable(text)}\n`);
  return {
    line,
    transfer(label) {
      const meter = startMeter(clock);
      let said = clock();
      let running = false;
      return {
        begin(total) {
          meter.begin(total);
          running = true;
        },
        advance(bytes) {
          meter.advance(bytes);
          if (clock() - said < LINE_INTERVAL) return;
          said = clock();
          line(`${label}: ${describe(meter.state())}`);
        },
        end() {
          if (running) line(`${label}: ${formatAmount(meter.state())}`);
          running = false;
        },
      };
    },
  };
}

function terminalReporter(stream: Terminal, clock: () => number): Reporter {
  const bars = new Set<{ label: string; state(): TransferState }>();
  let drawn = 0;
  let drawnAt = Number.NEGATIVE_INFINITY;

  /** Replaces the bars on the screen by `lines`, which stay, and by the new bars. */
  function draw(lines: readonly string[]): void {
    let text = "";
    if (drawn > 0) text += drawn === 1 ? "\r\x1b[J" : `\r\x1b[${drawn - 1}A\x1b[J`;
    for (const line of lines) text += `${line}\n`;
    const width = stream.columns ?? 80;
    text += [...bars].map((bar) => formatBar(bar.label, bar.state(), width)).join("\n");
    drawn = bars.size;
    drawnAt = clock();
    stream.write(text);
  }

  return {
    line: (text) => draw([printable(text)]),
    transfer(label) {
      const meter = startMeter(clock);
      const bar = { label, state: meter.state };
      return {
        begin(total) {
          meter.begin(total);
          bars.add(bar);
          draw([]);
        },
        advance(bytes) {
          meter.advance(bytes);
          if (clock() - drawnAt >= REDRAW_INTERVAL) draw([]);
        },
        end() {
          if (bars.delete(bar)) draw([formatBar(label, { ...meter.state(), rate: undefined }, stream.columns ?? 80)]);
        },
      };
    },
  };
}

export interface TransferState {
  done: number;
  total: number | undefined;
  /** Bytes a second; undefined while it is unknown, and after the end. */
  rate: number | undefined;
}

function startMeter(clock: () => number): {
  begin(total: number | undefined): void;
  advance(bytes: number): void;
  state(): TransferState;
} {
  let done = 0;
  let total: number | undefined;
  /** Bytes done at times of the window, oldest first. */
  let samples: { at: number; done: number }[] = [];
  return {
    begin(length) {
      done = 0;
      total = length;
      samples = [{ at: clock(), done: 0 }];
    },
    advance(bytes) {
      done += bytes;
      const now = clock();
      const last = samples.at(-1);
      if (last === undefined || now - last.at >= REDRAW_INTERVAL) samples.push({ at: now, done });
      while (samples.length > 2 && now - (samples[1]?.at ?? now) > RATE_WINDOW) samples.shift();
    },
    state() {
      const first = samples[0];
      const elapsed = first === undefined ? 0 : clock() - first.at;
      const rate =
        first === undefined || elapsed < REDRAW_INTERVAL ? undefined : ((done - first.done) / elapsed) * 1000;
      return { done, total, rate };
    },
  };
}

/** `Downloading aci: [=====>    ] 2.49 MB/3.58 MB, 1.20 MB/s, 1s left`, in at most `width` - 1 columns. */
export function formatBar(label: string, state: TransferState, width: number): string {
  const amount = describe(state);
  if (state.total === undefined) return `${label}: ${amount}`.slice(0, width - 1);
  // The last column stays free: a full line would wrap on some terminals.
  const room = Math.min(40, width - 1 - `${label}: [] ${amount}`.length);
  if (room < 5) return `${label}: ${amount}`.slice(0, width - 1);
  const share = state.total === 0 ? 1 : Math.min(1, state.done / state.total);
  const filled = Math.floor(share * room);
  const bar = filled >= room ? "=".repeat(room) : `${"=".repeat(filled)}>`.padEnd(room);
  return `${label}: [${bar}] ${amount}`;
}

function describe(state: TransferState): string {
  let text = formatAmount(state);
  if (state.rate === undefined) return text;
  text += `, ${formatBytes(state.rate)}/s`;
  if (state.total !== undefined && state.rate > 0 && state.total > state.done) {
    text += `, ${formatSeconds((state.total - state.done) / state.rate)} left`;
  }
  return text;
}

const formatAmount = (state: TransferState): string =>
  formatBytes(state.done) + (state.total === undefined ? "" : `/${formatBytes(state.total)}`);

/** Decimal units, three digits: 819 B, 2.49 MB. */
export function formatBytes(bytes: number): string {
  if (bytes < 999.5) return `${Math.round(bytes)} B`;
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let size = bytes / 1000;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${size.toPrecision(3)} ${units[unit]}`;
}

/** 42s, 3m07s, 2h15m. */
export function formatSeconds(seconds: number): string {
  const s = Math.ceil(seconds);
  const two = (n: number) => String(n).padStart(2, "0");
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  if (s < 360_000) return `${Math.floor(s / 3600)}h${two(Math.floor((s % 3600) / 60))}m`;
  return "days";
}
