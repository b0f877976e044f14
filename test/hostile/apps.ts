/**
 * Programs that try to get out of a container, to lie about it, or to keep it
 * from ending: each a shell script in an image of busybox and
 * `test/fixtures/attack.c`, with what must come of it. What must hold after
 * every one of them is in apps.test.ts.
 */

import type { Entry } from "../fixtures/aci.ts";

export interface HostileApp {
  name: string;
  script: string;
  /** Options of `rkt`, of `run`, and of the image. */
  global?: string[];
  options?: string[];
  app?: string[];
  /** Apps beside it, as words after `---`. */
  beside?: string[];
  entries?: Entry[];
  mountPoints?: { name: string; path: string }[];
  eventHandlers?: { name: "pre-start" | "post-stop"; exec: string[] }[];
  /** The exit status of `rkt run`; several where chance decides. */
  status?: number | readonly number[];
  /** What it has printed in the end. */
  out?: string | RegExp;
  err?: string | RegExp;
  /** What the host does to it when it has printed "up", and then it is stopped. */
  meanwhile?: "enter" | "look" | "stop";
  /** Seconds within which a stop has to end it. */
  within?: number;
}

const NOTIFY = ["--annotation=appc.io/executor/supports-systemd-notify=true"];
/** An ordinary user, and his directory. */
const USER = ["--user=1000", "--group=1000", "--working-dir=/"];

// --- system calls, files and devices ---------------------------------------------------

/** What nobody needs who is in a container, refused by the filter alone or besides. */
const REFUSED = [
  ...["clock_settime", "settimeofday", "adjtimex", "reboot", "swapon", "swapoff", "acct", "quotactl", "syslog"],
  ...["sethostname", "setdomainname", "perf_event_open", "userfaultfd", "fanotify_init", "name_to_handle_at"],
  ...["mount_setattr", "move_mount", "fspick", "pidfd_getfd", "process_vm_writev", "process_madvise"],
];
const REFUSED_TOO = [
  ...["kcmp", "keyctl session", "keyctl join", "keyctl read", "request_key", "ioperm", "delete_module"],
  ...["finit_module", "kexec_file_load", "vhangup", "setrlimit beyond", "sched_setscheduler"],
];
const OF_FILES = ["project ID", "encryption key", "encryption policy", "subvolume", "file_setattr"];
const LAST = ["TIOCLINUX", ...OF_FILES, "unshare cgroup", "unshare net", "unshare pid", "unshare time", "ptrace traceme"];

const eperm = (names: readonly string[]): string => names.map((name) => `${name}: EPERM\n`).join("");
/** `raw` is an app's right where it has CAP_NET_RAW over its network. */
const calls = (raw: string): string =>
  `${eperm(REFUSED)}${eperm(REFUSED_TOO)}setpriority: EACCES\n${eperm([...LAST, "interface down"])}mlock: done\nraw socket: ${raw}\n`;

const WRITES = [
  ...["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/panic_on_oom", "/proc/sysrq-trigger"],
  ...["/sys/kernel/uevent_helper", "/sys/class/net/lo/mtu", "/sys/fs/cgroup/systemd/release_agent"],
  ...["/sys/fs/cgroup/systemd/cgroup.procs", "/sys/fs/cgroup/systemd/notify_on_release", "/sys/power/state"],
  ...["/proc/1/mem", "/proc/1/environ", "/proc/1/root/rkt/container", "/proc/1/cwd/rkt/container"],
  ...["/proc/1/fd/1", "/proc/1/oom_score_adj", "/proc/irq/default_smp_affinity", "/proc/kcore"],
];

const each = <T>(list: readonly T[], make: (one: T) => HostileApp): HostileApp[] => list.map(make);

