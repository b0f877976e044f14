/**
 * Turns the launcher, which is root in stage 1, into one process of an app, step by step. The order of the steps
 * matters: each says why it stands where it does.
 *
 * Stage 1 and the container manifest are trusted. The app's root file system is not, nor are the processes of other
 * apps, which may run already.
 */

import { resolveAccount } from "./accounts.ts";
import { errorCode, errorText, printable, RktError } from "../shared/errors.ts";
import { renderError } from "../shared/render-error.ts";
import { PRIVATE_IDS } from "../shared/contract/host-state.ts";
import { LAUNCH_EXIT } from "../shared/contract/stage1-root.ts";
import { DEFAULT_PATH } from "../shared/program.ts";
import { rlimitText } from "../shared/schema/rlimits.ts";
import { SyscallError } from "../shared/syscall/call.ts";
import { ALL, capabilityNames, SYS_ADMIN } from "./capabilities.ts";
import { appEnvironment } from "./environment.ts";
import type { Failures, Kernel } from "./kernel.ts";
import type { LaunchPlan } from "./plan.ts";
import { cannotExecute } from "./program.ts";

/** The command of `rkt enter` without a command. */
const SHELL = "/bin/sh";

/** Becomes the process that the plan describes. Never returns; throws if a step fails. */
export function launch(plan: LaunchPlan, kernel: Kernel): never {
  // First, so that all messages about later failures go to the app's own output.
  for (const { fd, fifo } of plan.streams) kernel.connect(fd, fifo);

  // These need files of stage 1, which are out of reach in the app's root.
  const helper = kernel.openHelper(plan.helper);
  const filter = plan.filter === undefined ? undefined : compile(plan.filter, kernel);
  if (plan.oomScoreAdj !== undefined) setOomScoreAdj(plan, plan.oomScoreAdj, kernel);

  // The launcher joins the cgroups at the end, but can open their files only here: the directory is stage 1's.
  const cgroups = plan.cgroups === undefined ? [] : kernel.openCgroups(plan.cgroups);

  const recorded = plan.accountRecord?.use === "read" ? kernel.readAccount(plan.accountRecord.path) : undefined;
  const record = plan.accountRecord?.use === "write" ? kernel.openAccount(plan.accountRecord.path) : undefined;

  // --- the app's file system: needs CAP_SYS_ADMIN and stage 1's paths ---
  if ("namespace" in plan.root) {
    if (plan.host === undefined) kernel.leaveSession();
    kernel.joinApp(plan.root);
  } else {
    // Before the mounts: a mount of cgroups shows the root of the namespace in which it was made.
    if (plan.cgroupNamespace) kernel.unshareCgroups();
    kernel.unshareMounts();
    kernel.enterRoot(kernel.buildRoot(plan.root));
  }
  // From here on every path is in the app's root. No file of stage 1 can be opened, so no module may be loaded.

  if (plan.interactive) kernel.reopenTerminal();

  // The image's own files give names their meaning. They are read as root, because the app's user may not be able to. Once
  // the app has begun, they are the app's to change, and are not read again.
  const account = recorded ?? resolveAccount(plan, kernel.accountSources());
  if (record !== undefined) kernel.writeAccount(record, account);
  if (plan.rootOfHost && account.uid !== 0)
    throw new RktError("not-root", `the image calls user ${account.uid} "${plan.user}"`, {
      exitCode: LAUNCH_EXIT.user,
      hint: `on the host, root is user 0; for this one give --user=${account.uid} --group=${account.gid} after the image`,
    });
  // Before CAP_CHOWN is dropped. The app's user must own the streams to open /dev/stdout. No other process uses them.
  kernel.chownStreams(account.uid);
  const env = appEnvironment({ ...plan.environment, account });

  // As in rkt 1.30 and runc: root gets its bounding set. Another user gets only what file capabilities give, and on the
  // host not even these.
  const narrowed = plan.narrowsUsers && (account.uid !== 0 || plan.bounding !== ALL);
  const bounding = narrowed && account.uid !== 0 ? 0n : plan.bounding;
  const noNewPrivileges = plan.noNewPrivileges || narrowed;

  // --- privileges: each step needs a capability that a later step drops ---
  // main.ts has hidden this process from all others. The Landlock domain does the reverse: the app reaches no process
  // of another app or of stage 1. It comes after the last mount, because it may forbid mounting, and needs
  // CAP_SYS_ADMIN.
  const { separation } = plan;
  if (separation !== undefined)
    attempt("separation", "keep it apart from other apps", () => {
      kernel.enterLandlockDomain(separation);
    });
  kernel.resetProcess(plan.openFiles);
  // Before capabilities are dropped: raising a hard limit needs CAP_SYS_RESOURCE, which few apps have.
  for (const { name, number, limit } of plan.limits)
    attempt("limits", `set the limit ${name} to ${rlimitText(limit.soft)}:${rlimitText(limit.hard)}`, () => {
      kernel.setLimit(number, limit);
    });
  const unavailable = plan.retained & ~kernel.permitted();
  if (unavailable !== 0n)
    kernel.warn(
      `rkt: app ${plan.app}: capabilities not available in this container: ${capabilityNames(unavailable).join(", ")}`,
    );
  attempt("capabilities", "drop capabilities", () => {
    // Before the user changes, because that drops CAP_SETPCAP.
    kernel.limitBoundingSet(bounding);
  });
  // Before the user changes: afterwards cgroup v1 refuses, because only the host's root may move another user's
  // process.
  if (plan.privateUsers) joinCgroups(cgroups, kernel);
  attempt("group", "set the groups", () => {
    // Before the user changes: an ordinary user can't change its groups.
    // A container with its own users has only PRIVATE_IDS groups; others that the image names are left out.
    const known = plan.privateUsers ? account.groups.filter((gid) => gid < PRIVATE_IDS) : account.groups;
    kernel.setGroups([...new Set([...plan.supplementaryGIDs, ...known])]);
    kernel.setGid(account.gid);
  });
  // Installing a filter needs CAP_SYS_ADMIN or no_new_privs. An app does not keep the capability: execve(2) drops all
  // that are not in the bounding set, and all of an ordinary user.
  const loads = filter !== undefined && !noNewPrivileges ? SYS_ADMIN : 0n;
  attempt("user", `become user ${account.uid}`, () => {
    if (loads !== 0n) kernel.keepCapabilities();
    kernel.setUid(account.uid);
    // Again, because the change of user has reset it to fs.suid_dumpable. Until execve this process runs a program of
    // stage 1, with no more rights than the root of another app: that could trace it, and open the program by
    // /proc/PID/exe.
    kernel.makeUndumpable();
  });
  attempt("capabilities", "drop capabilities", () => {
    kernel.setCapabilities((account.uid === 0 ? bounding : 0n) | loads);
  });

  // As the app's user, who must have access to the directory.
  changeDirectory(plan.workingDirectory, kernel);
  const [name = ""] = plan.argv;
  const program = kernel.findProgram(name, env["PATH"] ?? DEFAULT_PATH);

  if (noNewPrivileges) kernel.setNoNewPrivileges();
  // After the change of user, which would undo it.
  if (plan.host !== undefined || "namespace" in plan.root) kernel.endWithParent(plan.host?.parent);

  // Looks for a problem now: under the filter this process can do no more than the app, and the helper, which executes
  // the program, can't look.
  const problem = kernel.findProblem(program);
  if (problem !== undefined && plan.filter !== "default" && plan.filter !== undefined)
    throw cannotExecute(program, problem, { hint: hint(plan, program) });
  // As late as possible: what the launcher has used must not count for the app, whose limits may be lower.
  if (!plan.privateUsers) joinCgroups(cgroups, kernel);
  try {
    // The filter comes last, so that it need not allow the launcher's own calls. The helper executes the program,
    // because this runtime has other threads with the old root: stage 1's, in fly the host's. A script could lead there
    // by `#!/proc/self/task/TID/root/...`, and the app would then have files of that root open (CVE-2019-5736,
    // CVE-2024-21626). The helper has no other threads, and no other descriptors.
    const failures = failuresOf(plan, program, problem, kernel);
    return kernel.execute(helper, { path: program, argv: plan.argv, env, sockets: plan.listenFds }, failures, filter);
  } catch (error) {
    if (error instanceof SyscallError && error.syscall === "seccomp") throw noFilter(error);
    throw error;
  }
}

