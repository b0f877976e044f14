import { readFileSync, readlinkSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";

/** The container's PID 1 as the host numbers it: the child of the lock's holder that is PID 1 in another namespace. */
export function firstProcess(pid: number): number {
  const own = readlinkSync(`/proc/${pid}/ns/pid`);
  for (const child of readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")) {
    if (!/^\d+$/.test(child)) continue;
    try {
      if (
        readlinkSync(`/proc/${child}/ns/pid`) !== own &&
        /^NSpid:.*\t1$/m.test(readFileSync(`/proc/${child}/status`, "utf8"))
      )
        return Number(child);
    } catch {
      // It ended meanwhile.
    }
  }
  throw new RktError("not-running", "the container has no first process", {
    hint: "it is starting or ending: try again",
  });
}
