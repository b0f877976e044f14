/** What a registry's protocol is given by the machine's configuration. */

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

export type RegistryCredentials =
  | { user: string; password: string; origin: string }
  /** OAuth2: it is exchanged for tokens. */
  | { identityToken: string; origin: string };

export interface RegistryAccess {
  /** In the order of asking, mirrors first. Throws if the administrator has blocked the registry. */
  endpoints(reference: RegistryReference): RegistryEndpoint[];
  /** `origin` of credentials is what a message calls the file or helper that they come from. */
  credentials(host: string, repository: string): Promise<RegistryCredentials | undefined>;
}
