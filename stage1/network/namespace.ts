/** The container's network namespace, as it is before anything is put into it; and work that is done inside. */

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

/** Works in a network namespace: this thread, whose namespace its children inherit, then returns to its own. */
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

/** A network namespace with loopback up. */
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

/** What interfaces that come have of IPv6. */
const INTERFACES: readonly [name: string, value: string][] = [
  // Addresses are leased: nobody else on the network has them, and detection would hold each start up for a second.
  ["accept_dad", "0"],
  // The link-local address follows from the Ethernet address: it is the one that the source guard lets pass.
  ["addr_gen_mode", "0"],
];

function setDefault(name: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/net/ipv6/conf/default/${name}`, value);
  } catch (error) {
    // No IPv6, or a /proc that may not be written.
    if (!["ENOENT", "EROFS", "EACCES"].includes(errorCode(error) ?? "")) throw error;
  }
}

/**
 * The namespace is the host's user namespace's, where the container's root has no capability: what a server and ping(8)
 * take is what anyone in there may do, and kernel parameters are set from here.
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
