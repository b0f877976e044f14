/** Annotation keys of images and of container manifests, and the isolator that rkt adds to the specification's. */

/** Prefix of rkt's own annotations. Of these, a user may only set PRE_START_TIMEOUT_ANNOTATION. */
export const RESERVED_ANNOTATIONS = "coreos.com/rocket/";

/** Annotations of a stage1 image's manifest: the entrypoints, absolute paths in its rootfs. */
export const ENTRYPOINTS = {
  init: "coreos.com/rocket/stage1/init",
  enter: "coreos.com/rocket/stage1/enter",
  stop: "coreos.com/rocket/stage1/stop",
  gc: "coreos.com/rocket/stage1/gc",
} as const;

export type Entrypoint = keyof typeof ENTRYPOINTS;

/** Annotation of a stage1 image's manifest, and of a container's: the STAGE1_INTERFACE_VERSION that it was made for. */
export const INTERFACE_VERSION_ANNOTATION = "coreos.com/rocket/stage1/interface-version";

/**
 * The same annotations in images that were made for rkt 1.0 to 1.30. Their interface version 1 is just a program that
 * starts the container. This rkt does not support the protocol that their versions 2 to 5 add.
 */
export const LATER_ENTRYPOINTS: Readonly<Record<Entrypoint, string>> = {
  init: "coreos.com/rkt/stage1/run",
  enter: "coreos.com/rkt/stage1/enter",
  stop: "coreos.com/rkt/stage1/stop",
  gc: "coreos.com/rkt/stage1/gc",
};

export const LATER_INTERFACE_VERSION = "coreos.com/rkt/stage1/interface-version";

/** The annotation keys that a stage1 image uses for its entrypoints and its interface version. */
export interface Stage1Names {
  entrypoints: Readonly<Record<Entrypoint, string>>;
  interfaceVersion: string;
  /** The keys are those of rkt 1.0 to 1.30. */
  later: boolean;
}

/**
 * Finds the set of keys that an image uses. If it has both, it is made for both kinds of rkt, and ours are used: rkt
 * 1.30 would call the other entrypoints with other arguments.
 */
export function stage1Names(annotations: readonly { name: string; value: string }[]): Stage1Names {
  const has = (key: string) => annotations.some(({ name }) => name === key);
  if (has(ENTRYPOINTS.init) || !has(LATER_ENTRYPOINTS.init))
    return { entrypoints: ENTRYPOINTS, interfaceVersion: INTERFACE_VERSION_ANNOTATION, later: false };
  const declared = has(INTERFACE_VERSION_ANNOTATION) ? INTERFACE_VERSION_ANNOTATION : LATER_INTERFACE_VERSION;
  return { entrypoints: LATER_ENTRYPOINTS, interfaceVersion: declared, later: true };
}

/** Annotation of a stage1 image's manifest: "true" if it can give a container its own users (ADR 6). */
export const PRIVATE_USERS_SUPPORT = "coreos.com/rocket/stage1/private-users";

/** Annotation of a stage1 image's manifest: which of `IPC_MODES` it can do, by commas. */
export const IPC_SUPPORT = "coreos.com/rocket/stage1/ipc";

/** Annotation of a stage1 image's manifest: "true" when it gives apps the sockets that rkt was started with (sd_listen_fds(3)). */
export const SOCKETS_SUPPORT = "coreos.com/rocket/stage1/sockets";

/** Whose System V shared memory, semaphores and queues, and POSIX queues, a container has: its own, or those of rkt's caller. */
export const IPC_MODES = ["private", "parent"] as const;

export type IpcMode = (typeof IPC_MODES)[number];

/** Annotations of the container manifest: stage 0's options for stage 1. */
export const ANNOTATIONS = {
  layoutVersion: "coreos.com/rocket/layout-version",
  /** The container's hostname. */
  hostname: "coreos.com/rocket/hostname",
  /** "true": the one app has the terminal. */
  interactive: "coreos.com/rocket/interactive",
  /** "host", "none", or a list of networks (see network-request.ts). */
  network: "coreos.com/rocket/network",
  /** "host": the host's resolv.conf as it is; "none": no file; else its text. Absent: stage 1's choice. */
  resolvConf: "coreos.com/rocket/resolv-conf",
  /** "host": the host's /etc/hosts; else lines to add to it. */
  hosts: "coreos.com/rocket/hosts",
  /** Configuration directories, joined by ":"; an earlier one takes precedence. Absent: the default ones. */
  configDirs: "coreos.com/rocket/config-dirs",
  metadataUrl: "coreos.com/rocket/metadata-url",
  /** "true": the container has its own user namespace; its ids are in the file `users`. */
  privateUsers: "coreos.com/rocket/private-users",
  /** One of `IPC_MODES`; absent: stage 1's choice. */
  ipc: "coreos.com/rocket/ipc",
  /** Volumes of kind "host", joined by ",", whose owners are mapped to the container's own users. */
  mappedVolumes: "coreos.com/rocket/mapped-volumes",
  /** Which of `PROTECTIONS` are switched off for the apps, joined by ",". */
  insecure: "coreos.com/rocket/insecure-options",
  debug: "coreos.com/rocket/debug",
  created: "coreos.com/rocket/created",
} as const;

/** Protections of every app. The user can switch each off by its name (`--insecure-options`). */
export const PROTECTIONS = ["capabilities", "paths", "seccomp"] as const;

export type Protection = (typeof PROTECTIONS)[number];

/**
 * Annotation of an image, or of an app in the container manifest: "true" if the app reports its readiness
 * (sd_notify(3)).
 */
export const NOTIFY_ANNOTATION = "appc.io/executor/supports-systemd-notify";

/**
 * Annotations of an image, or of an app in the container manifest: the signal that stops the app, and the seconds that
 * it may take.
 */
export const STOP_SIGNAL_ANNOTATION = "appc.io/executor/stop-signal";

export const STOP_TIMEOUT_ANNOTATION = "appc.io/executor/stop-timeout";

/**
 * Annotation of an app in the container manifest: acVersion of its image, if that is below 0.6.0. Such an app has no
 * name of its own, and gets only the variables that its specification promises.
 */
export const EARLY_IMAGE_ANNOTATION = "coreos.com/rocket/early-image";

/**
 * Annotation of an app in the container manifest: the SHA-256 of its image, `sha256-` and 64 hex digits. It is there if
 * an image of the container was made before specification 0.2.0, when this was an image's ID.
 */
export const IMAGE_SHA256_ANNOTATION = "coreos.com/rocket/image-sha256";

/**
 * Annotation of an app in the container manifest: "user", "group" or "user,group", those that the command line gave as
 * numbers. An operator's number is always an id. An image's own value may be a name that consists of digits
 * (CVE-2016-3697).
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

/** Isolator of an app: limits of its processes (getrlimit(2)). The specification has no such isolator. */
export const RLIMITS_ISOLATOR = "coreos.com/rocket/rlimits";

/** Annotation of an app: seconds that its pre-start handler may take. */
export const PRE_START_TIMEOUT_ANNOTATION = "coreos.com/rocket/pre-start-timeout";
