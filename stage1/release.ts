/**
 * The shell scripts that release a container's networks (ADR 3). Pure.
 *
 * They run on the host, in the container directory, with nothing but a POSIX
 * shell and flock(1), perhaps long after stage 1 has gone. Everything in them
 * is quoted for the shell.
 */

import { createHash } from "node:crypto";
import { containerLayout, NETWORK_STATE } from "../shared/layout.ts";
import type { NetworkConf } from "./network-conf.ts";
import { ownFile } from "./ports.ts";
import { type Attachment, type CniResult, HOST_PATH, hostVeths, invocation } from "./cni.ts";

const here = containerLayout(".");

export const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Carries out the steps, the last one first; what is left of them is what failed. */
export function teardownScript(): string {
  return `#!/bin/sh
# Releases what this container's networks hold of the host. A waiter runs it from the container's start on, and
# whoever removes the container; it may be run again at any time. The lock is held by the container while it runs.
trap '' HUP INT TERM
umask 022
PATH=${HOST_PATH}
export PATH
exec 9>>${here.netLock} || exit 1
flock 9 || exit 1
[ -d ${here.netRelease} ] || exit 0
status=0
for step in $(ls -r ${here.netRelease}); do
  if sh ${here.netRelease}/$step 9>&-; then
    rm -f ${here.netRelease}/$step
  else
    status=1
  fi
done
[ $status -eq 0 ] && rmdir ${here.netRelease} && rm -f ${here.netTeardown}
exit $status
`;
}

/** Gives back the host's ports, if they are still this container's. */
export function portsStep(uuid: string, files: readonly string[]): string {
  const path = (file: string): string => quoted(`${NETWORK_STATE.ports}/${file}`);
  const lines = files.map((file) => `if grep -qsx ${uuid} ${path(file)}; then rm -f ${path(file)}; fi\n`);
  return `# Ports of the host that the container publishes.\nrm -f ${path(ownFile(uuid))}\n${lines.join("")}`;
}

/** DEL of one network; `afterwards` is shell for what is this network's alone. */
export function networkStep(attachment: Attachment, result: CniResult | undefined, afterwards = ""): string {
  const { conf, containerId } = attachment;
  const lock = quoted(NETWORK_STATE.lock(conf.name));
  const plugins = conf.plugins.toReversed().map((plugin) => {
    const { path, env, input } = invocation("DEL", plugin, attachment, "", result);
    const variables = Object.entries(env).map(([name, value]) => `${name}=${quoted(value)}`);
    return `${variables.join(" ")} ${quoted(path)} <<'EOF' >&2 || { echo "plugin ${plugin.type} failed" >&2; status=1; }
${input}
EOF
`;
  });
  const veths = hostVeths(result).map(
    (name) => `${quoted(attachment.busybox)} ip link del ${name} 2>/dev/null || ip link del ${name} 2>/dev/null\n`,
  );
  const mapping = usesPortmap(conf);
  const masquerading = conf.plugins.some((plugin) => plugin["ipMasq"] === true);
  return `# Network ${conf.name}, from ${conf.file.replace(/[^\x20-\x7e]/g, "?")}.
mkdir -p ${quoted(NETWORK_STATE.dir)} && exec 8>>${lock} && flock 8 || exit 1
${mapping ? `exec 7>>${quoted(NETWORK_STATE.portmapLock)} && flock 7 || exit 1\n` : ""}status=0
${plugins.join("")}${veths.join("")}${masquerading ? masqueradeSweep(conf.name, containerId) : ""}${mapping ? PORTMAP_SWEEP : ""}${afterwards}exit $status
`;
}

export const usesPortmap = ({ plugins }: NetworkConf): boolean => plugins.some(({ type }) => type === "portmap");

/**
 * portmap leaves its first chains behind. One transaction, which fails as a whole while any container, ours or
 * another runtime's, has a port: CNI-HOSTPORT-DNAT is not empty then.
 */
const PORTMAP_SWEEP = `for tables in iptables ip6tables; do
  $tables-restore -w --noflush 2>/dev/null <<'EOF'
*nat
-D PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-D OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-D POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-F CNI-HOSTPORT-MASQ
-F CNI-HOSTPORT-SETMARK
-X CNI-HOSTPORT-DNAT
-X CNI-HOSTPORT-MASQ
-X CNI-HOSTPORT-SETMARK
COMMIT
EOF
done
`;

/**
 * Plugins take the rules of ipMasq away only while the namespace and its
 * addresses are there. The chain's name is CNI's: the first 24 digits of the
 * SHA-512 of network and container.
 */
function masqueradeSweep(network: string, containerId: string): string {
  const chain = `CNI-${createHash("sha512").update(`${network}${containerId}`).digest("hex").slice(0, 24)}`;
  return `for tables in iptables ip6tables; do
  $tables -w -t nat -S POSTROUTING 2>/dev/null | grep -e '-j ${chain}$' | while read -r _ rule; do
    eval "$tables -w -t nat -D $rule"
  done
  $tables -w -t nat -F ${chain} 2>/dev/null && $tables -w -t nat -X ${chain}
done
`;
}
