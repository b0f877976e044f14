/**
 * What `launch` asks of the operating system, one method per step of the
 * drop; tests record the order. `linux` is the real thing.
 *
 * Everything here is synchronous and on the main thread: namespaces,
 * capabilities and no_new_privs belong to a thread, and the one that calls
 * execve(2) is the one that the app becomes.
 */

import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { constants as os } from "node:os";
import { accountText, badAccountFile, openAccountFile } from "../shared/account-file.ts";
import { openAccount, readAccount, writeAccount } from "./account-record.ts";
import type { Account, AccountSources } from "./accounts.ts";
import { errorCode, errorText, RktError } from "../shared/errors.ts";
import { execveOpen } from "../shared/exec.ts";
import { joinFile, LAUNCH_EXIT, STAGE1 } from "../shared/contract/stage1-root.ts";
import { defaultFilter, type SystemCallFilter } from "../shared/seccomp.ts";
import { filterProgram } from "../shared/seccomp-program.ts";
import { closeOnExecFrom, dup2, isOpenFd, isTerminal } from "../shared/syscall/descriptor.ts";
import { AT_FDCWD, O_PATH, openat2, RESOLVE_NO_MAGICLINKS } from "../shared/syscall/file.ts";
import {
  LANDLOCK_ACCESS_FS_REFER,
  LANDLOCK_SCOPE_SIGNAL,
  landlockAllowBelow,
  landlockCreateRuleset,
  landlockRestrictSelf,
  landlockVersion,
} from "../shared/syscall/landlock.ts";
import { MNT_DETACH, MS_REC, MS_SLAVE, mount, pivotRoot, umount } from "../shared/syscall/mount.ts";
import { CLONE_FS, CLONE_NEWCGROUP, CLONE_NEWNS, fchdir, owningUserNamespace, setns, unshare } from "../shared/syscall/namespace.ts";
import {
  capget,
  capset,
  getrlimit,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAPBSET_DROP,
  PR_SET_DUMPABLE,
  PR_SET_KEEPCAPS,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_PDEATHSIG,
  prctl,
  type ResourceLimit,
  RLIMIT_NOFILE,
  resetSignal,
  setrlimit,
  setsid,
  setThreadGid,
  setThreadGroups,
  setThreadUid,
} from "../shared/syscall/process.ts";
import { failureReasons, findProblem } from "./diagnose.ts";
import { buildRoot } from "./mount.ts";
import type { MountStep, SourcePath } from "./mount-plan.ts";
import type { RunningApp, Separation } from "./plan.ts";
import { cannotExecute, findProgram } from "./program.ts";

