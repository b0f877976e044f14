/**
 * Test files that look at the whole network of the host, its rules, interfaces and what lies in /run/rkt, have a host of
 * their own: a network namespace with nothing but loopback, and no state of networks. So a container that somebody else runs
 * on the machine, or one that a killed run has left, is none of theirs.
 */

import { execve } from "node:process";

const OWN_HOST = "RKT_TEST_OWN_HOST";

/** What the new host needs before anything runs on it; the arguments are the program. */
const SET_UP = 'ip link set lo up && for dir in /run/rkt /run/netns /var/lib/cni; do mkdir -p $dir && mount -t tmpfs -o mode=755 rkt $dir || exit; done; exec "$@"';

/** Starts this test file again, in a host of its own; returns in that. The first statement of a file. */
export function takeOwnHost(): void {
  if (process.env[OWN_HOST] === "true" || process.getuid?.() !== 0) return;
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const argv = ["unshare", "--net", "--mount", "--", "sh", "-c", SET_UP, "sh", ...program];
  execve?.("/usr/bin/unshare", argv, { ...process.env, [OWN_HOST]: "true" });
}
