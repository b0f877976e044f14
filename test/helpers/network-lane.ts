/**
 * Test files that look at the whole network of the host, its rules, interfaces and what lies in /run/rkt, run one at a
 * time: each is a process, and holds a lock until it ends.
 */

import { openSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { flock, LOCK_EX } from "../../shared/syscall/descriptor.ts";

/** Waits for the files that have the network now. */
export function takeNetworkLane(): void {
  flock(openSync(join(tmpdir(), "rkt-test-network.lock"), "a", 0o600), LOCK_EX);
}
