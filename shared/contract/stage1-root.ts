/** The stage1 root file system as processes in it see it, and what the launcher in it says by its exit status. */

import { STAGE2 } from "./container-directory.ts";
import { STREAM_SUFFIX, type Stream } from "./logs.ts";
import { type Stage1Path, stage1Path } from "./paths.ts";

/** Names in the directory of the FIFOs. An app's name has no dot, so none of them is another's. */
export const STDIO = {
  /** FIFO that is opened and closed when no app is left: the relays then end. */
  control: "control",
  /** FIFO that the relays hold open: who reads it learns that the last one has drained. */
  done: "done",
  output: (app: string, stream: Stream): string => `${app}${STREAM_SUFFIX[stream]}`,
  /** Only with standard input passed on from something that is no terminal. */
  input: (app: string): string => `${app}.in`,
  /** Of an app that has the terminal itself: FIFO that nobody writes to. */
  none: (app: string): string => `${app}.none`,
  /** Directory of the socket that the app's syslog(3) writes to. */
  syslog: (app: string): string => `${app}.syslog`,
} as const;

/** Name of that socket. */
export const SYSLOG_SOCKET = "dev-log";

/**
 * What a launcher writes to, to join a cgroup of v1. Memory is accounted to the process; its number to each thread,
 * and one is all that execve(2) leaves: the kernel moves that without waiting.
 */
export const joinFile = (controller: string): "tasks" | "cgroup.procs" =>
  controller === "pids" ? "tasks" : "cgroup.procs";

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
  /** The terminal of an app that has one. */
  terminal: stage1Path("/rkt/terminal"),
  /** Kernel parameters of the container, `PATH VALUE` a line, the path below /proc/sys; only where there are any. */
  sysctl: stage1Path("/rkt/sysctl"),
  /** Where the first process mounts /proc to set them, and takes it away again. */
  proc: stage1Path("/rkt/proc"),
  /** Cgroups of v1 that an app joins: a directory per app, in it a mount per controller. */
  cgroups: stage1Path("/rkt/cgroups"),
  /** What the apps' /etc files of the same names are bound to, where present. */
  etc: stage1Path("/rkt/etc"),
  resolvConf: stage1Path("/rkt/etc/resolv.conf"),
  hosts: stage1Path("/rkt/etc/hosts"),
  hostname: stage1Path("/rkt/etc/hostname"),
  machineId: stage1Path("/rkt/etc/machine-id"),
  /** Where systemd finds the units made for this container. */
  units: stage1Path("/etc/systemd/system"),
  /** Mounted by stage 1 where the container has a network of its own, else by nspawn. */
  sys: stage1Path("/sys"),
  /** All programs and libraries; read-only while a container runs. */
  programs: stage1Path("/usr"),
  /** Our own programs. */
  library: stage1Path("/usr/lib/rkt"),
  runtime: stage1Path("/usr/lib/rkt/node"),
  launcher: stage1Path("/usr/lib/rkt/launcher"),
  /** The launcher's last step to the app: a program without threads, loader or libraries. */
  exec: stage1Path("/usr/lib/rkt/exec"),
  /** What scripts call by name. */
  bin: stage1Path("/usr/bin"),
  busybox: stage1Path("/usr/bin/busybox"),
  /** Keeps cgroup migrations quick while a container starts, and an order to stop from being lost. */
  warm: stage1Path("/usr/lib/rkt/warm"),
  /** The system call filter of an app that asks for nothing, compiled: struct sock_filter[]. */
  defaultFilter: stage1Path("/usr/lib/rkt/default-filter.bpf"),
  /** First process of the container: starts the output relays, becomes systemd. */
  pid1: stage1Path("/usr/lib/rkt/pid1"),
  setpriv: stage1Path("/usr/bin/setpriv"),
  /** Runs a command on streams of its own. */
  streams: stage1Path("/usr/lib/rkt/streams"),
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
  /** The status of the first app that failed, which is the container's. */
  exitStatus: stage1Path("/run/rkt-exit-status"),
  /** Ends what an app has left running. */
  leftOver: stage1Path("/usr/lib/rkt/left-over"),
  /** Copies an output stream of an app to rkt's own and to the app's log. */
  relay: stage1Path("/usr/lib/rkt/relay"),
  /** Of the fly flavor: runs a program of the image's in LuaJIT. */
  lua: stage1Path("/usr/lib/rkt/lua"),
  /** The launcher under the name by which it works on the host (ADR 5): for a stage1 without a root of its own. */
  hostLauncher: stage1Path("/usr/lib/rkt/host-launcher"),
  /**
   * What it tells the shell that waits for it: the app's name and pid; that the app has a handler for its end; with which
   * signal and how many seconds it is asked to end.
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
  appCgroups: (app: string): Stage1Path => stage1Path(`/rkt/cgroups/${app}`),
  appCgroup: (app: string, controller: string): Stage1Path => stage1Path(`/rkt/cgroups/${app}/${controller}`),
  appLog: (app: string, stream: Stream): Stage1Path => stage1Path(`/rkt/log/${app}${STREAM_SUFFIX[stream]}`),
  appStdout: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${STDIO.output(app, "stdout")}`),
  appStdin: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${STDIO.input(app)}`),
  appSyslog: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${STDIO.syslog(app)}`),
  appStderr: (app: string): Stage1Path => stage1Path(`/rkt/stdio/${STDIO.output(app, "stderr")}`),
} as const;

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

/** CNI plugins of the stage1 image, a path of its root. */
export const STAGE1_PLUGINS = stage1Path("/usr/lib/cni");
