/**
 * The operations that `launch` needs of the operating system, one method for each step. `linux` implements them; tests
 * record their order instead.
 *
 * All methods are synchronous and run on the main thread: namespaces, capabilities and no_new_privs belong to a thread,
 * and the thread that calls execve(2) becomes the app.
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
import { belongsToUsers, CLONE_FS, CLONE_NEWCGROUP, CLONE_NEWNS, fchdir, setns, unshare } from "../shared/syscall/namespace.ts";
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
  /** Replaces a standard stream by a FIFO, if that exists. */
  connect(fd: 0 | 1 | 2, fifo: SourcePath): void;
  /**
   * Until execve(2) or a change of user, no process may trace this one or read its files in /proc/PID, and it leaves no
   * core.
   */
  makeUndumpable(): void;
  /** Puts this process, and all that it will start, into its own Landlock domain, if the kernel supports that. */
  enterLandlockDomain(without: Separation): void;
  /** Makes a mount namespace. Changes in stage 1's, above all unmounts, propagate to it, but never the other way. */
  unshareMounts(): void;
  /** Makes a cgroup namespace: its root is the cgroup that this process is in. */
  unshareCgroups(): void;
  /** Returns a descriptor of the app's root. */
  buildRoot(steps: readonly MountStep[]): number;
  /** Makes it the root of the mount namespace, and unmounts the old root. */
  enterRoot(root: number): void;
  /** Opens the `cgroup.procs` below the directory; none if that does not exist. */
  openCgroups(dir: SourcePath): number[];
  joinCgroups(cgroups: readonly number[]): void;
  /** Starts a new session, so that the command has no hold on the caller's terminal. */
  leaveSession(): void;
  /** Joins a running app: its cgroups and its mount namespace. */
  joinApp(app: RunningApp): void;
  /**
   * Ties the life of this process to its parent's, so that no command outlives its `rkt enter`. Without `parent`, any
   * parent is accepted except PID 1, which would say that the real one has ended.
   */
  endWithParent(parent: number | undefined): void;
  /** Opens the terminal again, by its name in the app's root. */
  reopenTerminal(): void;
  /** Gives the standard streams to a user, if they are FIFOs, pipes or terminals. */
  chownStreams(uid: number): void;
  accountSources(): AccountSources;
  /** The record of who the app runs as: opened while stage 1's root can be reached, written later. */
  openAccount(path: SourcePath): number;
  writeAccount(fd: number, account: Account): void;
  readAccount(path: SourcePath): Account | undefined;
  /** Undoes what the runtime set up for itself and execve would keep; `openFiles` is what the process may have open then. */
  resetProcess(openFiles: ResourceLimit | undefined): void;
  /** Sets a resource limit of this process, and so of the app. */
  setLimit(number: number, limit: ResourceLimit): void;
  /** The capabilities that this process can use. */
  permitted(): bigint;
  /** Drops all other capabilities from the bounding set. */
  limitBoundingSet(keep: bigint): void;
  setGroups(gids: readonly number[]): void;
  setGid(gid: number): void;
  setUid(uid: number): void;
  /** Makes `setUid` keep the permitted capabilities. */
  keepCapabilities(): void;
  /** Sets the permitted and effective capabilities; none is inheritable or ambient. */
  setCapabilities(set: bigint): void;
  setNoNewPrivileges(): void;
  changeDirectory(path: string): void;
  findProgram(name: string, searchPath: string): string;
  /** Why the program can't start, if that can be seen before. */
  findProblem(path: string): string | undefined;
  /** What each errno of execve(2) means for a program without a visible problem. */
  failureReasons(path: string): ReadonlyMap<number, string>;
  /** The BPF program of a filter. */
  compileFilter(filter: SystemCallFilter | "default"): Uint8Array;
  setOomScoreAdj(value: number): void;
  /** Opens the helper that executes the program (STAGE1.exec); close-on-exec. */
  openHelper(path: SourcePath): number;
  /**
   * Becomes the helper, which becomes the program, or writes a message of `failures`. The program inherits only the
   * standard streams and the `sockets` after them. The filter is installed just before.
   */
  execute(helper: number, program: Program, failures: Failures, filter: Uint8Array | undefined): never;
  warn(text: string): void;
}