/** The beginning of the launcher's error messages. */
export const messagePrefix = (app: string | undefined): string => (app === undefined ? "rkt" : `rkt: app ${printable(app)}`);

/**
 * The helper's messages if the program can't be executed: the problem that was found before, else the errno's meaning.
 */
function failuresOf(plan: LaunchPlan, program: string, problem: string | undefined, kernel: Kernel): Failures {
  const who = messagePrefix(plan.app);
  const lines = (reason: string) => renderError(cannotExecute(program, reason, { hint: hint(plan, program) }), { who }).text;
  const reasons = [...kernel.failureReasons(program)].map(([errno, reason]) => [errno, lines(problem ?? reason)] as const);
  return { byErrno: new Map(reasons), otherwise: renderError(cannotExecute(program, "errno "), { who }).text.slice(0, -1) };
}

function compile(filter: NonNullable<LaunchPlan["filter"]>, kernel: Kernel): Uint8Array {
  try {
    return kernel.compileFilter(filter);
  } catch (error) {
    throw noFilter(error);
  }
}

function noFilter(error: unknown): RktError {
  return new RktError("launch-failed", `cannot filter system calls: ${errorText(error)}`, {
    exitCode: LAUNCH_EXIT.seccomp,
    cause: error,
  });
}

/** Lowering the score needs CAP_SYS_RESOURCE, which rkt itself may not have. */
function setOomScoreAdj(plan: LaunchPlan, value: number, kernel: Kernel): void {
  try {
    kernel.setOomScoreAdj(value);
  } catch (error) {
    if (errorCode(error) !== "EACCES") throw error;
    kernel.warn(`rkt: app ${plan.app}: an oom-score-adj of ${value} is not available in this container`);
  }
}