const reach: HostileApp[] = [
  { name: "system calls that reach beyond a container, by root", script: "attack calls", out: calls("done") },
  { name: "… by an ordinary user", script: "attack calls", app: USER, out: calls("EPERM") },
  {
    name: "… by root of a container with users of its own, who may do everything there",
    script: "attack calls",
    options: ["--private-users"],
    out: calls("EPERM"),
  },
  {
    name: "a mount without its read-only flag, by a call younger than most lists, and CAP_SYS_ADMIN",
    script: "attack clone-mount",
    app: ["--caps-retain=CAP_SYS_ADMIN"],
    out: "open_tree_attr: EPERM\n",
  },
  {
    name: "descriptors of what the host opens, by a watch on an empty volume's file system, and CAP_SYS_ADMIN",
    script: "attack fanotify /data",
    options: ["--volume=data,kind=empty"],
    app: ["--mount=volume=data,target=/data", "--caps-retain=CAP_SYS_ADMIN"],
    out: "fanotify_init: EPERM\n",
  },
  {
    name: "the host's file system as a whole, by an empty volume and CAP_SYS_ADMIN",
    script: "attack thaw /data",
    options: ["--volume=data,kind=empty"],
    app: ["--mount=volume=data,target=/data", "--caps-retain=CAP_SYS_ADMIN"],
    out: "thaw: EPERM\n",
  },
  ...each<[string, string[], string[]]>(
    [
      ["root", [], []],
      ["an ordinary user, without a network and with users of the container's own", ["--net=none", "--private-users"], USER],
    ],
    ([who, options, app]) => ({
      name: `sockets that belong to no network namespace, by ${who}`,
      script: "attack families",
      options,
      app,
      // Where the kernel runs no 32-bit programs, the interrupt is none.
      out: /^AF_VSOCK: EPERM\nAF_ALG: EPERM\n(?:AF_VSOCK by socketcall: EPERM\n)?$/,
      status: [0, 139],
    }),
  ),
  {
    name: "requests of what is no file, and the machine's, by CAP_SYS_ADMIN",
    script: "attack requests",
    app: ["--caps-retain=CAP_SYS_ADMIN"],
    out: eperm(["entropy", "next namespace", "previous namespace"]),
  },
  // All but 15, what the kernel says of devices, which CAP_SYS_ADMIN could say as well, look at the network they are in.
  ...each<[string, string[], string]>(
    [
      ["root", [], "0 4 6 9 12 15 16"],
      ["root with CAP_SYS_ADMIN", ["--caps-retain=CAP_SYS_ADMIN"], "0 4 6 9 12 16"],
      ["an ordinary user", USER, "0 4 6 9 12 15 16"],
    ],
    ([who, app, protocols]) => ({
      name: `events of the host and its settings by netlink, by ${who}`,
      script: "attack netlink",
      app,
      out: `netlink: ${protocols}\n`,
    }),
  ),
  ...each<[string, string[], string[], string]>(
    [
      ["root", [], [], "/dev/net/tun: ENOENT"],
      ["root with CAP_NET_ADMIN, which the host's network does not give", [], ["--caps-retain=CAP_NET_ADMIN"], "/dev/net/tun: ENOENT"],
      ["root of a container with users of its own", ["--private-users"], ["--caps-retain=CAP_NET_ADMIN"], "/dev/net/tun: ENOENT"],
      ["root with CAP_NET_ADMIN over a network of the container's own", ["--net=none"], ["--caps-retain=CAP_NET_ADMIN"], "an interface: done"],
    ],
    ([who, options, app, said]) => ({
      name: `interfaces of a network, by ${who}`,
      script: "attack tun",
      options,
      app,
      out: `${said}\n`,
    }),
  ),
  ...each<[string, string[], string[]]>(
    [
      ["root", [], []],
      ["root with CAP_SYS_PTRACE, which its neighbour has as well", [], ["--caps-retain=CAP_SYS_PTRACE,CAP_DAC_OVERRIDE"]],
      ["root without a filter", [], ["--seccomp=mode=retain,@appc.io/all"]],
      ["root of a container with users of its own", ["--private-users"], []],
    ],
    ([who, options, app]) => ({
      name: `a neighbour's root, memory, environment and descriptors, by ${who}`,
      options,
      app,
      script:
        "i=0; while [ $i -lt 100 ]; do o=$(attack processes); echo \"$o\" | grep -E ' (root|cwd|exe|fd|environ|maps|auxv|mem|ptrace|process_vm_readv|pidfd_getfd|readlink-[a-z]*)( |$)' && echo REACHED; usleep 20000; i=$((i+1)); done; exit 9",
      beside: [...app, "--exec=/bin/sleep", "--", "1000"],
      out: "",
      status: 9,
    }),
  ),
  {
    name: "files that change the host, or its first process",
    script: `attack writes ${WRITES.join(" ")} | grep -v -e ': E[A-Z]*$' || echo none`,
    out: /^(?:\/proc\/1\/oom_score_adj: open|none)\n$/,
  },
  {
    name: "… without the paths that are protected: what capabilities alone keep",
    global: ["--insecure-options=image,seccomp"],
    script: `attack writes ${WRITES.join(" ")} | grep -v -e ': E[A-Z]*$' || echo none`,
    out: /^(?:\/proc\/1\/oom_score_adj: open|none)\n$/,
  },
  { name: "device nodes, wherever they can be made", script: "attack devices", out: "tried\n" },
  {
    name: "… with no filter and no protected paths",
    global: ["--insecure-options=image,seccomp,paths"],
    script: "attack devices",
    out: "tried\n",
  },
  {
    name: "device nodes of the image, opened by its app",
    script: "for f in /nodes/*; do head -c1 $f >/dev/null 2>&1 && echo $f; done; echo tried",
    entries: [
      { name: "rootfs/nodes", type: "5" },
      { name: "rootfs/nodes/mem", type: "3", device: [1, 1], mode: 0o666 },
      { name: "rootfs/nodes/kmsg", type: "3", device: [1, 11], mode: 0o666 },
      { name: "rootfs/nodes/vda", type: "4", device: [254, 0], mode: 0o666 },
      { name: "rootfs/nodes/zero", type: "3", device: [1, 5], mode: 0o666 },
    ],
    out: "tried\n",
  },
  {
    name: "what lies at the paths of stage 1 is the image's own",
    script:
      "mkdir -p /rkt/status /opt/stage2; echo 0 >/rkt/status/app; echo 0 >/run/rkt-exit-status; ls /opt/stage2; exit 9",
    status: 9,
    out: "",
  },
];

