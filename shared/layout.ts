/**
 * The contract between the stages: every path, file name, mode, environment
 * variable and annotation key of the on-disk container layout and the store.
 * No other file spells one of them. Pure: no I/O.
 *
 * Two views of the same files exist and must not be mixed: `HostPath` is a
 * path as a host process sees it, `Stage1Path` as a process inside the
 * container's stage1 root does. They are branded, so mixing them fails to
 * compile.
 */

/** Written by stage 0 into every container; stages refuse another one. A change needs an ADR. */
export const LAYOUT_VERSION = "1";

/** Version of the interface between stage 0 and the entrypoints of a stage1 image. */
export const STAGE1_INTERFACE_VERSION = "1";

declare const hostBrand: unique symbol;
declare const stage1Brand: unique symbol;
export type HostPath = string & { readonly [hostBrand]: true };
export type Stage1Path = string & { readonly [stage1Brand]: true };

export const hostPath = (path: string): HostPath => path as HostPath;
const stage1Path = (path: string): Stage1Path => path as Stage1Path;

const join = (base: string, ...parts: string[]): HostPath => hostPath([base.replace(/\/+$/, ""), ...parts].join("/"));

export const DEFAULT_DATA_DIR = hostPath("/var/lib/rkt");

// --- annotation keys ----------------------------------------------------------

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
/** Isolator of an app: limits of its processes (getrlimit(2)). The specification has none for them. */
export const RLIMITS_ISOLATOR = "coreos.com/rocket/rlimits";
/** Annotation of an app: seconds that its pre-start handler may take. */
export const PRE_START_TIMEOUT_ANNOTATION = "coreos.com/rocket/pre-start-timeout";

/** Label of rendered image trees: which blob and renderer made them. */
export const TREE_FORMAT = "2";

// --- environment ----------------------------------------------------------------

/** Number of the inherited descriptor that holds the container's lock. */
export const ENV_LOCK_FD = "RKT_LOCK_FD";

/** Number of the inherited descriptor that holds the container's user ids; only with users of its own. */
export const ENV_USERS_FD = "RKT_USERS_FD";

/** Seconds that `rkt stop --time` gives each app, in the environment of the entrypoint `stop`: one that does not know it ignores it. */
export const ENV_STOP_TIME = "RKT_STOP_TIME";

/**
 * Descriptors that `launcher APP enter` works with, numbers by commas: the app's mount namespace, then files
 * `cgroup.procs` of the app's cgroups.
 */
export const ENV_ENTER_FDS = "RKT_ENTER_FDS";

/** Those of its standard streams, numbers by commas, that were made for who enters: not what the caller has open, too. */
export const ENV_ENTER_STREAMS = "RKT_ENTER_STREAMS";

/**
 * What a launcher writes to, to join a cgroup of v1. Memory is accounted to the process; its number to each thread,
 * and one is all that execve(2) leaves: the kernel moves that without waiting.
 */
export const joinFile = (controller: string): "tasks" | "cgroup.procs" =>
  controller === "pids" ? "tasks" : "cgroup.procs";

// --- container states -------------------------------------------------------------

/**
 * In the order of a container's life. `embryo`: being made; `prepare`: images
 * are being set up; `prepared`: waits for run-prepared; `run`: running while
 * the lock is held, exited when it is free; `exited-garbage`: marked by gc,
 * kept for a grace period; `garbage`: to be removed now.
 */
export const STATES = ["embryo", "prepare", "prepared", "run", "exited-garbage", "garbage"] as const;
export type State = (typeof STATES)[number];

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
export const isUuid = (text: string): boolean => UUID.test(text);

// --- the data directory ---------------------------------------------------------

export interface DataLayout {
  data: HostPath;
  containers: HostPath;
  state(state: State): HostPath;
  container(state: State, uuid: string): HostPath;
  cas: HostPath;
  blobs: HostPath;
  blob(key: string): HostPath;
  trees: HostPath;
  tree(id: string): HostPath;
  /** A rendered tree's root file system. */
  treeRootfs(id: string): HostPath;
  treeManifest(id: string): HostPath;
  /** Temporary files of the store, on the same file system: anything here without a lock is rubbish. */
  tmp: HostPath;
  index: HostPath;
  locks: HostPath;
  /** Held (flock(2)): shared by who needs what is in the store, exclusively by who takes away from it. */
  storeLock: HostPath;
  /** The URL of the metadata service, which holds a lock on the file while it runs. */
  metadataService: HostPath;
  /** A Unix socket of systemd's, if there is one: to connect to it starts the service. */
  metadataActivation: HostPath;
  /** The key that its signatures are made with. */
  metadataKey: HostPath;
}

