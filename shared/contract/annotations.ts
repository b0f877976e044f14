/** Annotation keys of images and of container manifests, and the isolator that rkt adds to the specification's. */

/** What rkt's own annotations begin with; of these, who writes an app may only use PRE_START_TIMEOUT_ANNOTATION. */
export const RESERVED_ANNOTATIONS = "coreos.com/rocket/";

/** Annotations of a stage1 image's manifest: the entrypoints, absolute paths in its rootfs. */
export const ENTRYPOINTS = {
  init: "coreos.com/rocket/stage1/init",
  enter: "coreos.com/rocket/stage1/enter",
  stop: "coreos.com/rocket/stage1/stop",
  gc: "coreos.com/rocket/stage1/gc",
} as const;

export type Entrypoint = keyof typeof ENTRYPOINTS;

/** Annotation of a stage1 image's manifest, and of a container's: the STAGE1_INTERFACE_VERSION it was made for. */
export const INTERFACE_VERSION_ANNOTATION = "coreos.com/rocket/stage1/interface-version";

/**
 * What images that were made for rkt 1.0 to 1.30 call the same. Their interface version 1 declares no more than a program
 * that starts the container; what later versions add (2 to 5) is a protocol that this rkt does not speak.
 */
export const LATER_ENTRYPOINTS: Readonly<Record<Entrypoint, string>> = {
  init: "coreos.com/rkt/stage1/run",
  enter: "coreos.com/rkt/stage1/enter",
  stop: "coreos.com/rkt/stage1/stop",
  gc: "coreos.com/rkt/stage1/gc",
};

export const LATER_INTERFACE_VERSION = "coreos.com/rkt/stage1/interface-version";

/** How a stage1 image's manifest names what `rkt` executes, and the interface that it was made for. */
export interface Stage1Names {
  entrypoints: Readonly<Record<Entrypoint, string>>;
  interfaceVersion: string;
  /** They are those of rkt 1.0 to 1.30. */
  later: boolean;
}

/**
 * An image has one set of names. One that has both is made for both: of it the `init` counts, and no entrypoint that rkt
 * 1.30 would call with other arguments.
 */
export function stage1Names(annotations: readonly { name: string; value: string }[]): Stage1Names {
  const has = (key: string) => annotations.some(({ name }) => name === key);
  if (has(ENTRYPOINTS.init) || !has(LATER_ENTRYPOINTS.init))
    return { entrypoints: ENTRYPOINTS, interfaceVersion: INTERFACE_VERSION_ANNOTATION, later: false };
  const declared = has(INTERFACE_VERSION_ANNOTATION) ? INTERFACE_VERSION_ANNOTATION : LATER_INTERFACE_VERSION;
  return { entrypoints: LATER_ENTRYPOINTS, interfaceVersion: declared, later: true };
}

/** Annotation of a stage1 image's manifest: "true" when it can give a container users of its own (ADR 6). */
export const PRIVATE_USERS_SUPPORT = "coreos.com/rocket/stage1/private-users";

/** Annotations of the container manifest: stage 0's options for stage 1. */
export const ANNOTATIONS = {
  layoutVersion: "coreos.com/rocket/layout-version",
  /** The container's hostname. */
  hostname: "coreos.com/rocket/hostname",
  /** "true": the one app has the terminal. */
  interactive: "coreos.com/rocket/interactive",
  /** "host", "none", or the networks asked for. */
  network: "coreos.com/rocket/network",
  /** "host": the host's resolv.conf as it is; "none": no file; else its text. Absent: stage 1's choice. */
  resolvConf: "coreos.com/rocket/resolv-conf",
  /** "host": the host's /etc/hosts; else lines to add to it. */
  hosts: "coreos.com/rocket/hosts",
  /** Configuration directories, ":" between them, the first one over the next; absent: the usual ones. */
  configDirs: "coreos.com/rocket/config-dirs",
  metadataUrl: "coreos.com/rocket/metadata-url",
  /** "true": the container has a user namespace of its own; its ids are in the file `users`. */
  privateUsers: "coreos.com/rocket/private-users",
  /** Of volumes of kind "host", by commas: those whose files have the same ids in a container with users of its own. */
  mappedVolumes: "coreos.com/rocket/mapped-volumes",
  /** Which of `PROTECTIONS` the apps do without, by commas. */
  insecure: "coreos.com/rocket/insecure-options",
  debug: "coreos.com/rocket/debug",
  created: "coreos.com/rocket/created",
} as const;

