/**
 * `stop --pid=PID [--force]`: asks the container to end, or ends it.
 *
 * The pid is nspawn's. SIGTERM makes it tell the container's systemd to stop
 * the apps in order; after SIGKILL the container's first process, and with it
 * every other, gets SIGKILL from the kernel (see /usr/lib/rkt/pid1).
 */

import { RktError } from "../shared/errors.ts";

export function stop(args: readonly string[]): void {
  const pid = Number(args.find((arg) => arg.startsWith("--pid="))?.slice("--pid=".length));
  if (!Number.isInteger(pid) || pid <= 1) throw new RktError("usage", "usage: stop --pid=PID [--force]");
  process.kill(pid, args.includes("--force") ? "SIGKILL" : "SIGTERM");
}
