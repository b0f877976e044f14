/**
 * The kernel limits inotify instances and watches (inotify(7)) by user, and counts those of all containers as root's.
 * systemd needs three instances in every container, and the default limit is 128: the 43rd container would end before
 * its first app, without a message. So would every container beside a root process that has used up all instances.
 */

import { closeSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { errorCode, printable, RktError } from "../../shared/errors.ts";
import { inotifyAddWatch, inotifyInit } from "../../shared/syscall/descriptor.ts";

/** Instances that systemd 252 needs. */
const NEEDED = 3;
/** A reserve for containers that start at the same time. */
const SPARE = 45;
/** Enough for 2,700 containers. An unused instance costs nothing. */
const ENOUGH = 8192;
/**
 * The highest limit that the kernel accepts, for a limit that a process has used up: that process would use up a
 * slightly higher one while systemd boots. Limits of open files and of memory bound it then.
 */
const UNLIMITED = 0x7fffffff;

const INSTANCES = "/proc/sys/fs/inotify/max_user_instances";
const WATCHES = "/proc/sys/fs/inotify/max_user_watches";

/**
 * Makes sure that systemd gets its instances: raises a limit that is used up. Returns a message for the user about it.
 */
export function requireInotify(): string | undefined {
  // The limit is read first, because `missing` takes 1.5 ms.
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
    hint: `stop the processes that have them, or raise the limit on the host: sysctl fs.inotify.${basename(limitFile)}=${UNLIMITED}`,
  });
}

/** Tries to make this many instances, with a watch each. Returns the limit that prevents it. */
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

/** False if the limit can't be raised: in a container, it is the host's. */
function raise(path: string, value: number): boolean {
  try {
    writeFileSync(path, `${value}\n`);
    return limit(path) === value;
  } catch (error) {
    if (!["EROFS", "EACCES", "EPERM", "ENOENT", "EINVAL"].includes(errorCode(error) ?? "")) throw error;
    return false;
  }
}

/** Names the process that has most instances, as a part of a sentence. */
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
    // The process has ended, or has closed one.
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
