/**
 * The types of the appc manifests in the spec's final form (0.8.11), with the spec's own names. The readers
 * (`image-manifest.ts`, `pod-manifest.ts`) translate older spellings into these. Absent lists are empty, absent flags
 * false.
 *
 * Source: appc spec, aci.md "Image Manifest Schema", pods.md "Pod Manifest Schema", types.md.
 */

/** `[a-z0-9]+([-][a-z0-9]+)*` (types.md, AC Name; `acName` in values.ts). */
export type ACName = string;
/** `[a-z0-9]+([-._~/][a-z0-9]+)*` (types.md, AC Identifier; `acIdentifier` in values.ts). */
export type ACIdentifier = string;
/** `sha512-` and 32 to 128 hex digits; all 128 in every manifest that stage 0 writes. */
export type ImageID = string;

export interface NameValue {
  name: ACIdentifier;
  value: string;
}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Isolator {
  name: ACIdentifier;
  value: Json;
}

export interface EventHandler {
  name: "pre-start" | "post-stop";
  exec: string[];
}

export interface MountPoint {
  name: ACName;
  /** Absolute, inside the app's root. */
  path: string;
  readOnly: boolean;
}

export interface Port {
  name: ACName;
  /** "tcp", "udp" or any other text: the field is informational (aci.md). */
  protocol: string;
  port: number;
  /** Length of the range that starts at `port`; 1 by default. */
  count: number;
  socketActivated: boolean;
}

export interface App {
  exec: string[];
  user: string;
  group: string;
  supplementaryGIDs: number[];
  eventHandlers: EventHandler[];
  /** Absolute; undefined means "/". */
  workingDirectory?: string | undefined;
  environment: { name: string; value: string }[];
  isolators: Isolator[];
  mountPoints: MountPoint[];
  ports: Port[];
  userAnnotations: Record<string, string>;
  userLabels: Record<string, string>;
}

export interface Dependency {
  imageName: ACIdentifier;
  /** `sha512-` and 32 to 128 hex digits, or, before 0.2.0, `sha256-` and 32 to 64. */
  imageID?: string | undefined;
  labels: NameValue[];
  /** Bytes of the image archive as fetched. */
  size?: number | undefined;
}

export interface ImageManifest {
  /** The version that the image names. The form is that of 0.8.11 in any case. */
  acVersion: string;
  acKind: "ImageManifest";
  name: ACIdentifier;
  labels: NameValue[];
  app?: App | undefined;
  dependencies: Dependency[];
  pathWhitelist: string[];
  annotations: NameValue[];
}

export interface Volume {
  name: ACName;
  kind: "host" | "empty";
  /** Absolute host path; of kind "host" only. */
  source?: string | undefined;
  /** undefined: the mount point decides. */
  readOnly?: boolean | undefined;
  /** undefined: the executor's default, which is recursive (pods.md). */
  recursive?: boolean | undefined;
  /** Of kind "empty" only: octal text, uid and gid of the directory. */
  mode?: string | undefined;
  uid?: number | undefined;
  gid?: number | undefined;
}

export interface Mount {
  volume: ACName;
  path: string;
  appVolume?: Volume | undefined;
}

export interface RuntimeApp {
  name: ACName;
  image: { id: ImageID; name?: ACIdentifier | undefined; labels: NameValue[] };
  app?: App | undefined;
  readOnlyRootFS: boolean;
  mounts: Mount[];
  annotations: NameValue[];
}

export interface ExposedPort {
  name: ACName;
  hostPort: number;
  hostIP?: string | undefined;
  podPort?: Port | undefined;
}

/** The container manifest. */
export interface PodManifest {
  acVersion: string;
  acKind: "PodManifest";
  apps: RuntimeApp[];
  volumes: Volume[];
  isolators: Isolator[];
  annotations: NameValue[];
  ports: ExposedPort[];
  userAnnotations: Record<string, string>;
  userLabels: Record<string, string>;
}

/**
 * A pod manifest of any version as a user wrote it, before rkt has added what it leaves to the images. An app may give
 * its image's name and labels instead of an ID (a pod template, pods.md), and a mount may name a mount point instead of
 * a path.
 */
export interface PodTemplate extends Omit<PodManifest, "apps" | "volumes"> {
  apps: TemplateApp[];
  volumes: TemplateVolume[];
}

export interface TemplateApp extends Omit<RuntimeApp, "image" | "mounts"> {
  /** At least an ID, of either type, or a name. */
  image: { id?: string | undefined; name?: ACIdentifier | undefined; labels: NameValue[] };
  mounts: TemplateMount[];
  /** Before 0.5.0, isolators could stand beside the image. */
  isolators?: Isolator[] | undefined;
}

export type TemplateMount = Mount | { volume: ACName; mountPoint: ACName };

export interface TemplateVolume extends Volume {
  /** Before 0.3.0: names of mount points, of any app. */
  fulfills?: ACName[] | undefined;
}
