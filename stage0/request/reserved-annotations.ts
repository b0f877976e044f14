/**
 * Refuses users' annotations with rkt's own keys. Stage 0 passes options to the other stages by such annotations, and
 * these trust them. Pure.
 */

import { RktError } from "../../shared/errors.ts";
import { ANNOTATIONS, PRE_START_TIMEOUT_ANNOTATION, RESERVED_ANNOTATIONS } from "../../shared/contract/annotations.ts";
import type { NameValue, PodTemplate } from "../../shared/schema/types.ts";

/** The options that set these annotations, after checks. */
const OPTIONS: Readonly<Record<string, string>> = {
  [ANNOTATIONS.hostname]: "--hostname",
  [ANNOTATIONS.interactive]: "--interactive",
  [ANNOTATIONS.network]: "--net",
  [ANNOTATIONS.resolvConf]: "--dns",
  [ANNOTATIONS.hosts]: "--hosts-entry",
  [ANNOTATIONS.configDirs]: "--local-config",
  [ANNOTATIONS.metadataUrl]: "--mds-register",
  [ANNOTATIONS.privateUsers]: "--private-users",
  [ANNOTATIONS.ipc]: "--ipc",
  [ANNOTATIONS.mappedVolumes]: "--volume with idmap=true",
  [ANNOTATIONS.insecure]: "--insecure-options",
  [ANNOTATIONS.debug]: "--debug",
};

/** The first reserved annotation, with a hint about what to do instead; undefined if there is none. */
export function findReserved(
  annotations: readonly NameValue[],
  of: "app" | "container",
): { name: string; hint: string } | undefined {
  const found = annotations.find(({ name }) => isReserved(name, of));
  if (found === undefined) return undefined;
  const { name } = found;
  const option = OPTIONS[name];
  if (name === PRE_START_TIMEOUT_ANNOTATION) return { name, hint: "it is an app's annotation, not the container's" };
  return { name, hint: option === undefined ? "leave it out: rkt writes it itself" : `${option} is the option for it` };
}

function isReserved(name: string, of: "app" | "container"): boolean {
  return name.startsWith(RESERVED_ANNOTATIONS) && !(of === "app" && name === PRE_START_TIMEOUT_ANNOTATION);
}

/** Throws "reserved-annotation" for a user's pod manifest with a reserved annotation. */
export function refuseReserved({ annotations, apps }: Pick<PodTemplate, "annotations" | "apps">): void {
  const refuse = (whose: string, found: ReturnType<typeof findReserved>) => {
    if (found === undefined) return;
    const message = `${whose} has the annotation ${found.name}, which is rkt's own`;
    throw new RktError("reserved-annotation", message, { hint: found.hint });
  };
  refuse("the pod manifest", findReserved(annotations, "container"));
  for (const app of apps) refuse(`the pod manifest's app ${app.name}`, findReserved(app.annotations, "app"));
}