// --- the first process, and whoever else is in the container --------------------------------

const signals: HostileApp[] = [
  { name: "kills everybody it can", script: "kill -9 -1; exit 9", status: 9 },
  // What the others send systemd does not listen to, or reads its units anew.
  {
    name: "signals to the first process that mean nothing, or have it look again at what it is to do",
    script: "for s in 1 2 10 12 15 17 34 40 54 60; do kill -$s 1; usleep 50000; done; exit 9",
    status: 9,
  },
  // systemd stops the apps: SIGTERM is what this one ends by.
  ...each([35, 37, 39], (signal) => ({
    name: `signal ${signal} to the first process, which has it stop`,
    script: `kill -${signal} 1; sleep 1000`,
    status: 143,
  })),
  // systemd goes at once, and leaves the apps as they are.
  ...each([47, 48, 49, 50], (signal) => ({
    name: `signal ${signal} to the first process, which has it go`,
    script: `(while :; do cat /dev/zero; done) & kill -${signal} 1; sleep 1000`,
    status: 137,
    out: /^\0*$/,
  })),
  { name: "signal 6 to the first process, which has it crash", script: "kill -6 1; sleep 1000", status: 255 },
  {
    name: "the first process is not an ordinary user's to signal",
    script: "kill -47 1; exit 9",
    app: USER,
    status: 9,
    err: /not permitted/,
  },
  ...each([1, 7], (resource) => ({
    name: `takes resource ${resource} away from the first process, and so from what records a status`,
    script: `attack prlimit 1 ${resource} 0; exit 9`,
    status: resource === 1 ? 254 : [2, 254],
  })),
  {
    name: "makes the first process the next to be killed for memory",
    script: "echo 1000 >/proc/1/oom_score_adj 2>/dev/null; exit 9",
    status: 9,
  },
  {
    name: "kills whatever would record a neighbour's failure",
    script:
      'while :; do for p in /proc/[0-9]*; do read -r c <$p/comm && [ "$c" = record ] && kill -9 "$(basename $p)"; done 2>/dev/null; done',
    beside: ["--exec=/bin/sh", "--", "-c", "sleep 1; exit 7"],
    // The killer's own end is a failure as well.
    status: [7, 143, 254],
  },
  {
    name: "a neighbour's failure is the container's, whatever is written where a status would be",
    script:
      "mkdir -p /rkt/status; while :; do echo 0 >/rkt/status/other; echo 0 >/run/rkt-exit-status; usleep 1000; done",
    beside: ["--exec=/bin/sh", "--", "-c", "usleep 500000; exit 7"],
    status: 7,
  },
];

// --- sd_notify ----------------------------------------------------------------------------------