export interface Program {
  path: string;
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  /** Number of sockets that it inherits, as descriptors from 3. */
  sockets: number;
}

/** The messages on standard error if execve(2) fails. */
export interface Failures {
  /** Whole lines, by errno. */
  byErrno: ReadonlyMap<number, string>;
  /** For any other errno: the beginning of a line that its number completes. */
  otherwise: string;
}

/**
 * The first version of Landlock's interface in which a domain can restrict this and nothing else. A domain must
 * restrict something. In version 1 every domain also forbids moving files between directories.
 */
const SEPARATION_SINCE: Readonly<Record<Separation, number>> = { mounts: 2, signals: 6 };

/** The highest number in a set of 64 bits. */
const MAX_CAPABILITY = 63;

/** The soft limit that select(2) can cope with, and that systemd gives services (systemd.exec(5), LimitNOFILE=). */
const OPEN_FILES = 1024n;

/** An app can put itself into a user namespace, in which it mounts over its files what it likes. */
function requireOwnNamespace(namespace: number): void {
  if (belongsToUsers(namespace, "/proc/self/ns/user")) return;
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

  makeUndumpable() {
    prctl(PR_SET_DUMPABLE, 0n);
  },

  enterLandlockDomain(without) {
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

  leaveSession() {
    try {
      setsid();
    } catch (error) {
      // EPERM: it leads a process group already, and so the session that was made for it and its pty.
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
    // The runtime's threads share their root and working directory, and setns(2) wants them unshared.
    unshare(CLONE_FS);
    setns(namespace, CLONE_NEWNS);
    process.chdir("/");
    // As long as the app's launcher still builds the root, the namespace has stage 1's.
    const root = statSync("/");
    if (root.dev !== expected.dev || root.ino !== expected.ino)
      throw new RktError("not-running", "it has no root of its own yet: try again", { exitCode: LAUNCH_EXIT.mount });
  },

  endWithParent(parent) {
    prctl(PR_SET_PDEATHSIG, BigInt(os.signals.SIGKILL));
    // If the parent has ended already, the container's PID 1 is this process's parent now.
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

  chownStreams(uid) {
    for (const fd of [0, 1, 2]) {
      const stat = fstatSync(fd);
      // Other processes use /dev/null too, so it is left alone. A terminal keeps its group, tty (grantpt(3)).
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
    // A shell makes its background processes ignore these two.
    resetSignal(os.signals.SIGINT);
    resetSignal(os.signals.SIGQUIT);
    // The runtime may have raised the soft limit to the hard one.
    const { hard: most } = getrlimit(RLIMIT_NOFILE);
    const { soft, hard } = openFiles ?? { soft: OPEN_FILES, hard: most };
    setrlimit(RLIMIT_NOFILE, { soft: soft < most ? soft : most, hard: hard < most ? hard : most });
  },

  setLimit: setrlimit,

  permitted: () => capget().permitted,

  limitBoundingSet(keep) {
    for (let number = 0; number <= MAX_CAPABILITY; number++) {
      if ((keep >> BigInt(number)) & 1n) continue;
      try {
        prctl(PR_CAPBSET_DROP, BigInt(number));
      } catch (error) {
        // EINVAL: this kernel has no more capabilities.
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
    // process.chdir would follow links such as /proc/self/task/TID/root: the runtime's other threads have the old root.
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
      // execve(2) reports all other problems.
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

/** Encodes the messages in the helper's format (build/exec-helper.ts). */
function messages({ byErrno, otherwise }: Failures): Buffer {
  const record = (errno: number, text: string) => [Buffer.of(errno), Buffer.from(text), Buffer.of(1)];
  const missing = record(ENOENT, byErrno.get(ENOENT) ?? `${otherwise}${ENOENT}\n`);
  const others = [...byErrno].filter(([errno]) => errno !== ENOENT);
  return Buffer.concat([...missing, ...others.flatMap(([errno, text]) => record(errno, text)), ...record(0xff, otherwise)]);
}

/** Opens the file with O_PATH first: the image may have a FIFO or a device there, which root must not open. */
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
