/** What somebody asks of a container, read from the command line and not yet held against any image. */

import type { Isolator, NameValue, Volume } from "../../shared/schema/types.ts";

export interface RunRequest extends LaunchRequest {
  /** In order; empty with `podManifest`. */
  apps: AppRequest[];
  /** File of a pod manifest that says everything about apps and volumes. */
  podManifest: string | undefined;
  volumes: Volume[];
  /** Host paths for the one mount point that no named volume fulfils. */
  boundPaths: string[];
  /** In every app; an app's own mount at the same path comes before. */
  mounts: MountRequest[];
  environment: EnvironmentRequest;
  annotations: NameValue[];
  userAnnotations: NameValue[];
  userLabels: NameValue[];
  ports: PortRequest[];
  /** The container has a user namespace of its own. */
  privateUsers: boolean;
  /** Names of the host's volumes whose files are to be the container's. */
  mappedVolumes: string[];
}

/** What can be said as late as when a prepared container is started. */
export interface LaunchRequest {
  /** "host", "none", or the networks as `--net` lists them. Undefined: "host", unless an image asks for its own. */
  network: string | undefined;
  resolver: ResolverRequest;
  /** "host": the host's /etc/hosts; else further lines. */
  hosts: "host" | HostsEntry[];
  hostname: string | undefined;
  interactive: boolean;
}

export interface AppRequest {
  /** As given: a hash, a file, a URL or a name. */
  image: string;
  /** File of the image's signature. */
  signature: string | undefined;
  name: string | undefined;
  /** Replaces the image's command, arguments and all. */
  exec: string | undefined;
  /** Follow the command. */
  arguments: string[];
  user: string | undefined;
  group: string | undefined;
  supplementaryGIDs: number[] | undefined;
  workingDirectory: string | undefined;
  environment: NameValue[];
  mounts: MountRequest[];
  /** Replace the image's of the same kind. */
  isolators: Isolator[];
  readOnlyRootFS: boolean;
  annotations: NameValue[];
  userAnnotations: NameValue[];
  userLabels: NameValue[];
}

export interface EnvironmentRequest {
  /** The caller's variables too. */
  inherit: boolean;
  files: string[];
  set: NameValue[];
}

export interface MountRequest {
  volume: string;
  path: string;
}

export interface PortRequest {
  /** Of a port in an image, or `PORT` or `PORT-PROTOCOL`. */
  name: string;
  hostPort: number;
  hostIP: string | undefined;
}

/** "default" is stage 1's choice; "host": the host's resolv.conf as it is; "none": no file. */
export type ResolverRequest = "default" | "host" | "none" | ResolverConfig;

export interface ResolverConfig {
  servers: string[];
  domain: string | undefined;
  search: string[];
  options: string[];
}

export interface HostsEntry {
  address: string;
  names: string[];
}
