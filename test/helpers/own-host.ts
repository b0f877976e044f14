/**
 * Tests that look at the whole network of the host (its rules, its interfaces, /run/rkt) run in a "host" of their own:
 * a network namespace with nothing but loopback, and without state of networks. So other containers on the machine,
 * also those that a killed run has left, do not affect them.
 */

import { execve } from "node:process";

const OWN_HOST = "RKT_TEST_OWN_HOST";

/** Sets up the new host, and runs the program in the arguments. */
const SET_UP = 'ip link set lo up && for dir in /run/rkt /run/netns /var/lib/cni; do mkdir -p $dir && mount -t tmpfs -o mode=755 rkt $dir || exit; done; exec "$@"';

/**
 * Starts this test file again in a host of its own, and returns only there. It must be the first statement of a file.
 */
export function takeOwnHost(): void {
  if (process.env[OWN_HOST] === "true" || process.getuid?.() !== 0) return;
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const argv = ["unshare", "--net", "--mount", "--", "sh", "-c", SET_UP, "sh", ...program];
  execve?.("/usr/bin/unshare", argv, { ...process.env, [OWN_HOST]: "true" });
}