export interface Kernel {
  /** Opens a FIFO in the place of a standard stream, if it exists. */
  connect(fd: 0 | 1 | 2, fifo: SourcePath): void;
  /** Closes this process to tracers and readers of /proc/PID, and has it leave no core; until execve(2) or a change of user. */
  hide(): void;
  /** Puts this process, and all it will start, into a Landlock domain of its own, where the kernel has them. */
  separate(without: Separation): void;
  /** A mount namespace of its own. What happens in stage 1's reaches it (unmounting above all), never the reverse. */
  unshareMounts(): void;
  /** A cgroup namespace of its own: the root is the cgroup that this process is in. */
  unshareCgroups(): void;
  /** Answers a descriptor of the app's root. */
  buildRoot(steps: readonly MountStep[]): number;
  /** Makes it the root of the mount namespace and lets go of the old one. */
  enterRoot(root: number): void;
  /** Answers descriptors of the `cgroup.procs` below; none where the directory is not there. */
  openCgroups(dir: SourcePath): number[];
  joinCgroups(cgroups: readonly number[]): void;
  /** Lets go of the terminal of whoever enters. */
  leaveCaller(): void;
  /** Becomes one of the processes of an app that runs: its cgroups, its mount namespace. */
  joinApp(app: RunningApp): void;
  /**
   * Lets the process end with its parent, so that no command outlives the `rkt enter` it belongs to. Without a `parent`
   * it is whoever that is, but the container's first process.
   */
  endWithParent(parent: number | undefined): void;
  /** Opens the terminal by the name it has in the app's root. */
  reopenTerminal(): void;
  /** Makes the standard streams a user's, if they are FIFOs, pipes or terminals. */
  giveStreams(uid: number): void;
  accountSources(): AccountSources;
  /** The record of who the app runs as: opened while stage 1's root can be reached, written later. */
  openAccount(path: SourcePath): number;
  writeAccount(fd: number, account: Account): void;
  readAccount(path: SourcePath): Account | undefined;
  /** Undoes what Node.js set up for itself and execve would keep; `openFiles` is what the process may have open then. */
  resetProcess(openFiles: ResourceLimit | undefined): void;
  /** Of this process, and of what it becomes. */
  setLimit(number: number, limit: ResourceLimit): void;
  /** The capabilities this process can use. */
  permitted(): bigint;
  /** Takes everything else out of the bounding set. */
  boundCapabilities(keep: bigint): void;
  setGroups(gids: readonly number[]): void;
  setGid(gid: number): void;
  setUid(uid: number): void;
  /** Lets `setUid` leave the permitted capabilities as they are. */
  keepCapabilities(): void;
  /** Permitted and effective; none is inheritable or ambient. */
  setCapabilities(set: bigint): void;
  setNoNewPrivileges(): void;
  changeDirectory(path: string): void;
  findProgram(name: string, searchPath: string): string;
  /** What will keep the program from starting. */
  findProblem(path: string): string | undefined;
  /** What execve(2) means by each errno, of a program that looks right. */
  failureReasons(path: string): ReadonlyMap<number, string>;
  /** The BPF program of a filter. */
  compileFilter(filter: SystemCallFilter | "default"): Uint8Array;
  setOomScoreAdj(value: number): void;
  /** Opens the helper by which the program is executed (STAGE1.exec); close-on-exec. */
  openHelper(path: SourcePath): number;
  /**
   * Becomes the helper, which becomes the program, or writes what `failures` says. Only the standard streams and the
   * `sockets` after them go on. The filter holds from just before.
   */
  execute(helper: number, program: Program, failures: Failures, filter: Uint8Array | undefined): never;
  warn(text: string): void;
}

export interface Program {
  path: string;
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  /** Sockets passed on, as descriptors from 3. */
  sockets: number;
}

/** What is said on standard error when execve(2) fails. */
export interface Failures {
  /** Whole lines, by errno. */
  byErrno: ReadonlyMap<number, string>;
  /** The beginning of a line, which the number of any other errno ends. */
  otherwise: string;
}

/**
 * The version of Landlock's interface from which a domain can be had that takes nothing away but this. A domain has to
 * handle something. The first version lets none move files between directories.
 */
const SEPARATION_SINCE: Readonly<Record<Separation, number>> = { mounts: 2, signals: 6 };

/** The highest number a set of 64 bits has room for. */
const MAX_CAPABILITY = 63;

/** The soft limit that select(2) can cope with, and that systemd gives services (systemd.exec(5), LimitNOFILE=). */
const OPEN_FILES = 1024n;

/** An app can put itself into a user namespace, in which it mounts over its files what it likes. */
function requireOwnNamespace(namespace: number): void {
  const owner = owningUserNamespace(namespace);
  try {
    const [of, own] = [fstatSync(owner), statSync("/proc/self/ns/user")];
    if (of.dev === own.dev && of.ino === own.ino) return;
  } finally {
    closeSync(owner);
  }
  throw new RktError("not-running", "it has moved into namespaces of its own, which nobody else enters", {
    hint: "nsenter(1) of the host enters them, with all that the app has mounted there",
    exitCode: LAUNCH_EXIT.mount,
  });
}

