/**
 * Reads the logs of a container's apps (ADR 4). Each app and stream has a file, and perhaps an older one, of lines
 * `TIME STREAM F|P TEXT`.
 *
 * The files are written inside the container, so they are not trusted: only regular files are opened, without following
 * a link, and only a limited size is read. A malformed line is skipped.
 */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { basename } from "node:path";
import { errorCode } from "../../shared/errors.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { LOG_BEFORE, LOG_MARK, STREAM_SUFFIX, type Stream } from "../../shared/contract/logs.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import {
  openat2IfThere,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
} from "../../shared/syscall/file.ts";

export interface LogEntry {
  /** RFC 3339, UTC, with nanoseconds, so that the order of texts is the order of times. */
  time: string;
  app: string;
  stream: Stream;
  /** As the app wrote it, with its newline if it wrote one. */
  text: Buffer;
}

export interface LogReader {
  /** The entries since the last call, in the order of time; those of one stream keep their order. */
  read(): LogEntry[];
  close(): void;
}

/** The beginning of a longer file is skipped. A log's files have 4 MiB. */
const MAX_FILE = 16 * 1024 * 1024;
/** Files that one call of `read` reads at most: a log may be rotated as fast as we read. */
const MAX_FILES = 8;

const HEAD = new RegExp(
  `^(\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{9}Z) (?:${Object.keys(STREAM_SUFFIX).join("|")}) (${LOG_MARK.whole}|${LOG_MARK.part}) $`,
);
const HEAD_LENGTH = "2026-01-01T00:00:00.000000000Z stdout F ".length;
const NEWLINE = 0x0a;

/** Opens the logs of some apps of a container, and follows them through rotations and the container's own renames. */
export function openLogs(dir: HostPath, apps: readonly string[]): LogReader {
  const layout = containerLayout(dir);
  const log = openSync(layout.log, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  const streams = apps.flatMap((app) =>
    (["stdout", "stderr"] as const).map((stream) =>
      openStream(log, basename(layout.appLog(app, stream)), (time, text) => ({ time, app, stream, text })),
    ),
  );
  return {
    read: () => merge(streams.map((stream) => stream.read())),
    close() {
      for (const stream of streams) stream.close();
      closeSync(log);
    },
  };
}

/** Merges lists by time. If the clock was set back, entries of a stream still keep their order. */
function merge(lists: readonly LogEntry[][]): LogEntry[] {
  const merged: LogEntry[] = [];
  const at = lists.map(() => 0);
  for (;;) {
    let first: LogEntry | undefined;
    let from = -1;
    for (const [i, list] of lists.entries()) {
      const entry = list[at[i] ?? 0];
      if (entry !== undefined && (first === undefined || entry.time < first.time)) [first, from] = [entry, i];
    }
    if (first === undefined) return merged;
    merged.push(first);
    at[from] = (at[from] ?? 0) + 1;
  }
}

interface LogFile {
  fd: number;
  inode: number;
  /** Bytes read so far: whole lines. */
  at: number;
}

function openStream(log: number, name: string, entry: (time: string, text: Buffer) => LogEntry): LogReader {
  let current: LogFile | undefined;
  return {
    read() {
      const entries: LogEntry[] = [];
      for (let files = 0; files < MAX_FILES; files++) {
        // A file with a successor is complete: so the successor is looked for before the file is read.
        const next = successor(log, name, current);
        if (current !== undefined) readOn(current, entry, entries);
        if (next === undefined) break;
        if (current !== undefined) closeSync(current.fd);
        current = next;
      }
      return entries;
    },
    close() {
      if (current !== undefined) closeSync(current.fd);
      current = undefined;
    },
  };
}

/** The file to read after `current`: there are at most two, and both may be newer. */
function successor(log: number, name: string, current: LogFile | undefined): LogFile | undefined {
  for (;;) {
    const [before, latest] = [openFile(log, `${name}${LOG_BEFORE}`), openFile(log, name)];
    const still = openFile(log, `${name}${LOG_BEFORE}`);
    // If the log was rotated meanwhile, these are not the two current files: tries again.
    const settled = still?.inode === before?.inode;
    const next =
      current !== undefined && current.inode === latest?.inode
        ? undefined
        : before === undefined || before.inode === current?.inode
          ? latest
          : before;
    for (const file of [before, latest, still])
      if (file !== undefined && !(settled && file === next)) closeSync(file.fd);
    if (settled) return next;
  }
}

/** Opens a file, if it is a regular one: the container may have put anything here. */
function openFile(log: number, name: string): LogFile | undefined {
  let fd: number | undefined;
  try {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
    fd = openat2IfThere(log, name, flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
  } catch (error) {
    if (errorCode(error) !== "ELOOP" && errorCode(error) !== "ENXIO") throw error;
  }
  if (fd === undefined) return undefined;
  const stat = fstatSync(fd);
  if (stat.isFile()) return { fd, inode: stat.ino, at: 0 };
  closeSync(fd);
  return undefined;
}

function readOn(file: LogFile, entry: (time: string, text: Buffer) => LogEntry, entries: LogEntry[]): void {
  const { size } = fstatSync(file.fd);
  const start = Math.max(file.at, size - MAX_FILE);
  if (start >= size) return;
  const bytes = Buffer.allocUnsafe(size - start);
  const length = readSync(file.fd, bytes, 0, bytes.length, start);
  let line = 0;
  // The last line may be incomplete.
  for (let end = bytes.indexOf(NEWLINE); end >= 0 && end < length; end = bytes.indexOf(NEWLINE, line)) {
    const head = HEAD.exec(bytes.toString("latin1", line, Math.min(line + HEAD_LENGTH, end)));
    // The mark F says that the app wrote the newline, too.
    if (head?.[1] !== undefined)
      entries.push(entry(head[1], bytes.subarray(line + HEAD_LENGTH, head[2] === LOG_MARK.whole ? end + 1 : end)));
    line = end + 1;
  }
  file.at = start + line;
}