export function dataLayout(data: string): DataLayout {
  const containers = join(data, "containers");
  const cas = join(data, "cas");
  const blobs = join(cas, "blob", "sha512");
  const trees = join(cas, "tree");
  return {
    data: hostPath(data),
    containers,
    state: (state) => join(containers, state),
    container: (state, uuid) => join(containers, state, uuid),
    cas,
    blobs,
    blob: (key) => join(blobs, key.slice("sha512-".length, "sha512-".length + 2), key),
    trees,
    tree: (id) => join(trees, id),
    treeRootfs: (id) => join(trees, id, "rootfs"),
    treeManifest: (id) => join(trees, id, "manifest"),
    tmp: join(cas, "tmp"),
    index: join(cas, "index.sqlite"),
    locks: join(cas, "locks"),
    storeLock: join(cas, "locks", "store"),
    metadataService: join(data, "metadata", "service"),
    metadataActivation: join(data, "metadata", "activate.sock"),
    metadataKey: join(data, "metadata", "hmac-key"),
  };
}

// --- image keys -------------------------------------------------------------------

/** Hex digits of a blob's key: the first 256 bits of the SHA-512. */
export const KEY_DIGITS = 64;
/** Hex digits rkt prints, and uses for the seed's directory names. */
export const SHORT_DIGITS = 32;

/** The store's key (`sha512-` and 64 hex digits) of a full image ID. */
export const blobKey = (imageId: string): string => imageId.slice(0, "sha512-".length + KEY_DIGITS);
/** What a person sees: `sha512-` and 32 hex digits. */
export const shortId = (imageId: string): string => imageId.slice(0, "sha512-".length + SHORT_DIGITS);

// --- the container directory ------------------------------------------------------

/** Where apps live in the stage1 root file system. */
const STAGE2 = "opt/stage2";

/** Names directly below the container directory. */
export const CONTAINER_ENTRIES = {
  manifest: "container",
  stage1: "stage1",
  overlay: "overlay",
  status: "status",
  volumes: "volumes",
  log: "log",
  net: "net",
  pid: "pid",
} as const;

/** The output streams of an app, as its log calls them. */
export type Stream = "stdout" | "stderr";

export interface ContainerLayout {
  dir: HostPath;
  /** The container manifest. */
  manifest: HostPath;
  stage1Manifest: HostPath;
  stage1Rootfs: HostPath;
  /** An absolute path of the stage1 root (an entrypoint, the runtime) as the host sees it. */
  inStage1(path: string): HostPath;
  /** `opt/stage2`: one directory per app. */
  stage2: HostPath;
  app(appDir: string): HostPath;
  appManifest(appDir: string): HostPath;
  appRootfs(appDir: string): HostPath;
  overlay: HostPath;
  /** Which rendered tree stage1 and each app stand on: `{"stage1": id, "apps": {name: {dir, tree}}}`. */
  trees: HostPath;
  /** Upper and work directories: of "stage1", or of an app's directory name. */
  upper(of: string): HostPath;
  work(of: string): HostPath;
  status: HostPath;
  appStatus(app: string): HostPath;
  /** There as soon as every app has been started, and is ready if it says so. No app can have that name. */
  ready: HostPath;
  /** Directories behind volumes of kind "empty". */
  volumes: HostPath;
  emptyVolume(name: string): HostPath;
  log: HostPath;
  /** What an app wrote last to a stream; `.1` is the file before (ADR 4). */
  appLog(app: string, stream: Stream): HostPath;
  net: HostPath;
  /** Shell script that releases the networks: run in the container directory, as often as one likes; removes itself when done. */
  netTeardown: HostPath;
  /** JSON, a list of `{name, interface, addresses, ports}`: what the container has. */
  networks: HostPath;
  /** Pid of the process that `init` became, which holds the lock: the container's PID 1, or its parent (ADR 1). */
  pid: HostPath;
  /** The cgroup directories made for the container, one a line. */
  cgroups: HostPath;
  /** `FIRST COUNT`: the host's ids that are the container's own 0 and following, users and groups alike. */
  users: HostPath;
  /** In the container's mount namespace alone: the user namespace (nsfs) that mounts are mapped by (ADR 6). */
  userNamespace: HostPath;
}

