/**
 * The shell scripts that release a container's networks (ADR 3). Pure.
 *
 * They run on the host, with a POSIX shell, flock(1) and the host's own tools, perhaps long after stage 1 has ended and
 * its plugins were lost with the data directory. Everything in them is quoted for the shell.
 */

import { containerLayout } from "../../shared/contract/container-directory.ts";
import { NETWORK_STATE, networkClaim } from "../../shared/contract/host-state.ts";
import { type Attachment, type CniResult, HOST_PATH, hostVeths, invocation, programsOf } from "./cni.ts";
import type { NetworkConf } from "./network-conf.ts";
import { ownFile } from "./ports.ts";
import { quoted } from "./quoted.ts";
import { chainSweep, digest, releaseWithoutPlugin } from "./release-without-plugin.ts";

const here = containerLayout(".");

/** The script that stage 0 runs in the container directory: waits for the release, or does it itself. */
export function teardownLink(uuid: string): string {
  const { teardown } = networkClaim(uuid);
  return `#!/bin/sh
# Releases what this container's networks hold of the host.
PATH=${HOST_PATH}
export PATH
# The script's other runner may be faster, and remove it.
if [ -e ${teardown} ] && ! sh ${teardown} wait && [ -e ${teardown} ]; then exit 1; fi
rm -f ${here.netTeardown}
`;
}

/** The script that carries out the release's steps, the last one first. The steps that fail remain. */
export function teardownScript(uuid: string): string {
  const { dir, lock, releasing, teardown, steps, failed, temporary } = networkClaim(uuid);
  return `#!/bin/sh
# Releases what this container's networks hold of the host. A process that starts with the container runs it and waits
# for the container's end ("wait"). Any rkt may run it, too, at any time. The container holds the first lock while it
# runs; a script holds the second lock while it releases.
trap '' HUP INT TERM
# A user who can open a file can lock it (flock(2)): only root may open those that are made here.
umask 077
PATH=${HOST_PATH}
export PATH
cd / || exit 1
exec 9>>${lock} || exit 1
if [ "$1" = wait ]; then flock -s 9 || exit 1; else flock -s -n 9 || exit 0; fi
exec 6>>${releasing} || exit 1
flock 6 || exit 1
if [ -e ${teardown} ]; then
  status=0
  for step in $(ls -r ${steps}); do
    if sh ${steps}/$step 9>&- 6>&-; then
      rm -f ${steps}/$step
    else
      status=1
    fi
  done
  [ $status -eq 0 ] || { : >${failed}; exit 1; }
fi
rm -rf ${steps}
rm -f ${temporary} ${teardown} ${failed} ${releasing} ${lock}
rmdir ${dir} 2>/dev/null
exit 0
`;
}

/** The step that frees the host's ports that are still this container's. */
export function portsStep(uuid: string, files: readonly string[]): string {
  const path = (file: string): string => quoted(`${NETWORK_STATE.ports}/${file}`);
  const lines = files.map((file) => `if grep -qsx ${uuid} ${path(file)}; then rm -f ${path(file)}; fi\n`);
  return `# Ports of the host that the container publishes.\nrm -f ${path(ownFile(uuid))}\n${lines.join("")}`;
}

/** The step that runs DEL of a network's plugins; `afterwards` is shell that only this network needs. */
export function networkStep(attachment: Attachment, result: CniResult | undefined, afterwards = ""): string {
  const { conf, containerId } = attachment;
  const lock = quoted(NETWORK_STATE.lock(conf.name));
  const plugins = conf.plugins.toReversed().map((plugin) => {
    const { path, env, input } = invocation("DEL", plugin, attachment, "", result);
    const variables = Object.entries(env).map(([name, value]) => `${name}=${quoted(value)}`);
    const there = programsOf(plugin, attachment).map((program) => `[ -x ${quoted(program)} ]`);
    return `if ${there.join(" && ")} && ${variables.join(" ")} ${quoted(path)} <<'EOF' >&2
${input}
EOF
then :
elif ${there.join(" && ")}; then
  echo "plugin ${plugin.type} failed" >&2; status=1
else
${releaseWithoutPlugin(plugin, attachment, result)}fi
`;
  });
  const veths = hostVeths(result).map(
    (name) => `${quoted(attachment.busybox)} ip link del ${name} 2>/dev/null || ip link del ${name} 2>/dev/null\n`,
  );
  const mapping = usesPortmap(conf);
  return `# Network ${conf.name}, from ${conf.file.replace(/[^\x20-\x7e]/g, "?")}.
mkdir -p ${quoted(NETWORK_STATE.dir)} && exec 8>>${lock} && flock 8 || exit 1
${mapping ? `exec 7>>${quoted(NETWORK_STATE.portmapLock)} && flock 7 || exit 1\n` : ""}status=0
${plugins.join("")}${veths.join("")}${masquerades(conf) ? masqueradeSweep(conf.name, containerId) : ""}${mapping ? PORTMAP_SWEEP : ""}${afterwards}exit $status
`;
}

export const masquerades = ({ plugins }: NetworkConf): boolean => plugins.some((plugin) => plugin["ipMasq"] === true);
export const usesPortmap = ({ plugins }: NetworkConf): boolean => plugins.some(({ type }) => type === "portmap");

/**
 * portmap never removes its shared chains, so this does. It is one transaction: while a container, ours or another
 * runtime's, publishes a port, CNI-HOSTPORT-DNAT is not empty, and the transaction fails as a whole.
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
 * Removes the rules of ipMasq: plugins do so only while the namespace and its addresses exist. CNI names the chain by
 * the first 24 digits of the SHA-512 of network and container.
 */
function masqueradeSweep(network: string, containerId: string): string {
  return chainSweep(`CNI-${digest(network, containerId).slice(0, 24)}`);
}
