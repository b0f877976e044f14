/**
 * What the isolators of a container manifest come to here: an error for what
 * can't be, a warning for what has no effect (ace.md, "Isolators": an executor
 * may ignore what it does not understand, but must say so). Pure.
 */

import { RktError } from "../../shared/errors.ts";
import { ANNOTATIONS } from "../../shared/layout.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { type KnownIsolators, understandIsolators } from "../../shared/schema/isolators.ts";
import { sysctlSettings } from "../../shared/schema/sysctl.ts";
import type { Isolator, PodManifest } from "../../shared/schema/types.ts";

/** Less than any program needs to be started and to say what is wrong. */
const LEAST_MEMORY = 1n << 20n;

const UNENFORCED: readonly string[] = [
  "resource/block-bandwidth",
  "resource/block-iops",
  "resource/network-bandwidth",
  "os/linux/selinux-context",
];

/** Of a whole container; the others are an app's. */
const OF_CONTAINERS: readonly string[] = ["resource/memory", "resource/cpu", "os/linux/cpu-shares", "os/unix/sysctl"];

/** Answers warnings. Throws for isolators that contradict each other or make no sense: ManifestError, "bad-isolator". */
export function checkIsolators(manifest: PodManifest): string[] {
  const { apps, isolators, annotations } = manifest;
  const ofContainer = check(isolators, "the container", "container manifest", (name) => OF_CONTAINERS.includes(name));
  const ofApps = apps.map(({ name, app }) =>
    check(app?.isolators ?? [], `app ${name}`, `app ${name}`, (isolator) => !UNENFORCED.includes(isolator)),
  );
  sysctlSettings(manifest, (annotation(annotations, ANNOTATIONS.network) ?? "host") !== "host");
  return [ofContainer, ...ofApps].flat();
}

function check(
  isolators: readonly Isolator[],
  whose: string,
  object: string,
  isEnforced: (name: string) => boolean,
): string[] {
  const { known, unknown } = understandIsolators(isolators, { object, path: "isolators" });
  checkAmounts(known, whose);
  return [
    ...unknown.map((name) => `${whose}: the isolator ${name} is unknown and has no effect`),
    ...Object.keys(known)
      .filter((name) => !isEnforced(name))
      .map((name) => `${whose}: the isolator ${name} is not enforced and has no effect`),
  ];
}

function checkAmounts(known: KnownIsolators, whose: string): void {
  const memory = known["resource/memory"]?.limit;
  if (memory !== undefined && memory < LEAST_MEMORY)
    throw new RktError("bad-isolator", `${whose}: nothing can start in ${memory} bytes of memory`, {
      hint: `resource/memory, --memory: at least 1Mi, and what the program needs`,
    });
  if (known["resource/cpu"]?.limit === 0n)
    throw new RktError("bad-isolator", `${whose}: nothing can run with a limit of no processor time`, {
      hint: "resource/cpu, --cpu: 500m is half a core",
    });
}
