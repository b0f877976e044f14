/**
 * Checks the isolators of a container manifest: an impossible one is an error, one without effect a warning (ace.md,
 * "Isolators": an executor may ignore an isolator that it does not know, but must say so). Pure.
 */

import { RktError } from "../../shared/errors.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { CAPABILITIES } from "../../shared/schema/capabilities.ts";
import {
  type KnownIsolators,
  parseCapabilities,
  understandIsolators,
  type Where,
} from "../../shared/schema/isolators.ts";
import { sysctlPath, sysctlSettings } from "../../shared/schema/sysctl.ts";
import type { Isolator, Json, PodManifest } from "../../shared/schema/types.ts";

/** The lowest possible limits. */
export interface Least {
  /** Bytes. */
  memory: bigint;
  /** Thousandths of a core. */
  cpu: bigint;
}

const MiB = 1n << 20n;

/**
 * The lowest limits of an app. On cgroup v1 the launcher joins the app's cgroups just before it becomes the app: no
 * program can start with less than this. On v2 the launcher has the app's limits from the start: it needs 16 MiB, and
 * takes seconds with a hundredth of a core.
 */
export const leastOfApp = (unifiedCgroups: boolean): Least =>
  unifiedCgroups ? { memory: 24n * MiB, cpu: 10n } : { memory: MiB, cpu: 1n };

/** The lowest limits of a container, in which systemd and all launchers run at the same time. */
const leastOfContainer = (apps: number): Least => ({ memory: (8n + 16n * BigInt(apps)) * MiB, cpu: 10n });

const UNENFORCED: readonly string[] = [
  "resource/block-bandwidth",
  "resource/block-iops",
  "resource/network-bandwidth",
  "os/linux/selinux-context",
];

/** Isolators that a whole container can have. All others are for apps. */
const OF_CONTAINERS: readonly string[] = ["resource/memory", "resource/cpu", "os/linux/cpu-shares", "os/unix/sysctl"];

/**
 * An isolator of 0.1.0 to 0.3.0 without a successor. One app's applies to the container, because the apps share its
 * network.
 */
const PRIVATE_NETWORK = "private-network";

/** The value of an isolator private-network; undefined for any other isolator or value. */
function privateNetwork({ name, value }: Isolator): boolean | undefined {
  if (name !== PRIVATE_NETWORK) return undefined;
  const text = String(value);
  return text === "true" ? true : text === "false" ? false : undefined;
}

/** Whether one of the isolators asks for the container's own network. */
export const wantsPrivateNetwork = (isolators: readonly Isolator[]): boolean => isolators.some(privateNetwork);

const hasOwnNetwork = ({ annotations }: PodManifest): boolean =>
  (annotation(annotations, ANNOTATIONS.network) ?? "host") !== "host";

/**
 * Returns warnings. Throws ManifestError and "bad-isolator" for isolators that are invalid or contradict each other.
 * `unifiedCgroups`: the host has cgroup v2 alone.
 */
export function checkIsolators(manifest: PodManifest, unifiedCgroups = false): string[] {
  const { apps, isolators } = manifest;
  const ownNetwork = hasOwnNetwork(manifest);
  const container = understandIsolators(isolators, { object: "container manifest", path: "isolators" });
  checkAmounts(container.known, "the container", leastOfContainer(apps.length));
  const warnings = withoutEffect(ofNetwork(container, isolators), "the container", (name) =>
    OF_CONTAINERS.includes(name),
  );
  warnings.push(...sharedNetwork(isolators, ownNetwork, "the container"));
  for (const { name, app } of apps) {
    const whose = `app ${name}`;
    const own = understandIsolators(app?.isolators ?? [], { object: whose, path: "isolators" });
    checkAmounts(own.known, whose, leastOfApp(unifiedCgroups));
    warnings.push(
      ...sharedNetwork(app?.isolators ?? [], ownNetwork, whose),
      ...withoutEffect(ofNetwork(own, app?.isolators ?? []), whose, (isolator) => !UNENFORCED.includes(isolator)),
      ...lowered(own.known, container.known, whose),
    );
  }
  sysctlSettings(manifest, ownNetwork, (by, name) =>
    warnings.push(`${by}: its value of the kernel parameter ${name} is replaced by the container's`),
  );
  return warnings;
}

type Understood = ReturnType<typeof understandIsolators>;

/** private-network counts as known if its value is true or false. */
function ofNetwork({ known, unknown }: Understood, isolators: readonly Isolator[]): Understood {
  const understood = isolators.some((isolator) => privateNetwork(isolator) !== undefined);
  return { known, unknown: understood ? unknown.filter((name) => name !== PRIVATE_NETWORK) : unknown };
}

function sharedNetwork(isolators: readonly Isolator[], ownNetwork: boolean, whose: string): string[] {
  if (ownNetwork || !wantsPrivateNetwork(isolators)) return [];
  return [`${whose}: the isolator ${PRIVATE_NETWORK} has no effect: the container is to share the host's network`];
}

function withoutEffect({ known, unknown }: Understood, whose: string, isEnforced: (name: string) => boolean): string[] {
  return [
    ...unknown.map((name) => `${whose}: the isolator ${name} is unknown and has no effect`),
    ...Object.keys(known)
      .filter((name) => !isEnforced(name))
      .map((name) => `${whose}: the isolator ${name} is not enforced and has no effect`),
  ];
}

