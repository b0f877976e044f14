/** Paths in the stage1 root file system, and the launcher's exit statuses. */

import { STAGE2 } from "./container-directory.ts";
import { STREAM_SUFFIX, type Stream } from "./logs.ts";
import { type Stage1Path, stage1Path } from "./paths.ts";

/** Names in the directory of the FIFOs. They are unique, because an app's name has no dot. */
export const STDIO = {
  /** FIFO that is opened and closed when all apps have ended: then the relays end. */
  control: "control",
  /** FIFO that the relays hold open: a reader meets its end when the last relay has ended. */
  done: "done",
  output: (app: string, stream: Stream): string => `${app}${STREAM_SUFFIX[stream]}`,
  /** FIFO for standard input, if rkt passes its own on and that is no terminal. */
  input: (app: string): string => `${app}.in`,
  /** For an app that has the terminal: FIFO that nobody writes to. */
  none: (app: string): string => `${app}.none`,
  /** Directory of the socket that the app's syslog(3) writes to. */
  syslog: (app: string): string => `${app}.syslog`,
} as const;

/** Name of that socket. */
export const SYSLOG_SOCKET = "dev-log";

/**
 * The file that a launcher writes to join a v1 cgroup. The kernel moves a single thread without waiting, and execve(2)
 * leaves only that one: so `tasks` will do for pids, which counts threads. Memory is counted by process.
 */
export const joinFile = (controller: string): "tasks" | "cgroup.procs" =>
  controller === "pids" ? "tasks" : "cgroup.procs";