/** What an app has unless the user turns it off by name (`--insecure-options`). */
export const PROTECTIONS = ["capabilities", "paths", "seccomp"] as const;

export type Protection = (typeof PROTECTIONS)[number];

/** Annotation of an image, or an app of the container manifest: "true" when the app says sd_notify(3) that it is ready. */
export const NOTIFY_ANNOTATION = "appc.io/executor/supports-systemd-notify";

/** Annotations of an image, or an app of the container manifest: how the app is asked to end, and how many seconds it may take. */
export const STOP_SIGNAL_ANNOTATION = "appc.io/executor/stop-signal";

export const STOP_TIMEOUT_ANNOTATION = "appc.io/executor/stop-timeout";

/**
 * Annotation of an app of the container manifest: acVersion of its image, when that was made before 0.6.0. Apps had no
 * names of their own then, and found in their environment what their specification promised, and nothing else.
 */
export const EARLY_IMAGE_ANNOTATION = "coreos.com/rocket/early-image";

/**
 * Annotation of an app of the container manifest: `sha256-` and 64 hex digits, of the same bytes that the image's ID is
 * the SHA-512 of. There when an image of the container was made before 0.2.0, when image IDs were that.
 */
export const IMAGE_SHA256_ANNOTATION = "coreos.com/rocket/image-sha256";

/**
 * Annotation of an app of the container manifest: "user", "group" or "user,group", those that the command line gave as
 * numbers. The image's own value may be a name that consists of digits; the operator's is a number whatever the image
 * calls its users (CVE-2016-3697).
 */
export const NUMERIC_IDS_ANNOTATION = "coreos.com/rocket/numeric-ids";

/** Annotations of an image that came as an OCI image: what it came by, and what of it an image manifest has no field for. */
export const OCI_ANNOTATIONS = {
  /** The person's reference in full: `docker://docker.io/library/nginx:1.25`. */
  reference: "coreos.com/rocket/oci/reference",
  /** Of the manifest that the registry has: `sha256:` and 64 hex digits. */
  digest: "coreos.com/rocket/oci/digest",
  /** JSON, as the image's configuration has it. */
  healthcheck: "coreos.com/rocket/oci/healthcheck",
} as const;

/**
 * Annotations of an image, each a list of words in JSON: which of the words of its app's exec are the entrypoint, and which
 * are the arguments that a person's own replace. The names are those of docker2aci, which made images before rkt did.
 */
export const ENTRYPOINT_ANNOTATION = "appc.io/docker/entrypoint";
export const CMD_ANNOTATION = "appc.io/docker/cmd";

/**
 * Annotation of an image, or an app of the container manifest: its user and group are as OCI images have them. A number is
 * never a name. "own": the group is the user's own (passwd(5)), with the further groups of that user (group(5)); "given":
 * the group is the one that is given, and there are no further ones.
 */
export const ACCOUNT_ANNOTATION = "coreos.com/rocket/account";

export const ACCOUNTS = ["own", "given"] as const;

/** Annotation of an image, or an app of the container manifest: "true" when its working directory is made if it is missing. */
export const MAKE_WORKING_DIRECTORY_ANNOTATION = "coreos.com/rocket/make-working-directory";

/** Isolator of an app: limits of its processes (getrlimit(2)). The specification has none for them. */
export const RLIMITS_ISOLATOR = "coreos.com/rocket/rlimits";

/** Annotation of an app: seconds that its pre-start handler may take. */
export const PRE_START_TIMEOUT_ANNOTATION = "coreos.com/rocket/pre-start-timeout";