/** Paths of one container directory; `dir` may be "." for a stage whose cwd it is. */
export function containerLayout(dir: string): ContainerLayout {
  const e = CONTAINER_ENTRIES;
  const stage1Rootfs = join(dir, e.stage1, "rootfs");
  const stage2 = join(stage1Rootfs, STAGE2);
  return {
    dir: hostPath(dir),
    manifest: join(dir, e.manifest),
    stage1Manifest: join(dir, e.stage1, "manifest"),
    stage1Rootfs,
    inStage1: (path) => join(stage1Rootfs, path.replace(/^\/+/, "")),
    stage2,
    app: (appDir) => join(stage2, appDir),
    appManifest: (appDir) => join(stage2, appDir, "manifest"),
    appRootfs: (appDir) => join(stage2, appDir, "rootfs"),
    overlay: join(dir, e.overlay),
    trees: join(dir, "trees"),
    upper: (of) => join(dir, e.overlay, of, "upper"),
    work: (of) => join(dir, e.overlay, of, "work"),
    status: join(dir, e.status),
    appStatus: (app) => join(dir, e.status, app),
    ready: join(dir, e.status, "_ready"),
    volumes: join(dir, e.volumes),
    emptyVolume: (name) => join(dir, e.volumes, name),
    log: join(dir, e.log),
    appLog: (app, stream) => join(dir, e.log, `${app}.${stream === "stdout" ? "out" : "err"}`),
    net: join(dir, e.net),
    netTeardown: join(dir, e.net, "teardown"),
    networks: join(dir, e.net, "networks"),
    pid: join(dir, e.pid),
    cgroups: join(dir, "cgroups"),
    users: join(dir, "users"),
    userNamespace: join(dir, "user-namespace"),
  };
}

/**
 * The seed's directory name of each app, in the manifest's order: `sha512-`
 * and 32 hex digits; a second app of the same image gets `-2`, and so on.
 * Every stage derives the same names from the container manifest alone.
 */
export function appDirs(apps: readonly { name: string; image: { id: string } }[]): Map<string, string> {
  const used = new Map<string, number>();
  const dirs = new Map<string, string>();
  for (const app of apps) {
    const base = shortId(app.image.id);
    const n = (used.get(base) ?? 0) + 1;
    used.set(base, n);
    dirs.set(app.name, n === 1 ? base : `${base}-${n}`);
  }
  return dirs;
}

// --- inside stage1 ------------------------------------------------------------------

/**
 * The container directory as processes in the stage1 root see it: parts of it
 * bind-mounted below `/rkt`, so that what they write are plain files of the
 * container directory.
 */