export const linux: Kernel = {
  connect(fd, fifo) {
    let opened: number;
    try {
      opened = openSync(fifo, fd === 0 ? constants.O_RDONLY : constants.O_WRONLY);
    } catch (error) {
      if (errorCode(error) === "ENOENT") return;
      throw error;
    }
    dup2(opened, fd);
    closeSync(opened);
  },

  hide() {
    prctl(PR_SET_DUMPABLE, 0n);
  },

  separate(without) {
    const version = landlockVersion();
    if (version < SEPARATION_SINCE[without]) return;
    const ruleset =
      without === "signals"
        ? landlockCreateRuleset({ scoped: LANDLOCK_SCOPE_SIGNAL })
        : landlockCreateRuleset({ files: LANDLOCK_ACCESS_FS_REFER });
    try {
      if (without === "mounts") {
        const root = openSync("/", O_PATH);
        landlockAllowBelow(ruleset, root, LANDLOCK_ACCESS_FS_REFER);
        closeSync(root);
      }
      landlockRestrictSelf(ruleset);
    } finally {
      closeSync(ruleset);
    }
  },

  unshareCgroups() {
    unshare(CLONE_NEWCGROUP);
  },

  unshareMounts() {
    unshare(CLONE_NEWNS);
    mount("", "/", "", MS_REC | MS_SLAVE);
  },

  buildRoot,

  enterRoot(root) {
    fchdir(root);
    closeSync(root);
    // The old root ends up on top of the new one at "." (pivot_root(2), "pivot_root(".", ".")").
    pivotRoot(".", ".");
    umount(".", MNT_DETACH);
    process.chdir("/");
  },

  openCgroups(dir) {
    try {
      return readdirSync(dir).map((controller) =>
        openSync(`${dir}/${controller}/${joinFile(controller)}`, constants.O_WRONLY),
      );
    } catch (error) {
      if (errorCode(error) === "ENOENT") return [];
      throw error;
    }
  },

  joinCgroups(cgroups) {
    for (const fd of cgroups) writeSync(fd, "0");
  },

  leaveCaller() {
    try {
      setsid();
    } catch (error) {
      // It leads a group, and so the session that was made for it and its pty.
      if (errorCode(error) !== "EPERM") throw error;
    }
  },

  joinApp({ namespace, rootfs, cgroups }) {
    try {
      linux.joinCgroups(cgroups);
    } catch (error) {
      throw new RktError("not-running", `cannot join its cgroup: ${errorText(error)}`, { cause: error });
    }
    const expected = statSync(rootfs);
    requireOwnNamespace(namespace);
    // Node.js's threads share their root and working directory, and setns(2) wants them unshared.
    unshare(CLONE_FS);
    setns(namespace, CLONE_NEWNS);
    process.chdir("/");
    // A namespace in which the launcher is still at work has stage 1's root.
    const root = statSync("/");
    if (root.dev !== expected.dev || root.ino !== expected.ino)
      throw new RktError("not-running", "it has no root of its own yet: try again", { exitCode: LAUNCH_EXIT.mount });
  },

  endWithParent(parent) {
    prctl(PR_SET_PDEATHSIG, BigInt(os.signals.SIGKILL));
    // The container's first process takes orphans: the parent ended before.
    const orphan = parent === undefined ? process.ppid === 1 : process.ppid !== parent;
    if (orphan) throw new RktError("interrupted", "the process that waits for it has ended");
  },

  reopenTerminal() {
    const path = "/dev/console";
    const { rdev } = statSync(path);
    const isTerminal = (fd: number) => {
      const stat = fstatSync(fd);
      return stat.isCharacterDevice() && stat.rdev === rdev;
    };
    const streams = [0, 1, 2].filter(isTerminal);
    if (streams.length === 0) return;
    const terminal = openSync(path, constants.O_RDWR | constants.O_NOCTTY);
    for (const fd of streams) dup2(terminal, fd);
    closeSync(terminal);
  },

  giveStreams(uid) {
    for (const fd of [0, 1, 2]) {
      const stat = fstatSync(fd);
      // /dev/null is a stream of everybody's. Of a terminal the group, tty, stays (grantpt(3)).
      if (stat.isFIFO() || isTerminal(fd)) fchownSync(fd, uid, stat.gid);
    }
  },

  accountSources() {
    return {
      passwd: readAccountFile("/etc/passwd", LAUNCH_EXIT.user),
      group: readAccountFile("/etc/group", LAUNCH_EXIT.group),
      owner: (path) => statSync(path),
    };
  },

  openAccount,
  writeAccount,
  readAccount,

  resetProcess(openFiles) {
    resetSignal(os.signals.SIGPIPE);
    resetSignal(os.signals.SIGXFSZ);
    // A shell lets what it starts in the background ignore them.
    resetSignal(os.signals.SIGINT);
    resetSignal(os.signals.SIGQUIT);
    // Node.js raised it to the hard limit at its start.
    const { hard: most } = getrlimit(RLIMIT_NOFILE);
    const { soft, hard } = openFiles ?? { soft: OPEN_FILES, hard: most };
    setrlimit(RLIMIT_NOFILE, { soft: soft < most ? soft : most, hard: hard < most ? hard : most });
  },

  setLimit: setrlimit,

  permitted: () => capget().permitted,

  boundCapabilities(keep) {
    for (let number = 0; number <= MAX_CAPABILITY; number++) {
      if ((keep >> BigInt(number)) & 1n) continue;
      try {
        prctl(PR_CAPBSET_DROP, BigInt(number));
      } catch (error) {
        // Past the last capability of this kernel.
        if (errorCode(error) === "EINVAL") return;
        throw error;
      }
    }
  },

  setGroups: setThreadGroups,
  setGid: setThreadGid,
  setUid: setThreadUid,

  keepCapabilities() {
    prctl(PR_SET_KEEPCAPS, 1n);
  },

  setCapabilities(set) {
    prctl(PR_CAP_AMBIENT, BigInt(PR_CAP_AMBIENT_CLEAR_ALL));
    const permitted = set & capget().permitted;
    capset({ permitted, effective: permitted, inheritable: 0n });
  },

  setNoNewPrivileges() {
    prctl(PR_SET_NO_NEW_PRIVS, 1n);
  },

  changeDirectory(path) {
    // Not process.chdir: /proc/self/task/N/root, say, is the root that the runtime's other threads still have.
    const fd = openat2(AT_FDCWD, path, O_PATH | constants.O_DIRECTORY, 0, RESOLVE_NO_MAGICLINKS);
    try {
      fchdir(fd);
    } finally {
      closeSync(fd);
    }
  },

  findProgram(name, searchPath) {
    const path = findProgram(name, searchPath);
    try {
      closeSync(openat2(AT_FDCWD, path, O_PATH, 0, RESOLVE_NO_MAGICLINKS));
    } catch (error) {
      // Whatever else is wrong with it, execve(2) will say.
      if (errorCode(error) === "ELOOP" && statSync(path, { throwIfNoEntry: false }) !== undefined)
        throw cannotExecute(path, "its path leads through a link of /proc, out of the app's root");
    }
    return path;
  },

  findProblem,

  failureReasons,

  compileFilter(filter) {
    if (filter !== "default") return filterProgram(filter);
    try {
      return readFileSync(STAGE1.defaultFilter);
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
      return filterProgram(defaultFilter());
    }
  },

  setOomScoreAdj(value) {
    writeFileSync("/proc/self/oom_score_adj", String(value));
  },

  openHelper: (path) => openat2(AT_FDCWD, path, O_PATH, 0, RESOLVE_NO_MAGICLINKS),

  execute(helper, { path, argv, env, sockets }, failures, filter) {
    const fds = Array.from({ length: sockets }, (_, i) => 3 + i).filter(isOpenFd);
    closeOnExecFrom(3);
    execveOpen({ fd: helper, argv: [messages(failures), path, ...argv], env }, fds, filter);
  },

  warn(text) {
    writeSync(2, `${text}\n`);
  },
};

const { ENOENT } = os.errno;

/** As the helper reads them (build/exec-helper.ts). */
function messages({ byErrno, otherwise }: Failures): Buffer {
  const record = (errno: number, text: string) => [Buffer.of(errno), Buffer.from(text), Buffer.of(1)];
  const missing = record(ENOENT, byErrno.get(ENOENT) ?? `${otherwise}${ENOENT}\n`);
  const others = [...byErrno].filter(([errno]) => errno !== ENOENT);
  return Buffer.concat([...missing, ...others.flatMap(([errno, text]) => record(errno, text)), ...record(0xff, otherwise)]);
}

/** The file may be anything the image's maker liked, and to open a FIFO or a device as root does something. */
function readAccountFile(path: string, exitCode: number): string {
  let fd: number;
  try {
    fd = openat2(AT_FDCWD, path, O_PATH, 0, RESOLVE_NO_MAGICLINKS);
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return "";
    throw badAccountFile(path, `cannot be opened: ${code}`, exitCode);
  }
  try {
    const file = openAccountFile(fd, path, exitCode);
    try {
      return accountText(file, path, exitCode);
    } finally {
      closeSync(file);
    }
  } finally {
    closeSync(fd);
  }
}