const LIES = [
  ...["READY=1", "STOPPING=1", "RELOADING=1", "MAINPID=1", "MAINPID=99999999", "MAINPID=-1", "MAINPIDFDID=1"],
  ...["ERRNO=0", "EXIT_STATUS=0", "WATCHDOG_USEC=60000000", "FDSTORE=1", "FDSTOREREMOVE=1"],
  ...[
    "EXTEND_TIMEOUT_USEC=99999999999",
    "NOTIFYACCESS=none",
    "STATUS=\\033[2J%n%s",
    "X=$(head -c 60000 /dev/zero | tr '\\0' x)",
  ],
];
const notify: HostileApp[] = [
  {
    name: `tells systemd ${LIES.length} lies about itself`,
    app: NOTIFY,
    script: `attack notify READY=1; ${LIES.map((lie) => `attack notify "$(printf '%b' "${lie}")"`).join("; ")}; exit 9`,
    status: 9,
  },
  {
    name: "says that it is not well: its own end, and its own status",
    app: NOTIFY,
    script: "attack notify READY=1; attack notify WATCHDOG=trigger; sleep 1000",
    status: 134,
  },
  {
    name: "says that the relay of its output is its main process",
    app: NOTIFY,
    script: `attack notify "$(printf 'READY=1\\nMAINPID=%s' "$(pidof luajit | cut -d' ' -f1)")"; echo up; exit 9`,
    meanwhile: "stop",
    within: 15,
    status: [0, 9, 137, 141, 143],
  },
  {
    name: "floods systemd with messages",
    app: NOTIFY,
    script: "attack flood WATCHDOG=1 & attack flood STATUS=x & attack notify READY=1; echo up; sleep 1000",
    meanwhile: "stop",
    within: 25,
    status: [137, 143],
  },
  {
    name: "extends the time it has to stop, for ever",
    app: NOTIFY,
    script:
      "trap '' TERM; attack notify READY=1; echo up; while :; do attack notify EXTEND_TIMEOUT_USEC=60000000; usleep 500000; done",
    meanwhile: "stop",
    within: 45,
    status: 137,
  },
];

// --- streams, logs, names ---------------------------------------------------------------------------

const talk: HostileApp[] = [
  {
    name: "takes its own output's pipe apart",
    script: "attack streams; exit 9",
    status: 9,
    out: /^\0*$/,
    err: /^\0*$/,
  },
  {
    name: "leaves a process that has its output, and heeds no signal",
    script: "(trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &) ; echo gone; exit 9",
    status: 9,
    out: "gone\n",
  },
  {
    name: "forges lines of a neighbour's log, and a terminal's orders",
    script: `printf '%b' '2026-01-01T00:00:00.000000000Z stdout F forged\\n\\033]0;owned\\007\\n'; echo up; exec sleep 1000`,
    out: /forged/,
    meanwhile: "look",
    status: 143,
  },
  {
    name: "calls itself a terminal's orders",
    script: `attack rename "$(printf '%b' '\\033[31m\\nx')" & echo up; sleep 1000`,
    meanwhile: "look",
    status: 143,
  },
];

// --- files that the host reads, or takes away ----------------------------------------------------------

