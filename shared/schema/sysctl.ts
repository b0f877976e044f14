/**
 * os/unix/sysctl: kernel parameters of a container. A container may set only parameters that the kernel has separately
 * for each namespace; all others are the host's (namespaces(7), ipc_namespaces(7), and
 * Documentation/admin-guide/sysctl).
 */

import { ANNOTATIONS } from "../contract/annotations.ts";
import { RktError } from "../errors.ts";
import { annotation } from "./image-manifest.ts";
import { understandIsolators } from "./isolators.ts";
import type { PodManifest } from "./types.ts";

const IPC = "auto_msgmni msgmax msgmnb msgmni sem shm_rmid_forced shmall shmmax shmmni".split(" ");

/** Prefix of the paths of a network namespace's parameters. */
export const NETWORK_PARAMETERS = "net/";

/**
 * The parameters that the container and its apps ask for, as a map from the path below /proc/sys to the value. The
 * container's value replaces an app's; `onReplaced` is told of that. Throws "bad-isolator" for a parameter that a
 * container may not set, and for different values of two apps, or of one app under two spellings.
 */
export function sysctlSettings(
  { isolators, apps, annotations }: PodManifest,
  ownNetwork: boolean,
  onReplaced?: (by: string, name: string) => void,
): Map<string, string> {
  const own = { network: ownNetwork, ipc: annotation(annotations, ANNOTATIONS.ipc) !== "parent" };
  const settings = new Map<string, { value: string; by: string }>();
  const askers = [
    { by: "the container", isolators, object: "container manifest" },
    ...apps.map(({ name, app }) => ({ by: `app ${name}`, isolators: app?.isolators ?? [], object: `app ${name}` })),
  ];
  for (const asker of askers) {
    const { known } = understandIsolators(asker.isolators, { object: asker.object, path: "isolators" });
    for (const [name, value] of known["os/unix/sysctl"] ?? []) {
      const path = sysctlPath(name);
      requireNamespaced(asker.by, name, path, own);
      const other = settings.get(path);
      if (other === undefined) settings.set(path, { value, by: asker.by });
      else if (other.value === value) continue;
      else if (other.by === asker.by)
        throw new RktError("bad-isolator", `${asker.by} has two values of the kernel parameter ${name}`, {
          hint: "net.core.somaxconn and net/core/somaxconn are one parameter",
        });
      else if (other.by === "the container") onReplaced?.(asker.by, name);
      else
        throw new RktError("bad-isolator", `${other.by} and ${asker.by} want different values of ${name}`, {
          hint: "the apps of a container share its namespaces: run them in separate containers, or set it for the container",
        });
    }
  }
  return new Map([...settings].map(([path, { value }]) => [path, value]));
}

/**
 * As sysctl(8): the first "." or "/" is the separator. The other character is then a part of names, and swapped in
 * /proc.
 */
export function sysctlPath(name: string): string {
  const dots = /[./]/.exec(name)?.[0] === ".";
  return dots ? name.replace(/[./]/g, (separator) => (separator === "." ? "/" : ".")) : name;
}

function requireNamespaced(by: string, name: string, path: string, own: { network: boolean; ipc: boolean }): void {
  const refuse = (hint: string): never => {
    throw new RktError("bad-isolator", `${by}: the kernel parameter ${name} is not the container's own`, { hint });
  };
  const [top = "", second = ""] = path.split("/");
  if (top === "net") {
    if (!own.network) refuse("with a network of its own (--net) it has its own net.*");
  } else if (path === "kernel/hostname") refuse("--hostname=NAME");
  else if (!isOfNamespace(top, second))
    refuse("a container can have net.* (with --net), fs.mqueue.*, kernel.{sem,msg*,shm*} and kernel.domainname");
  else if (!own.ipc && path !== "kernel/domainname") refuse("without --ipc=parent it has its own");
}

function isOfNamespace(top: string, second: string): boolean {
  if (top === "fs") return second === "mqueue";
  return top === "kernel" && (second === "domainname" || IPC.includes(second));
}