function checkAmounts(known: KnownIsolators, whose: string, least: Least): void {
  const memory = known["resource/memory"]?.limit;
  if (memory !== undefined && memory < least.memory)
    throw new RktError("bad-isolator", `${whose}: nothing can start in ${memory} bytes of memory`, {
      hint: `resource/memory${ofApps(whose, "--memory")}: at least ${least.memory / MiB}Mi, and what the program needs`,
    });
  const cpu = known["resource/cpu"]?.limit;
  if (cpu !== undefined && cpu < least.cpu)
    throw new RktError(
      "bad-isolator",
      `${whose}: nothing can ${cpu === 0n ? "run with a limit of no processor time" : `start with ${cpu}m of a core`}`,
      { hint: `resource/cpu${ofApps(whose, "--cpu")}: at least ${least.cpu}m; 500m is half a core` },
    );
}

const ofApps = (whose: string, option: string): string => (whose === "the container" ? "" : `, ${option}`);

/** Warnings about limits of an app that are higher than the container's (ace.md, "Isolators"). */
function lowered(own: KnownIsolators, container: KnownIsolators, whose: string): string[] {
  const limits = [
    ["resource/memory", "memory", " bytes"],
    ["resource/cpu", "processor time", "m"],
  ] as const;
  return limits.flatMap(([name, what, unit]) => {
    const [asked, bound] = [own[name]?.limit, container[name]?.limit];
    if (asked === undefined || bound === undefined || asked <= bound) return [];
    return `${whose}: its limit of ${what}, ${asked}${unit}, is lowered to the container's, ${bound}${unit}`;
  });
}

// --- their effects ---------------------------------------------------------------------------

/**
 * Whether an isolator is "ignored, enforced or modified" (ace.md, "Isolators"). An app's is modified if that of the
 * container sets a lower limit or another value.
 */
export interface IsolatorFact {
  name: string;
  value: Json;
  effect: "enforced" | "ignored" | "modified";
  /** The value that is enforced instead. */
  instead?: Json;
}

/** The effects for the container, and for its apps in order, in rkt's own stage1. Another stage1 may enforce less. */
export function isolatorFacts(manifest: PodManifest): { container: IsolatorFact[]; apps: IsolatorFact[][] } {
  const { isolators, apps } = manifest;
  const ownNetwork = hasOwnNetwork(manifest);
  const whole = understandIsolators(isolators, { object: "container manifest", path: "isolators" }).known;
  const fact = ({ name, value }: Isolator, enforced: boolean): IsolatorFact => ({
    name,
    value,
    effect: enforced ? "enforced" : "ignored",
  });
  return {
    container: isolators.map((isolator) =>
      fact(isolator, OF_CONTAINERS.includes(isolator.name) || privateNetwork(isolator) === ownNetwork),
    ),
    apps: apps.map(({ name: app, app: section }) => {
      const own = section?.isolators ?? [];
      const { known } = understandIsolators(own, { object: `app ${app}`, path: "isolators" });
      return own.map((isolator) => {
        const { name } = isolator;
        if (privateNetwork(isolator) === ownNetwork) return fact(isolator, true);
        if (!(name in known) || UNENFORCED.includes(name)) return fact(isolator, false);
        const instead = insteadOf(name, known, whole);
        return instead === undefined ? fact(isolator, true) : { ...fact(isolator, true), effect: "modified", instead };
      });
    }),
  };
}

function insteadOf(name: string, own: KnownIsolators, container: KnownIsolators): Json | undefined {
  if (name === "resource/memory" || name === "resource/cpu") {
    const [asked, bound] = [own[name]?.limit, container[name]?.limit];
    if (asked === undefined || bound === undefined || asked <= bound) return undefined;
    return { limit: name === "resource/cpu" ? `${bound}m` : String(bound) };
  }
  const settings = own["os/unix/sysctl"];
  if (name !== "os/unix/sysctl" || settings === undefined) return undefined;
  const bound = new Map([...(container[name] ?? [])].map(([key, value]) => [sysctlPath(key), value]));
  const all = [...settings].map(([key, value]) => [key, bound.get(sysctlPath(key)) ?? value] as const);
  return all.some(([key, value]) => settings.get(key) !== value) ? Object.fromEntries(all) : undefined;
}

// --- an image's isolators, changed by the command line ---------------------------------------

/** The kind of an isolator: a retain-set and a remove-set of the same thing are one kind. */
const kind = (name: string): string => name.replace(/-(?:retain|remove)-set$/, "");

const RETAIN = "os/linux/capabilities-retain-set";
const REMOVE = "os/linux/capabilities-remove-set";

/**
 * The requested isolators, and the image's of other kinds. A remove-set of capabilities is applied to the image's own
 * set.
 */
export function overrideIsolators(image: readonly Isolator[], asked: readonly Isolator[], where: Where): Isolator[] {
  const kinds = new Set(asked.map(({ name }) => kind(name)));
  return [
    ...image.filter(({ name }) => !kinds.has(kind(name))),
    ...asked.map((isolator) => (isolator.name === REMOVE ? removeFurther(image, isolator, where) : isolator)),
  ];
}

function removeFurther(image: readonly Isolator[], asked: Isolator, where: Where): Isolator {
  // Other isolators are skipped, but keep their positions, so that error messages show the right index.
  const ofKind = image.map((isolator) => (kind(isolator.name) === kind(REMOVE) ? isolator : { name: "", value: null }));
  const { [RETAIN]: retained, [REMOVE]: removed = [] } = understandIsolators(ofKind, where).known;
  const names = parseCapabilities(asked.value, where);
  if (retained === undefined) return { name: REMOVE, value: { set: [...new Set([...removed, ...names])] } };
  const left = retained.filter((name) => !names.includes(name));
  // A retain-set may not be empty.
  return left.length > 0 ? { name: RETAIN, value: { set: left } } : { name: REMOVE, value: { set: [...CAPABILITIES] } };
}
