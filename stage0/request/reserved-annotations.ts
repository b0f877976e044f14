/**
 * Annotations that are rkt's own: by them stage 0 tells the other stages what
 * was asked for, and they believe it. Nobody else may write one. Pure.
 */

import { RktError } from "../../shared/errors.ts";
import { ANNOTATIONS, PRE_START_TIMEOUT_ANNOTATION, RESERVED_ANNOTATIONS } from "../../shared/contract/annotations.ts";
import type { NameValue, PodTemplate } from "../../shared/schema/types.ts";

/** What says the same, and is checked. */
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

/** What to do instead of the first that is reserved; undefined without one. */
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

/** Throws "reserved-annotation" for a manifest that somebody wrote. */
export function refuseReserved({ annotations, apps }: Pick<PodTemplate, "annotations" | "apps">): void {
  const refuse = (whose: string, found: ReturnType<typeof findReserved>) => {
    if (found === undefined) return;
    const message = `${whose} has the annotation ${found.name}, which is rkt's own`;
    throw new RktError("reserved-annotation", message, { hint: found.hint });
  };
  refuse("the pod manifest", findReserved(annotations, "container"));
  for (const app of apps) refuse(`the pod manifest's app ${app.name}`, findReserved(app.annotations, "app"));
}