function joinCgroups(cgroups: readonly number[], kernel: Kernel): void {
  if (cgroups.length === 0) return;
  attempt("cgroup", "join the app's cgroups", () => {
    kernel.joinCgroups(cgroups);
  });
}

function hint(plan: LaunchPlan, program: string): string | undefined {
  const entersShell = "namespace" in plan.root && program === SHELL;
  return entersShell ? "an app without a shell is entered with a command that is in its image" : undefined;
}

function attempt(exit: keyof typeof LAUNCH_EXIT, what: string, step: () => void): void {
  try {
    step();
  } catch (error) {
    throw new RktError("launch-failed", `cannot ${what}: ${errorText(error)}`, {
      exitCode: LAUNCH_EXIT[exit],
      cause: error,
    });
  }
}

const CHDIR_REASONS: Record<string, string> = {
  ENOENT: "it does not exist in the image",
  ENOTDIR: "it is not a directory",
  EACCES: "the app's user may not enter it",
  ELOOP: "its path has a loop of links, or leads through a link of /proc",
};

function changeDirectory(path: string, kernel: Kernel): void {
  try {
    kernel.changeDirectory(path);
  } catch (error) {
    const code = errorCode(error);
    throw new RktError(
      "no-working-directory",
      `cannot enter working directory "${path}": ${CHDIR_REASONS[code ?? ""] ?? errorText(error)}`,
      {
        exitCode: LAUNCH_EXIT.chdir,
        cause: error,
      },
    );
  }
}
