/** What this machine's configuration says of registries, put together: rkt's own, and containers' and docker's. */

import { RktError } from "../../shared/errors.ts";
import type { ConfigDirs } from "../config/config-files.ts";
import { readAuth } from "../config/auth.ts";
import { authFiles, findLogin } from "../config/containers-auth.ts";
import {
  CONTAINERS_CONFIG_DIR,
  type ConfiguredRegistry,
  readRegistriesConf,
  registryFor,
  relocated,
} from "../config/registries-conf.ts";
import { lookasideFor, readLookasides } from "../config/registries-d.ts";
import { canonicalHost } from "../config/registry-hosts.ts";
import { formatReference, type RegistryReference, repositoryName } from "../oci/reference.ts";
import type { RegistryAccess, RegistryEndpoint } from "./registry-access.ts";

export interface RegistrySources {
  dirs: ConfigDirs;
  /** Where `registries.conf` is. */
  containers?: string;
  /** Files of passwords. */
  auth?: readonly string[];
  warn(text: string): void;
}

/** Reads the files at once, passwords when a registry asks for one. */
export function openRegistries({
  dirs,
  containers = CONTAINERS_CONFIG_DIR,
  auth = authFiles(),
  warn,
}: RegistrySources): RegistryAccess {
  const registries = readRegistriesConf(containers);
  let own: ReturnType<typeof readAuth> | undefined;
  return {
    endpoints: (reference) => endpointsOf(registries, reference),
    lookaside(reference) {
      const { repository, tag } = reference;
      return lookasideFor(readLookasides(`${containers}/registries.d`), { name: repositoryName(reference), repository, tag });
    },
    async credentials(host, repository) {
      if (own === undefined) {
        own = readAuth(dirs);
        for (const warning of own.warnings) warn(warning);
      }
      const canonical = canonicalHost(host);
      const login = [...own.registries].find(([name]) => canonicalHost(name) === canonical);
      if (login === undefined) return await findLogin(auth, canonical, repository);
      const [, found] = login;
      if (found.credentials.type !== "basic") throw new Error("credentials of another type for a registry");
      return { user: found.credentials.user, password: found.credentials.password, origin: found.path };
    },
  };
}

/** Of messages and tests. Pure. */
export function endpointsOf(registries: readonly ConfiguredRegistry[], reference: RegistryReference): RegistryEndpoint[] {
  const name = repositoryName(reference);
  const registry = registryFor(registries, formatReference(reference));
  if (registry === undefined) return [endpoint(name, { insecure: false, mirror: false })];
  if (registry.blocked)
    throw new RktError("registry-blocked", `the administrator has blocked ${registry.prefix}: ${formatReference(reference)} is not fetched`, {
      hint: `${registry.path} says so`,
    });
  const kind = reference.digest === undefined ? "tag-only" : "digest-only";
  const mirrors = registry.mirrors
    .filter(({ pull }) => pull === "all" || pull === kind)
    .filter(() => !registry.mirrorsByDigestOnly || kind === "digest-only")
    .map(({ location, insecure }) => endpoint(relocated(registry, location, name), { insecure, mirror: true }));
  return [...mirrors, endpoint(relocated(registry, registry.location, name), { insecure: registry.insecure, mirror: false })];
}

function endpoint(name: string, rest: { insecure: boolean; mirror: boolean }): RegistryEndpoint {
  const slash = name.indexOf("/");
  return { host: canonicalHost(name.slice(0, slash).toLowerCase()), repository: name.slice(slash + 1), ...rest };
}
