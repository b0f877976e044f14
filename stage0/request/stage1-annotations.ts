/** Writes the options for stage 1 as annotations of the container manifest. Pure. */

import { ANNOTATIONS, INTERFACE_VERSION_ANNOTATION } from "../../shared/contract/annotations.ts";
import { LAYOUT_VERSION, STAGE1_INTERFACE_VERSION } from "../../shared/contract/versions.ts";
import type { NameValue } from "../../shared/schema/types.ts";
import type { Circumstances } from "./apps.ts";
import type { HostsEntry, LaunchRequest, ResolverConfig, RunRequest } from "./request.ts";

export function annotations(
  request: RunRequest,
  { created, debug, unprotected = [], metadataUrl, configDirs }: Circumstances,
): NameValue[] {
  const { layoutVersion, network } = ANNOTATIONS;
  const options: [string, string | undefined][] = [
    [layoutVersion, LAYOUT_VERSION],
    [INTERFACE_VERSION_ANNOTATION, STAGE1_INTERFACE_VERSION],
    [ANNOTATIONS.created, created.toISOString()],
    [network, request.network ?? "host"],
    [ANNOTATIONS.privateUsers, request.privateUsers ? "true" : undefined],
    [ANNOTATIONS.ipc, request.ipc],
    [ANNOTATIONS.mappedVolumes, request.mappedVolumes.length > 0 ? request.mappedVolumes.join() : undefined],
    ...launchAnnotations(request),
    [ANNOTATIONS.configDirs, configDirs?.join(":")],
    [ANNOTATIONS.metadataUrl, metadataUrl],
    [ANNOTATIONS.insecure, unprotected.length > 0 ? unprotected.join() : undefined],
    [ANNOTATIONS.debug, debug ? "true" : undefined],
  ];
  return options.flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }]));
}

export function launchAnnotations({ hostname, interactive, resolver, hosts }: LaunchRequest): [string, string | undefined][] {
  return [
    [ANNOTATIONS.hostname, hostname],
    [ANNOTATIONS.interactive, interactive ? "true" : undefined],
    [ANNOTATIONS.resolvConf, typeof resolver === "string" ? word(resolver) : resolverFile(resolver)],
    [ANNOTATIONS.hosts, hosts === "host" ? "host" : hostsLines(hosts)],
  ];
}

function word(resolver: "default" | "host" | "none"): string | undefined {
  return resolver === "default" ? undefined : resolver;
}

/** resolv.conf(5) */
function resolverFile({ servers, domain, search, options }: ResolverConfig): string {
  const lines = servers.map((server) => `nameserver ${server}`);
  if (domain !== undefined) lines.push(`domain ${domain}`);
  if (search.length > 0) lines.push(`search ${search.join(" ")}`);
  if (options.length > 0) lines.push(`options ${options.join(" ")}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** hosts(5) */
function hostsLines(entries: readonly HostsEntry[]): string | undefined {
  if (entries.length === 0) return undefined;
  return entries.map(({ address, names }) => `${address}\t${names.join(" ")}\n`).join("");
}