export const STAGE1 = {
  /** Mount point of the parts below. */
  base: stage1Path("/rkt"),
  /** The container manifest, read-only. */
  manifest: stage1Path("/rkt/container"),
  status: stage1Path("/rkt/status"),
  volumes: stage1Path("/rkt/volumes"),
  log: stage1Path("/rkt/log"),
  /** FIFOs of the apps' output streams. */
  stdio: stage1Path("/rkt/stdio"),
  /** Volumes of kind "host": one mount per volume name. */
  hostVolumes: stage1Path("/rkt/host-volumes"),
  /** Kernel parameters of the container, `PATH VALUE` a line, the path below /proc/sys; only where there are any. */
  sysctl: stage1Path("/rkt/sysctl"),
  /** Cgroups of v1 that an app joins: a directory per app, in it a mount per controller. */
  cgroups: stage1Path("/rkt/cgroups"),
  /** What the apps' /etc files of the same names are bound to, where present. */
  etc: stage1Path("/rkt/etc"),
  resolvConf: stage1Path("/rkt/etc/resolv.conf"),
  hosts: stage1Path("/rkt/etc/hosts"),
  hostname: stage1Path("/rkt/etc/hostname"),
  /** Where systemd finds the units made for this container. */
  units: stage1Path("/etc/systemd/system"),
  /** All programs and libraries; read-only while a container runs. */
  programs: stage1Path("/usr"),
  runtime: stage1Path("/usr/lib/rkt/node"),
  launcher: stage1Path("/usr/lib/rkt/launcher"),
  /** The launcher's last step to the app: a program without threads, loader or libraries. */
  exec: stage1Path("/usr/lib/rkt/exec"),
  busybox: stage1Path("/usr/bin/busybox"),
  /** Keeps cgroup migrations quick while a container starts. */
  warm: stage1Path("/usr/lib/rkt/warm"),
  /** The system call filter of an app that asks for nothing, compiled: struct sock_filter[]. */
  defaultFilter: stage1Path("/usr/lib/rkt/default-filter.bpf"),
  /** First process of the container: starts the output relays, becomes systemd. */
  pid1: stage1Path("/usr/lib/rkt/pid1"),
  setpriv: stage1Path("/usr/bin/setpriv"),
  /** Runs an event handler of an app. */
  handler: stage1Path("/usr/lib/rkt/handler"),
  /** Says that an app's socket could not be opened. */
  noSocket: stage1Path("/usr/lib/rkt/no-socket"),
  /** Asks all processes of an app to end. */
  ask: stage1Path("/usr/lib/rkt/ask"),
  /** Seconds that `rkt stop --time` gives each app, instead of its own. */
  stopTimeout: stage1Path("/rkt/stop-timeout"),
  /** `SOFT HARD`: how many files the apps may have open. */
  openFiles: stage1Path("/rkt/open-files"),
  /** Records an app's exit status. */
  record: stage1Path("/usr/lib/rkt/record"),
  /** The launcher under the name by which it works on the host (ADR 5): for a stage1 without a root of its own. */
  hostLauncher: stage1Path("/usr/lib/rkt/host-launcher"),
  /**
   * What it tells the shell that waits for it: the app's name; that the app has a handler for its end; that it has the
   * terminal; with which signal and how many seconds it is asked to end.
   */
  hostApp: stage1Path("/rkt/app"),
  hostPostStop: stage1Path("/rkt/post-stop"),
  hostTerminal: stage1Path("/rkt/terminal"),
  hostStop: stage1Path("/rkt/stop"),
  /** One directory per app. */
  stage2: stage1Path(`/${STAGE2}`),
  app: (appDir: string): Stage1Path => stage1Path(`/${STAGE2}/${appDir}`),
  appRootfs: (appDir: string): Stage1Path => stage1Path(`/${STAGE2}/${appDir}/rootfs`),
  appStatus: (app: string): Stage1Path => stage1Path(`/rkt/status/${app}`),
  ready: stage1Path("/rkt/status/_ready"),
  emptyVolume: (name: string): Stage1Path => stage1Path(`/rkt/volumes/${name}`),
  hostVolume: (name: string): Stage1Path => stage1Path(`/rkt/host-volumes/${name}`),
  appCgroups: (app: string): Stage1Path => stage1Path(`/rkt/cgroups/${app}`),
  appCgroup: (app: string, controller: string): Stage1Path => stage1Path(`/rkt/cgroups/${app}/${controller}`),
  appStdout: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${app}.out`),
  /** Only with standard input passed on from something that is no terminal. */
  appStdin: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${app}.in`),
  /** Directory of the socket that the app's syslog(3) writes to, `dev-log`. */
  appSyslog: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${app}.syslog`),
  appStderr: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${app}.err`),
} as const;

/**
 * For every start of stage 1's runtime, as NODE_OPTIONS: a signal must not make it listen for a debugger, which whoever
 * may send one could then be.
 */
export const RUNTIME_OPTIONS = "--disable-sigusr1";

/** Exit statuses of the launcher when an app cannot be started, beside the app's own (as systemd.exec(5) uses them). */
export const LAUNCH_EXIT = {
  chdir: 200,
  limits: 205,
  exec: 203,
  mount: 226,
  user: 217,
  group: 216,
  capabilities: 218,
  cgroup: 219,
  separation: 227,
  seccomp: 228,
  internal: 254,
} as const;

// --- keystore and configuration ----------------------------------------------------

export const SYSTEM_CONFIG_DIR = hostPath("/usr/lib/rkt");
export const LOCAL_CONFIG_DIR = hostPath("/etc/rkt");
export const KEYSTORE = "trustedkeys";
/** Of the configuration directories: files of rkt's documented kinds, `*.json`. */
export const CONFIG_SUBDIRECTORIES = { auth: "auth.d", paths: "paths.d", stage1: "stage1.d" } as const;

