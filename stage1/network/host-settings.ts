/**
 * Networks switch on settings in the host's kernel. This module protects the host while they are on, and puts them
 * back.
 *
 * Plugins switch on forwarding. portmap also switches on `route_localnet`: then the host accepts packets for
 * 127.0.0.0/8 from the network, and its neighbours reach services that listen on loopback only (CVE-2020-8558). So if
 * ports are published, a chain of our own drops packets with addresses in 127.0.0.0/8 that do not come from loopback.
 * (For ::1 the kernel does that itself.)
 *
 * Each attachment of a container to a network has a file in `users`. The step that releases the last one puts the
 * settings back and removes the chain.
 */

import { appendFileSync, closeSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";
import { NETWORK_STATE } from "../../shared/contract/host-state.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { makeRuntimeDirectory, openRuntimeFile } from "../../shared/runtime-directory.ts";
import { flock, LOCK_EX } from "../../shared/syscall/descriptor.ts";
import { type Chain, installChains, removeChains } from "./chains.ts";
import type { Attachment } from "./cni.ts";
import { quoted } from "./quoted.ts";

const DIR = `${NETWORK_STATE.dir}/settings` as HostPath;
const USERS = `${DIR}/users` as HostPath;
/** The settings that a plugin has switched on, one path below /proc/sys per line. */
const CHANGED = `${DIR}/changed`;
/** No network's lock has this name: a network's name begins with no dot. */
const LOCK = `${NETWORK_STATE.dir}/.settings.lock` as HostPath;
const CHAIN = "RKT-LOOPBACK";
const LOOPBACK: Chain = { table: "raw", hook: "PREROUTING", name: CHAIN };

const FORWARDING = { "net/ipv4/ip_forward": "iptables", "net/ipv6/conf/all/forwarding": "ip6tables" } as const;

const fileOf = ({ containerId, conf, ifName }: Attachment): string => `${containerId}-${ifName}-${conf.name}`;

/**
 * Runs a network's ADD, and records that the attachment uses the host's settings. Its release must be written before.
 */
export function withHostSettings<T>(attachment: Attachment, add: () => T): T {
  locked(() => {
    makeRuntimeDirectory(USERS);
    writeFileSync(`${USERS}/${fileOf(attachment)}`, "", { mode: 0o644 });
    if (attachment.portMappings.length > 0) closeLoopback(attachment);
  });
  const before = new Set(switchedOn());
  try {
    return add();
  } finally {
    const changed = switchedOn().filter((setting) => !before.has(setting));
    if (changed.length > 0) locked(() => appendFileSync(CHANGED, changed.map((setting) => `${setting}\n`).join("")));
  }
}

function locked(work: () => void): void {
  const lock = openRuntimeFile(LOCK);
  try {
    flock(lock, LOCK_EX);
    work();
  } finally {
    closeSync(lock);
  }
}

function switchedOn(): string[] {
  const directory = "net/ipv4/conf";
  const local = readdirSync(`/proc/sys/${directory}`).map((name) => `${directory}/${name}/route_localnet`);
  return [...Object.keys(FORWARDING), ...local].filter((setting) => {
    try {
      return readFileSync(`/proc/sys/${setting}`, "latin1").trim() === "1";
    } catch {
      // The host has no IPv6, or the interface was removed meanwhile.
      return false;
    }
  });
}

/** Input of iptables-restore --noflush. */
export const LOOPBACK_RULES = `*raw
:${CHAIN} - [0:0]
-A ${CHAIN} ! -i lo -d 127.0.0.0/8 -j DROP
-A ${CHAIN} ! -i lo -s 127.0.0.0/8 -j DROP
-A PREROUTING -j ${CHAIN}
COMMIT
`;

function closeLoopback({ conf }: Attachment): void {
  const failure = installChains("iptables", [LOOPBACK], LOOPBACK_RULES);
  if (failure === undefined) return;
  throw new RktError("network-failed", `network ${conf.name} (${conf.file}): plugin portmap: ${failure.reason}`, {
    hint: "install iptables: published ports need it, and its table raw",
    cause: failure.cause,
  });
}

/**
 * Shell for the end of a network's release. Forwarding stays on if there are rules of others for forwarded packets,
 * because they may need it by now.
 */
export function releaseHostSettings(attachment: Attachment): string {
  const forwarding = Object.entries(FORWARDING).map(
    ([setting, tables]) =>
      `      ${setting}) ! ${tables}-save 2>/dev/null | grep -qE '^-A (FORWARD|POSTROUTING) ' || continue ;;\n`,
  );
  return `exec 6>>${quoted(LOCK)} && flock 6 || exit 1
rm -f ${quoted(`${USERS}/${fileOf(attachment)}`)}
if rmdir ${quoted(USERS)} 2>/dev/null; then
  ${removeChains("iptables", [LOOPBACK])}
  if [ -e ${quoted(CHANGED)} ]; then
    while read -r setting; do
      case $setting in
${forwarding.join("")}      esac
      { echo 0 >"/proc/sys/$setting"; } 2>/dev/null
    done <${quoted(CHANGED)}
  fi
  rm -rf ${quoted(DIR)}
fi
exec 6>&-
`;
}
