/** The types of requests for containers, as the command line or another caller makes them, before any image is read. */

import type { Platform } from "../oci/platform.ts";
import type { PullPolicy } from "../fetch/fetch-context.ts";
import type { Stage1Request } from "../fetch/wanted-stage1.ts";
import type { IpcMode } from "../../shared/contract/annotations.ts";
import type { Isolator, NameValue, Volume } from "../../shared/schema/types.ts";

/** A request to make a container: its apps, and what it is made from. */
export interface ContainerRequest {
  run: RunRequest;
  stage1: Stage1Request;
  pullPolicy: PullPolicy;
  /** Of images for several platforms; undefined: this machine's. */
  platform?: Platform | undefined;
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
  /** "must": the start fails if it can't be; undefined: it is registered if the service runs. */
  register: "must" | "never" | undefined;
  /** Start the service if it does not run. */
  spawn: boolean;
}

export interface RunRequest extends LaunchRequest {
  /** In order; empty with `podManifest`. */
  apps: AppRequest[];
  /** File of a pod manifest, which describes all apps and volumes. */
  podManifest: string | undefined;
  volumes: Volume[];
  /** Host paths for the only mount point without a named volume. */
  boundPaths: string[];
  /** Mounts in every app. An app's own mount at the same path replaces one. */
  mounts: MountRequest[];
  environment: EnvironmentRequest;
  annotations: NameValue[];
  userAnnotations: NameValue[];
  userLabels: NameValue[];
  ports: PortRequest[];
  /** The container has its own user namespace. */
  privateUsers: boolean;
  /** Undefined: stage 1's choice. */
  ipc: IpcMode | undefined;
  /** Names of volumes from the host whose owners are mapped to the container's users. */
  mappedVolumes: string[];
}

/** Options that can also be given when a prepared container is started. */
export interface LaunchRequest {
  /**
   * "host", "none", or the networks as `--net` lists them. Undefined: "host", or an own network if an image asks for
   * it.
   */
  network: string | undefined;
  resolver: ResolverRequest;
  /** "host": the host's /etc/hosts; otherwise lines to add. */
  hosts: "host" | HostsEntry[];
  hostname: string | undefined;
  interactive: boolean;
}

export interface AppRequest {
  /** As the user gave it: a hash, a file, a URL or a name. */
  image: string;
  /** File of the image's signature. */
  signature: string | undefined;
  name: string | undefined;
  /** Replaces the image's command and its arguments. */
  exec: string | undefined;
  /** Arguments after the command. */
  arguments: string[];
  user: string | undefined;
  group: string | undefined;
  supplementaryGIDs: number[] | undefined;
  workingDirectory: string | undefined;
  environment: NameValue[];
  mounts: MountRequest[];
  /** They replace the image's isolators of the same kind. */
  isolators: Isolator[];
  readOnlyRootFS: boolean;
  annotations: NameValue[];
  userAnnotations: NameValue[];
  userLabels: NameValue[];
}

export interface EnvironmentRequest {
  /** Pass on the caller's variables. */
  inherit: boolean;
  files: string[];
  set: NameValue[];
}

export interface MountRequest {
  volume: string;
  path: string;
}

export interface PortRequest {
  /** Name of a port in an image, or `PORT` or `PORT-PROTOCOL`. */
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

/** A remark for the user about something that is no mistake, but good to know. */
export interface Note {
  text: string;
  hint?: string | undefined;
}
