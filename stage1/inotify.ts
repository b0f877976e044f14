/**
 * Inotify instances (inotify(7)): systemd takes three in every container, and
 * Linux gives a user 128 unless told otherwise. The 43rd container would end
 * before its first app, without a word.
 */

import { closeSync, readFileSync, writeFileSync } from "node:fs";
import { errorCode, RktError } from "../shared/errors.ts";
import { inotifyInit } from "../shared/syscall/linux.ts";

/** Of systemd 252. */
const NEEDED = 3;
/** For containers that start at the same time. */
const SPARE = 45;
/** As many as 2,700 containers need. An instance nobody has takes nothing. */
const ENOUGH = 8192;

const LIMIT = "/proc/sys/fs/inotify/max_user_instances";

/** Makes sure that systemd will get what it needs: raises a limit that is about to be reached. */
export function requireInotify(): void {
  // Asking whether there are some left takes a millisecond and a half.
  if (limit() < ENOUGH && !available(NEEDED + SPARE)) raiseLimit();
  if (!available(NEEDED))
    throw new RktError("no-inotify", "this machine's inotify instances are used up: a container takes three", {
      hint: `raise the limit: sysctl fs.inotify.max_user_instances=${ENOUGH}`,
    });
}

function available(count: number): boolean {
  const fds: number[] = [];
  try {
    while (fds.length < count) fds.push(inotifyInit());
    return true;
  } catch (error) {
    if (errorCode(error) === "EMFILE") return false;
    throw error;
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}

function limit(): number {
  try {
    return Number(readFileSync(LIMIT, "utf8"));
  } catch (error) {
    if (errorCode(error) === "ENOENT") return 0;
    throw error;
  }
}

/** It may be out of our hands: in a container, the limit is its host's. */
function raiseLimit(): void {
  try {
    writeFileSync(LIMIT, `${ENOUGH}\n`);
  } catch (error) {
    if (!["EROFS", "EACCES", "EPERM", "ENOENT"].includes(errorCode(error) ?? "")) throw error;
  }
}
