/** What a registry's protocol is given by the machine's configuration. */

import type { RegistryLogin } from "../config/registry-login.ts";
import type { RegistryReference } from "../oci/reference.ts";

/** A place that has the images of a repository: the registry itself, or a mirror. */
export interface RegistryEndpoint {
  /** Of messages, credentials and URLs: `docker.io`, `mirror.example.com:5000`. */
  host: string;
  repository: string;
  /** The administrator allows any certificate, and plain http. */
  insecure: boolean;
  mirror: boolean;
}

export interface RegistryAccess {
  /** In the order of asking, mirrors first. Throws if the administrator has blocked the registry. */
  endpoints(reference: RegistryReference): RegistryEndpoint[];
  /** The directory of its images' signatures: `DIRECTORY@sha256=HEX/signature-1` is one. */
  lookaside(reference: RegistryReference): URL;
  credentials(host: string, repository: string): Promise<RegistryLogin | undefined>;
}