/**
 * Paths for processes in the stage1 root. Parts of the container directory are bind-mounted below `/rkt`, so that what
 * these processes write lands in the container directory.
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
  /** The terminal of an app that has one. */
  terminal: stage1Path("/rkt/terminal"),
  /** Kernel parameters of the container, if it has any: lines `PATH VALUE`, the path below /proc/sys. */
  sysctl: stage1Path("/rkt/sysctl"),
  /** The first process mounts proc here to set them, and unmounts it again. */
  proc: stage1Path("/rkt/proc"),
  /** Cgroups of v1 that an app joins: a directory per app, in it a mount per controller. */
  cgroups: stage1Path("/rkt/cgroups"),
  /** The user and groups that each app began with: one file for each app, written by its launcher (stage2/account-record.ts). */
  accounts: stage1Path("/rkt/accounts"),
  /** Files that are bind-mounted over those of the same names in an app's /etc, if they exist. */
  etc: stage1Path("/rkt/etc"),
  resolvConf: stage1Path("/rkt/etc/resolv.conf"),
  hosts: stage1Path("/rkt/etc/hosts"),
  hostname: stage1Path("/rkt/etc/hostname"),
  machineId: stage1Path("/rkt/etc/machine-id"),
  /** systemd's own machine-id(5). An app's is the one below `etc`. */
  systemdMachineId: stage1Path("/etc/machine-id"),
  /** Where systemd finds the units made for this container. */
  units: stage1Path("/etc/systemd/system"),
  /** Stage 1 mounts it if the container has its own network; otherwise nspawn does. */
  sys: stage1Path("/sys"),
  /** All programs and libraries; read-only while a container runs. */
  programs: stage1Path("/usr"),
  /** Our own programs. */
  library: stage1Path("/usr/lib/rkt"),
  /** Our executable: `init` and the launcher are links to it. */
  runtime: stage1Path("/usr/lib/rkt/stage1"),
  launcher: stage1Path("/usr/lib/rkt/launcher"),
  /** The launcher's last step to the app: a program without threads, loader or libraries. */
  exec: stage1Path("/usr/lib/rkt/exec"),
  /** Programs that scripts call by name. */
  bin: stage1Path("/usr/bin"),
  busybox: stage1Path("/usr/bin/busybox"),
  /** Keeps cgroup migrations quick while a container starts, and an order to stop from being lost. */
  warm: stage1Path("/usr/lib/rkt/warm"),
  /** The compiled default system call filter: struct sock_filter[]. */
  defaultFilter: stage1Path("/usr/lib/rkt/default-filter.bpf"),
  /** First process of the container: starts the output relays, becomes systemd. */
  pid1: stage1Path("/usr/lib/rkt/pid1"),
  setpriv: stage1Path("/usr/bin/setpriv"),
  /** Runs a command on new streams. */
  streams: stage1Path("/usr/lib/rkt/streams"),
  /** Runs an event handler of an app. */
  handler: stage1Path("/usr/lib/rkt/handler"),
  /** Reports that an app's socket could not be opened. */
  noSocket: stage1Path("/usr/lib/rkt/no-socket"),
  /** Asks all processes of an app to end. */
  ask: stage1Path("/usr/lib/rkt/ask"),
  /** Seconds that `rkt stop --time` gives each app, instead of its own. */
  stopTimeout: stage1Path("/rkt/stop-timeout"),
  /** `SOFT HARD`: how many files the apps may have open. */
  openFiles: stage1Path("/rkt/open-files"),
  /** Records an app's exit status. */
  record: stage1Path("/usr/lib/rkt/record"),
  /** The status of the first app that failed, which is the container's. */
  exitStatus: stage1Path("/run/rkt-exit-status"),
  /** Kills the processes that an app has left. */
  leftOver: stage1Path("/usr/lib/rkt/left-over"),
  /** Copies an output stream of an app to rkt's own and to the app's log. */
  relay: stage1Path("/usr/lib/rkt/relay"),
  /** For fly: runs a Lua program of the image. */
  lua: stage1Path("/usr/lib/rkt/lua"),
  /** For fly: the launcher's name when it runs on the host (ADR 5). */
  hostLauncher: stage1Path("/usr/lib/rkt/host-launcher"),
  /**
   * For fly: files that the launcher writes for `init`. They hold the app's name and pid; say that the app has a
   * post-stop handler; and hold the signal that stops the app, with the seconds that it may take.
   */
  hostApp: stage1Path("/rkt/app"),
  hostPostStop: stage1Path("/rkt/post-stop"),
  hostStop: stage1Path("/rkt/stop"),
  /** One directory per app. */
  stage2: stage1Path(`/${STAGE2}`),
  app: (appDir: string): Stage1Path => stage1Path(`/${STAGE2}/${appDir}`),
  appRootfs: (appDir: string): Stage1Path => stage1Path(`/${STAGE2}/${appDir}/rootfs`),
  appStatus: (app: string): Stage1Path => stage1Path(`/rkt/status/${app}`),
  ready: stage1Path("/rkt/status/_ready"),
  emptyVolume: (name: string): Stage1Path => stage1Path(`/rkt/volumes/${name}`),
  hostVolume: (name: string): Stage1Path => stage1Path(`/rkt/host-volumes/${name}`),
  appAccount: (app: string): Stage1Path => stage1Path(`/rkt/accounts/${app}`),
  appCgroups: (app: string): Stage1Path => stage1Path(`/rkt/cgroups/${app}`),
  appCgroup: (app: string, controller: string): Stage1Path => stage1Path(`/rkt/cgroups/${app}/${controller}`),
  appLog: (app: string, stream: Stream): Stage1Path => stage1Path(`/rkt/log/${app}${STREAM_SUFFIX[stream]}`),
  appStdout: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${STDIO.output(app, "stdout")}`),
  appStdin: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${STDIO.input(app)}`),
  appSyslog: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${STDIO.syslog(app)}`),
  appStderr: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${STDIO.output(app, "stderr")}`),
} as const;

/** Exit statuses of the launcher if it can't start an app (the numbers are those of systemd.exec(5)). */
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

/** Directory of the stage1 image's CNI plugins. */
export const STAGE1_PLUGINS = stage1Path("/usr/lib/cni");
