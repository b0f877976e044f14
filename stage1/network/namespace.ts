/** Makes the container's network namespace, and runs work inside a network namespace. */

import { spawnSync } from "node:child_process";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { NETWORK_PARAMETERS, sysctlSettings } from "../../shared/schema/sysctl.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { CLONE_NEWNET, setns, unshare } from "../../shared/syscall/namespace.ts";
import type { Container } from "../container/container.ts";
import type { Users } from "../container/users.ts";

const OWN = "/proc/self/ns/net";

/** Runs `work` in a network namespace. Only this thread enters it; programs that `work` starts inherit it. */
export function inNamespace<T>(namespace: number, work: () => T): T {
  return andReturn(() => {
    setns(namespace, CLONE_NEWNET);
    return work();
  });
}

function andReturn<T>(work: () => T): T {
  const before = openSync(OWN, "r");
  try {
    return work();
  } finally {
    setns(before, CLONE_NEWNET);
    closeSync(before);
  }
}

/** Makes a network namespace with loopback up. */
export function makeNamespace({ manifest, users }: Container): number {
  return andReturn(() => {
    unshare(CLONE_NEWNET);
    const busybox = containerLayout(".").inStage1(STAGE1.busybox);
    const done = spawnSync(busybox, ["ip", "link", "set", "lo", "up"], { env: {}, encoding: "utf8" });
    if (done.status !== 0)
      throw new RktError("network-failed", `cannot bring loopback up: ${done.error?.message ?? done.stderr.trim()}`);
    for (const [name, value] of INTERFACES) setDefault(name, value);
    if (users !== undefined) setParameters(users, manifest);
    return openSync(OWN, "r");
  });
}

/** IPv6 settings of the interfaces that will be made in the namespace. */
const INTERFACES: readonly [name: string, value: string][] = [
  // No detection of duplicate addresses: an address is leased to one container, and detection would take a second.
  ["accept_dad", "0"],
  // The link-local address is made from the Ethernet address: the source guard accepts no other.
  ["addr_gen_mode", "0"],
];

function setDefault(name: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/net/ipv6/conf/default/${name}`, value);
  } catch (error) {
    // The kernel has no IPv6, or /proc is read-only.
    if (!["ENOENT", "EROFS", "EACCES"].includes(errorCode(error) ?? "")) throw error;
  }
}

/**
 * The host's user namespace owns the network namespace, so the container's root has no capability there. So anyone
 * inside may open low ports and use ping(8), and the kernel parameters are set from here.
 */
function setParameters({ first, count }: Users, manifest: PodManifest): void {
  writeFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
  writeFileSync("/proc/sys/net/ipv4/ping_group_range", `${first} ${first + count - 1}`);
  for (const [path, value] of sysctlSettings(manifest, true)) {
    if (!path.startsWith(NETWORK_PARAMETERS)) continue;
    try {
      writeFileSync(`/proc/sys/${path}`, value);
    } catch (error) {
      const reason = errorCode(error) === "ENOENT" ? "this kernel has none, or not for containers" : errorText(error);
      throw new RktError("sysctl-failed", `cannot set the kernel parameter ${path} to "${value}": ${reason}`, {
        cause: error,
      });
    }
  }
}
