/**
 * Inotify instances and watches (inotify(7)), which Linux counts by user, and
 * root's for all containers together: systemd takes three instances in every
 * container, and the limit is 128 by default. The 43rd container would end
 * before its first app, without a word, and so would every container beside
 * an app of root's that takes all there are.
 */

import { closeSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { errorCode, printable, RktError } from "../../shared/errors.ts";
import { inotifyAddWatch, inotifyInit } from "../../shared/syscall/descriptor.ts";

/** Of systemd 252. */
const NEEDED = 3;
/** For containers that start at the same time. */
const SPARE = 45;
/** As many as 2,700 containers need. An instance nobody has takes nothing. */
const ENOUGH = 8192;
/**
 * Of a limit that somebody has used up: the highest that the kernel takes. Whoever took all of the old limit would
 * take all of a slightly higher one while systemd boots. What bounds them then are open files and memory, both of which
 * a container can be given a limit of.
 */
const UNLIMITED = 0x7fffffff;

const INSTANCES = "/proc/sys/fs/inotify/max_user_instances";
const WATCHES = "/proc/sys/fs/inotify/max_user_watches";

/** Makes sure that systemd will get what it needs: raises a limit that is reached. Answers what to tell the person. */
export function requireInotify(): string | undefined {
  // Asking whether there are some left takes a millisecond and a half.
  if (limit(INSTANCES) < ENOUGH && missing(NEEDED + SPARE) === INSTANCES) raise(INSTANCES, ENOUGH);
  let told: string | undefined;
  for (let lacking = missing(NEEDED); lacking !== undefined; lacking = missing(NEEDED)) {
    const before = limit(lacking);
    if (before >= UNLIMITED || !raise(lacking, UNLIMITED)) throw usedUp(lacking);
    told = `${before} inotify ${nameOf(lacking)}, all that root may have on this machine, are in use${holder()}: the limit is raised`;
  }
  return told;
}

const nameOf = (limitFile: string): string => (limitFile === INSTANCES ? "instances" : "watches");

function usedUp(limitFile: string): RktError {
  const message = `this machine's inotify ${nameOf(limitFile)} are used up${holder()}: a container takes three`;
  return new RktError("no-inotify", message, {
    hint: `stop who has them, or raise the limit on the host: sysctl fs.inotify.${basename(limitFile)}=${UNLIMITED}`,
  });
}

/** Which limit keeps this many instances, with a watch each, from being had. */
function missing(count: number): string | undefined {
  const fds: number[] = [];
  try {
    while (fds.length < count) {
      const fd = inotifyInit();
      fds.push(fd);
      inotifyAddWatch(fd, ".");
    }
    return undefined;
  } catch (error) {
    if (errorCode(error) === "EMFILE") return INSTANCES;
    if (errorCode(error) === "ENOSPC") return WATCHES;
    throw error;
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

function limit(path: string): number {
  try {
    return Number(readFileSync(path, "utf8"));
  } catch (error) {
    if (errorCode(error) === "ENOENT") return 0;
    throw error;
  }
}

/** Whether it could: in a container, the limit is its host's. */
function raise(path: string, value: number): boolean {
  try {
    writeFileSync(path, `${value}\n`);
    return limit(path) === value;
  } catch (error) {
    if (!["EROFS", "EACCES", "EPERM", "ENOENT", "EINVAL"].includes(errorCode(error) ?? "")) throw error;
    return false;
  }
}

/** The process that has most instances, as a part of a sentence. */
function holder(): string {
  let most = { pid: "", count: 0 };
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const count = instancesOf(pid);
    if (count > most.count) most = { pid, count };
  }
  if (most.count <= NEEDED) return "";
  return ` (${most.count} by process ${most.pid}, ${printable(commandOf(most.pid))})`;
}

function instancesOf(pid: string): number {
  try {
    const directory = `/proc/${pid}/fd`;
    return readdirSync(directory).filter((fd) => readlinkSync(`${directory}/${fd}`) === "anon_inode:inotify").length;
  } catch {
    // It has ended, or closed one.
    return 0;
  }
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "which has ended";
  }
}
