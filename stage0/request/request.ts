/** What somebody asks of a container, before any image has been looked at. */

import type { PullPolicy } from "../fetch/fetch-context.ts";
import type { Stage1Request } from "../fetch/wanted-stage1.ts";
import type { Isolator, NameValue, Volume } from "../../shared/schema/types.ts";

/** A container that is to be made: what runs in it, and what it is made from. */
export interface ContainerRequest {
  run: RunRequest;
  stage1: Stage1Request;
  pullPolicy: PullPolicy;
  /** Bytes that an image may unpack to; undefined: the usual limit. */
  maxImageSize: number | undefined;
  /** false: the images are copied instead of mounted as overlays. */
  overlay: boolean;
  /** File that gets the container's UUID. */
  uuidFile: string | undefined;
  metadataService: MetadataServiceRequest;
}

/** Whether the container is registered with the metadata service. */
export interface MetadataServiceRequest {
  /** "must": or the start fails; "never"; undefined: if the service runs. */
  register: "must" | "never" | undefined;
  /** The service is started if it does not run. */
  spawn: boolean;
}

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
  /** Of ports from there on; one without. */
  count?: number;
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

/** A line for the person, who asked for nothing strange and should know all the same. */
export interface Note {
  text: string;
  hint?: string | undefined;
}
