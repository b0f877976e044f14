/**
 * Makes the shell scripts that release what a container's networks hold of the host: addresses, interfaces, firewall
 * rules and published ports (ADR 3). Pure.
 *
 * Stage 1 writes the scripts while it sets the networks up, because it no longer exists when the container ends:
 *
 * - Steps: one releases the published ports, and one each network. They lie in the container's claim
 *   (`networkClaim`, shared/contract/host-state.ts).
 * - The teardown script, also in the claim: carries the steps out. A process that waits for the container's end runs
 *   it; if that was killed, the next rkt that needs a network does, or `rkt gc`.
 * - `net/teardown` in the container directory: stage 0 runs it before it removes the container, to be sure that the
 *   release is done.
 *
 * All run on the host, with a POSIX shell, flock(1) and the host's own tools. The data directory with the stage1 image
 * and its CNI plugins may be lost by then. Everything in the scripts is quoted for the shell.
 */

import { containerLayout } from "../../shared/contract/container-directory.ts";
import { NETWORK_STATE, networkClaim } from "../../shared/contract/host-state.ts";
import { type Attachment, type CniResult, HOST_PATH, hostVeths, invocation, programsOf } from "./cni.ts";
import type { NetworkConf, PluginConf } from "./network-conf.ts";
import { ownFile } from "./ports.ts";
import { quoted } from "./quoted.ts";
import { chainSweep, digest, releaseWithoutPlugin } from "./release-without-plugin.ts";

const here = containerLayout(".");

/**
 * The script `net/teardown` of the container directory, in which stage 0 runs it. It waits for the release if another
 * process is at it, or else does it.
 */
export function awaitTeardownScript(uuid: string): string {
  const { teardown } = networkClaim(uuid);
  return `#!/bin/sh
# Releases what this container's networks hold of the host.
PATH=${HOST_PATH}
export PATH
# Another process may run that script, too, and remove it when it is done.
if [ -e ${teardown} ] && ! sh ${teardown} wait && [ -e ${teardown} ]; then exit 1; fi
rm -f ${here.netTeardown}
`;
}

/**
 * The teardown script of the claim. It carries the steps out, the last one first, and removes each that has succeeded.
 * The others stay for the next time.
 */
export function teardownScript(uuid: string): string {
  const { dir, lock, releasing, teardown, steps, failed, temporary } = networkClaim(uuid);
  return `#!/bin/sh
# Releases what this container's networks hold of the host. A process that starts with the container runs it with the
# argument "wait": then it waits for the container's end. Any rkt may run it, too, at any time; it does nothing while
# the container runs. The container holds the first lock as long as it runs. The second lock is held by the one process
# that carries the steps out.
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

/** The step that frees the host's ports, if they are still this container's. */
export function portsStep(uuid: string, files: readonly string[]): string {
  const path = (file: string): string => quoted(`${NETWORK_STATE.ports}/${file}`);
  const lines = files.map((file) => `if grep -qsx ${uuid} ${path(file)}; then rm -f ${path(file)}; fi\n`);
  return `# Ports of the host that the container publishes.\nrm -f ${path(ownFile(uuid))}\n${lines.join("")}`;
}

/**
 * The step that releases a network: DEL of its plugins, in reverse order, then what they may leave behind. `result` is
 * what they returned when the container was added. `afterwards` is shell that only this network needs.
 */
export function networkStep(attachment: Attachment, result: CniResult | undefined, afterwards = ""): string {
  const { conf, containerId, busybox } = attachment;
  const lock = quoted(NETWORK_STATE.lock(conf.name));
  const plugins = conf.plugins.toReversed().map((plugin) => pluginRelease(plugin, attachment, result));
  const veths = hostVeths(result).map(
    (name) => `${quoted(busybox)} ip link del ${name} 2>/dev/null || ip link del ${name} 2>/dev/null\n`,
  );
  const mapping = usesPortmap(conf);
  return `# Network ${conf.name}, from ${conf.file.replace(/[^\x20-\x7e]/g, "?")}.
mkdir -p ${quoted(NETWORK_STATE.dir)} && exec 8>>${lock} && flock 8 || exit 1
${mapping ? `exec 7>>${quoted(NETWORK_STATE.portmapLock)} && flock 7 || exit 1\n` : ""}status=0
${plugins.join("")}${veths.join("")}${masquerades(conf) ? masqueradeSweep(conf.name, containerId) : ""}${mapping ? PORTMAP_SWEEP : ""}${afterwards}exit $status
`;
}

/** Shell that runs DEL of a plugin. If a program that this needs is lost, it releases what the plugin is known to hold. */
function pluginRelease(plugin: PluginConf, attachment: Attachment, result: CniResult | undefined): string {
  const { path, env, input } = invocation("DEL", plugin, attachment, "", result);
  const variables = Object.entries(env).map(([name, value]) => `${name}=${quoted(value)}`);
  const programsExist = programsOf(plugin, attachment)
    .map((program) => `[ -x ${quoted(program)} ]`)
    .join(" && ");
  return `if ${programsExist} && ${variables.join(" ")} ${quoted(path)} <<'EOF' >&2
${input}
EOF
then :
elif ${programsExist}; then
  echo "plugin ${plugin.type} failed" >&2; status=1
else
${releaseWithoutPlugin(plugin, attachment, result)}fi
`;
}

export const masquerades = ({ plugins }: NetworkConf): boolean => plugins.some((plugin) => plugin["ipMasq"] === true);
export const usesPortmap = ({ plugins }: NetworkConf): boolean => plugins.some(({ type }) => type === "portmap");

/**
 * Shell that removes the chains that all containers with published ports share: the plugin portmap makes them, and never
 * removes them. It is one transaction, which fails as a whole while a container, ours or another runtime's, publishes a
 * port: then CNI-HOSTPORT-DNAT is not empty, and can't be removed.
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
 * Shell that removes the rules of ipMasq, because the plugins do so only while the namespace and its addresses exist.
 * CNI names the chain by the first 24 digits of the SHA-512 of network and container.
 */
function masqueradeSweep(network: string, containerId: string): string {
  return chainSweep(`CNI-${digest(network, containerId).slice(0, 24)}`);
}