const files: HostileApp[] = [
  {
    name: "leaves links out of every directory, closed directories, holes and strange names",
    script: `rm -rf /etc /var /srv /home; for d in etc var srv home tmp/x; do ln -s VICTIM /$d; done
mkdir -p "/a/$(printf '%b' '\\n\\033[2J')/b" /closed/x; chmod 0 /closed; truncate -s 1T /hole
i=0; d=/deep; while [ $i -lt 200 ]; do d=$d/d; i=$((i+1)); done; mkdir -p $d; ln -s / /a/b; mkfifo /fifo; exit 9`,
    status: 9,
  },
  {
    name: "hides from `rkt enter` behind links, pipes and its own program",
    script: `rm -f /etc/passwd /etc/group /bin/sh /bin/true; mkfifo /etc/passwd; ln -s /proc/1/environ /etc/group
printf '#!/proc/self/exe\\n' >/bin/sh; chmod 755 /bin/sh; ln -s /proc/self/exe /bin/true; echo up; exec attack hunt 4`,
    meanwhile: "enter",
    status: [0, 143],
    out: /^up\nhunted some\n$|^up\n$/,
  },
  {
    name: "hunts those who enter",
    script: "echo up; exec attack hunt 4",
    meanwhile: "enter",
    status: [0, 143],
    out: /^up\nhunted some\n$|^up\n$/,
  },
  {
    name: "… with no filter, and the right to trace",
    global: ["--insecure-options=image"],
    app: ["--caps-retain=CAP_KILL,CAP_DAC_OVERRIDE,CAP_NET_RAW", "--seccomp=mode=retain,@appc.io/all"],
    script: "echo up; exec attack hunt 4",
    meanwhile: "enter",
    status: [0, 143],
    out: /^up\nhunted some\n$|^up\n$/,
  },
  ...each([[], ["--private-users"]], (options) => ({
    name: `the manifest of all apps by a core of who enters${options.length > 0 ? ", with users of the container's own" : ""}`,
    options,
    script: "exec attack core 10",
    beside: ["--environment=VARIABLE_OF_OTHER=secret", "--exec=/bin/sleep", "--", "1000"],
    meanwhile: "enter",
    // 131: the neighbour's own launcher was still there, and got the signal, too.
    status: [131, 143],
    out: "up\nsomebody came\n",
  })),
  ...each(["/etc", "/dev", "/proc", "/sys", "/tmp", "/run"], (dir) => ({
    name: `a handler puts a link in the place of ${dir}, before the app starts`,
    eventHandlers: [
      {
        name: "pre-start",
        exec: ["/bin/sh", "-c", `rm -rf ${dir} 2>/dev/null; mv ${dir} /aside 2>/dev/null; ln -s VICTIM ${dir}; exit 0`],
      },
    ],
    script: "ls VICTIM 2>/dev/null | grep secret; exit 9",
    // The link leads to nothing in the image, so what is mounted there cannot be.
    status: [9, 226],
    out: "",
  })),
  ...each(["/etc/hostname", "/etc/resolv.conf", "/etc/hosts"], (file) => ({
    name: `a handler puts a link to the host in the place of ${file}`,
    eventHandlers: [
      { name: "pre-start", exec: ["/bin/sh", "-c", `rm -f ${file}; ln -s VICTIM/secret ${file}; exit 0`] },
    ],
    script: `cat ${file} 2>/dev/null | grep untouched; exit 9`,
    status: [9, 226],
    out: "",
  })),
  ...each(["proc", "sys", "dev"], (dir) => ({
    name: `the image has a link at /${dir}, to a place below what is mounted later`,
    entries: [
      { name: `rootfs/${dir}`, type: "2", link: dir === "sys" ? "/dev/l" : "/sys/l" } as Entry,
      ...(dir === "sys" ? [] : [{ name: "rootfs/sys/l", type: "2", link: "/visible" } as Entry]),
      { name: "rootfs/visible", type: "5" } as Entry,
    ],
    script: "ls /visible",
    status: 226,
    out: "",
    err: /the image has a link in its place/,
  })),
  {
    name: "signals the launcher of who enters to listen for a debugger",
    script:
      "echo up; i=0; while [ $i -lt 200 ]; do for p in /proc/[0-9]*; do p=$(basename $p); [ $p = 1 ] || [ $p = $$ ] || kill -USR1 $p; done 2>/dev/null; nc 127.0.0.1 9229 </dev/null 2>/dev/null && echo REACHED; i=$((i+1)); done",
    meanwhile: "enter",
    status: [0, 138, 143],
    out: /^up\n$/,
  },
  {
    name: "a volume's target is a link out of the image",
    options: ["--volume=data,kind=empty"],
    app: ["--mount=volume=data,target=/way/dir"],
    entries: [{ name: "rootfs/way", type: "2", link: "VICTIM" }],
    script: "echo x >/way/dir/written && exit 9",
    status: 9,
  },
  {
    name: "an empty volume with links out of it, for the neighbour who mounts it too",
    options: ["--volume=data,kind=empty"],
    app: ["--mount=volume=data,target=/data"],
    beside: [
      "--mount=volume=data,target=/data",
      "--exec=/bin/sh",
      "--",
      "-c",
      "usleep 500000; cat /data/out/secret; exit 9",
    ],
    script: "ln -s VICTIM /data/out; sleep 2",
    out: "",
    status: 9,
  },
];

// --- accounts and programs that a root process reads --------------------------------------------------------