/** The trusted keys of one configuration directory: files named by a key's fingerprint. */
export interface KeystoreLayout {
  dir: HostPath;
  /** Keys for all images. */
  root: HostPath;
  /** Directories of keys for the images whose names begin with a prefix. */
  prefixes: HostPath;
  /** Of `example.com/app`, that is `example.com/app`: identifiers are safe as paths. */
  prefix(prefix: string): HostPath;
}

export function keystoreLayout(configDir: string): KeystoreLayout {
  const dir = join(configDir, KEYSTORE);
  const prefixes = join(dir, "prefix.d");
  return { dir, root: join(dir, "root.d"), prefixes, prefix: (prefix) => join(prefixes, prefix) };
}

/** Looked for beside the `rkt` executable first, then in the system paths. */
export const DEFAULT_STAGE1_IMAGE = "stage1-nspawn.aci";
export const STAGE1_IMAGE_DIRS = [hostPath("/usr/lib/rkt/stage1-images"), hostPath("/usr/local/lib/rkt/stage1-images")];

// --- networks ------------------------------------------------------------------------

/** Of the configuration directories: CNI network configurations, `*.conf` and `*.conflist`. */
export const NETWORK_CONFIG = "net.d";
/** CNI plugins of the administrator's, looked for before those of the stage1 image. */
export const NETWORK_PLUGIN_DIRS = [
  hostPath("/etc/rkt/plugins/net"),
  hostPath("/usr/local/lib/rkt/plugins/net"),
  hostPath("/usr/lib/rkt/plugins/net"),
];
/** CNI plugins of the stage1 image, a path of its root. */
export const STAGE1_PLUGINS = stage1Path("/usr/lib/cni");

/** What containers of all data directories share; as short-lived as the host's processes. */
export const RUNTIME_DIR = hostPath("/run/rkt");

/** What containers of all data directories share of the host's network; as short-lived as that is. */
export const NETWORK_STATE = {
  dir: hostPath("/run/rkt/net"),
  /** Held (flock(2)) by whoever adds to or takes from the network. */
  lock: (network: string): HostPath => hostPath(`/run/rkt/net/${network}.lock`),
  /** Held by whoever uses the plugin portmap, whose first chains all networks have in common; no network is called so. */
  portmapLock: hostPath("/run/rkt/net/.portmap.lock"),
  /** host-local's leases: a directory per network, a file per address. */
  leases: hostPath("/run/rkt/net/leases"),
  /** One file per published port: `PROTOCOL-PORT[-ADDRESS]`, which holds the container's UUID. */
  ports: hostPath("/run/rkt/net/ports"),
  /** JSON: the subnets of the default network while it is there. */
  subnets: hostPath("/run/rkt/net/default.json"),
  /** Likewise, of the network that reaches no further than the host. */
  restrictedSubnets: hostPath("/run/rkt/net/default-restricted.json"),
  /** A directory per container that has networks, named by its UUID: see `networkClaim`. */
  claims: hostPath("/run/rkt/net/containers"),
} as const;

/**
 * What releases a container's networks, and what says whether the container
 * lives. It lies beside what the networks hold of the host, since the
 * container's data directory may be lost before that is released.
 */
export interface NetworkClaim {
  dir: HostPath;
  /** Locked (flock(2)): exclusively by the container while it lives, shared by each process that releases its networks. */
  lock: HostPath;
  /** Locked by the one process that carries the steps out. */
  releasing: HostPath;
  /** Shell script that carries the steps out; with the argument "wait" it waits for the container's end. */
  teardown: HostPath;
  /** The steps, one file each, carried out last name first. */
  steps: HostPath;
  /** There when a step has failed. */
  failed: HostPath;
}

export function networkClaim(uuid: string): NetworkClaim {
  const dir = join(NETWORK_STATE.claims, uuid);
  return {
    dir,
    lock: join(dir, "lock"),
    releasing: join(dir, "releasing"),
    teardown: join(dir, "teardown"),
    steps: join(dir, "steps"),
    failed: join(dir, "failed"),
  };
}

// --- users ---------------------------------------------------------------------------

/** Ids of a container with users of its own. */
export const PRIVATE_IDS = 65_536;
/** Which ids are in use, of containers of all data directories: a lock (F_OFD_SETLK) on byte N is on those from N * PRIVATE_IDS. */
export const USER_RANGES = hostPath("/run/rkt/users");