const LARGE = Buffer.alloc(40 << 20, "x:");
const accounts: HostileApp[] = [
  ...each<[string, Entry]>(
    [
      ["a FIFO", { name: "rootfs/etc/passwd", type: "6" }],
      ["an endless device", { name: "rootfs/etc/passwd", type: "3", device: [1, 5] }],
      ["a directory", { name: "rootfs/etc/passwd", type: "5" }],
      ["a link to a process", { name: "rootfs/etc/passwd", type: "2", link: "/proc/1/environ" }],
      ["a link to the host", { name: "rootfs/etc/passwd", type: "2", link: "VICTIM/secret" }],
      ["a loop", { name: "rootfs/etc/passwd", type: "2", link: "passwd" }],
      ["40 MB", { name: "rootfs/etc/passwd", data: LARGE }],
    ],
    ([what, entry]) => ({
      name: `/etc/passwd is ${what}, and a user is looked for in it`,
      entries: [entry],
      app: ["--user=somebody"],
      script: "exit 9",
      status: 217,
      err: /^rkt: app app: /m,
    }),
  ),
  ...each<[string, string[]]>(
    [
      ["a link to the launcher", ["/proc/self/exe"]],
      ["a descriptor", ["/proc/self/fd/3"]],
      ["the first process's program", ["/proc/1/exe"]],
      ["stage 1's runtime", ["/usr/lib/rkt/stage1"]],
      ["a script of itself", ["/self"]],
      ["a directory", ["/etc"]],
    ],
    ([what, exec]) => ({
      name: `its program is ${what}`,
      entries: [{ name: "rootfs/self", data: "#!/self\n", mode: 0o755 }],
      app: [`--exec=${exec[0]}`, "--", ...exec.slice(1)],
      script: "",
      status: 203,
      err: /^rkt: app app: cannot execute/m,
    }),
  ),
  ...each(
    ["/proc/1/root", "/proc/self/fd/3", "/proc/1/cwd", ...[2, 5, 8, 10].map((n) => `/proc/self/task/${n}/root`)],
    (dir) => ({
      name: `its working directory is ${dir}`,
      app: [`--working-dir=${dir}`],
      script: "ls",
      status: 200,
      err: /cannot enter working directory/,
    }),
  ),
];

// --- unit lines, arguments and options out of names and values ------------------------------------------------

const INJECTED = "x\n[Service]\nExecStartPre=/bin/sh -c 'touch VICTIM/injected'\nUser=root";
const STRANGE = "/a,lowerdir=/:upperdir=/etc,ro\\040 %n$HOME;--bind=/;x:y/ z";
const SPECIFIERS = "%H %i $HOME $" + "{PATH}";
/** What printf writes of each. */
const barred = (words: readonly string[]): string => words.map((text) => `${text}|`).join("");
const WORDS = [INJECTED, "%n", "$$", "; reboot", "\\x41"];
const HANDLER_WORDS = [INJECTED, "%t", "-", "@x", "+"];
const texts: HostileApp[] = [
  {
    name: "arguments and variables that would be unit lines",
    app: [`--set-env=EVIL=${INJECTED}`, `--set-env=SPECIFIER=${SPECIFIERS}`, "--", ...WORDS],
    script: `printf '%s|' "$EVIL" "$SPECIFIER" "$@"`,
    out: barred([INJECTED, SPECIFIERS, ...WORDS]),
  },
  {
    name: "a pre-start handler whose arguments would be unit lines",
    eventHandlers: [{ name: "pre-start", exec: ["/bin/sh", "-c", `printf '%s|' "$@"`, "sh", ...HANDLER_WORDS] }],
    script: "exit 9",
    status: 9,
    out: barred(HANDLER_WORDS),
  },
  {
    name: "a mount point that would be mount options, arguments and a path elsewhere",
    options: ["--volume=data,kind=empty"],
    mountPoints: [{ name: "data", path: STRANGE }],
    script: `echo x >'${STRANGE}/file' && cat '${STRANGE}/file'; ls /; exit 9`,
    status: 9,
    out: /^x\n[\s\S]*a,lowerdir=[\s\S]*$/,
  },
];

export const hostileApps: readonly HostileApp[] = [
  ...reach,
  ...signals,
  ...notify,
  ...talk,
  ...files,
  ...accounts,
  ...texts,
];
