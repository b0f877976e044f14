/**
 * The drop: from root in stage 1 to one process of an app, in one line of
 * steps that does not come back. The order is the point; each step says why it
 * stands where it does.
 *
 * Trusted: stage 1 and the container manifest. Not trusted: everything in the
 * app's root file system, and every process of other apps, which run already.
 */

import { resolveAccount } from "./accounts.ts";
import { errorCode, errorText, printable, RktError } from "../shared/errors.ts";
import { renderError } from "../shared/render-error.ts";
import { PRIVATE_IDS } from "../shared/contract/host-state.ts";
import { LAUNCH_EXIT } from "../shared/contract/stage1-root.ts";
import { DEFAULT_PATH } from "../shared/program.ts";
import { rlimitText } from "../shared/schema/rlimits.ts";
import { SyscallError } from "../shared/syscall/libc.ts";
import { ALL, capabilityNames, SYS_ADMIN } from "./capabilities.ts";
import { appEnvironment } from "./environment.ts";
import type { Failures, Kernel } from "./kernel.ts";
import type { LaunchPlan } from "./plan.ts";
import { cannotExecute } from "./program.ts";

/** What `rkt enter` runs when it is not told what. */
const SHELL = "/bin/sh";

/** Becomes the process that the plan describes; returns only by throwing. */
export function launch(plan: LaunchPlan, kernel: Kernel): never {
  // First of all, so that what is left to go wrong is said where the app's own messages go.
  for (const { fd, fifo } of plan.streams) kernel.connect(fd, fifo);

  // What needs files or libraries of stage 1.
  const helper = kernel.openHelper(plan.helper);
  const filter = plan.filter === undefined ? undefined : compile(plan.filter, kernel);
  if (plan.oomScoreAdj !== undefined) setOomScoreAdj(plan, plan.oomScoreAdj, kernel);

  // The directory is stage 1's; what is joined at the end must be open before.
  const cgroups = plan.cgroups === undefined ? [] : kernel.openCgroups(plan.cgroups);

  const recorded = plan.account?.use === "read" ? kernel.readAccount(plan.account.path) : undefined;
  const record = plan.account?.use === "write" ? kernel.openAccount(plan.account.path) : undefined;

  // --- the app's file system: needs CAP_SYS_ADMIN and stage 1's paths ---
  if ("namespace" in plan.root) {
    if (plan.host === undefined) kernel.leaveCaller();
    kernel.joinApp(plan.root);
  } else {
    // Before its mounts, which show it from the namespace's root on.
    if (plan.cgroupNamespace) kernel.unshareCgroups();
    kernel.unshareMounts();
    kernel.enterRoot(kernel.buildRoot(plan.root));
  }
  // From here on a path is the app's: nothing of stage 1 can be opened any more, so nothing must be loaded.

  if (plan.interactive) kernel.reopenTerminal();

  // Names mean what the app's own files say; read as root, because they may be closed to the app's user.
  // Once the app has begun its files are no longer the image's.
  const account = recorded ?? resolveAccount(plan, kernel.accountSources());
  if (record !== undefined) kernel.writeAccount(record, account);
  if (plan.rootOfHost && account.uid !== 0)
    throw new RktError("not-root", `the image calls user ${account.uid} "${plan.user}"`, {
      exitCode: LAUNCH_EXIT.user,
      hint: `on the host root is user 0: --user=${account.uid} --group=${account.gid} after the image says what is meant`,
    });
  // While there is still the right to; a program that has dropped root opens /dev/stdout by its own. Stage 1 has made
  // them for this process: they are nobody else's.
  kernel.giveStreams(account.uid);
  const env = appEnvironment({ ...plan.environment, account });

  // As rkt and runc: root has its bounding set, another user nothing but what file capabilities give him; on the host,
  // not these either.
  const narrowed = plan.narrowsUsers && (account.uid !== 0 || plan.bounding !== ALL);
  const bounding = narrowed && account.uid !== 0 ? 0n : plan.bounding;
  const noNewPrivileges = plan.noNewPrivileges || narrowed;

  // --- privileges: each step needs a capability that a later one takes ---
  // Nobody can look into this process (main.ts). The other way round: what it becomes reaches no process of another app or of stage 1. After the last mount, which
  // a domain may forbid; it takes CAP_SYS_ADMIN, too.
  const { separation } = plan;
  if (separation !== undefined)
    attempt("separation", "keep it apart from other apps", () => {
      kernel.separate(separation);
    });
  kernel.resetProcess(plan.openFiles);
  // To raise a hard limit takes CAP_SYS_RESOURCE, which few apps have.
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
    // Before the user changes, which would take CAP_SETPCAP.
    kernel.boundCapabilities(bounding);
  });
  // v1 lets nobody but the host's root move another's process: who is to become another must be there before.
  if (plan.privateUsers) joinCgroups(cgroups, kernel);
  attempt("group", "set the groups", () => {
    // Groups before the user, who may not change them.
    // Of those that the image names, a container with users of its own may not have each.
    const known = plan.privateUsers ? account.groups.filter((gid) => gid < PRIVATE_IDS) : account.groups;
    kernel.setGroups([...new Set([...plan.supplementaryGIDs, ...known])]);
    kernel.setGid(account.gid);
  });
  // To install a filter takes CAP_SYS_ADMIN, or no_new_privs. execve then takes it from whom it is not meant for:
  // the bounding set has lost it, and an ordinary user's capabilities end there.
  const loads = filter !== undefined && !noNewPrivileges ? SYS_ADMIN : 0n;
  attempt("user", `become user ${account.uid}`, () => {
    if (loads !== 0n) kernel.keepCapabilities();
    kernel.setUid(account.uid);
    // The change of user has set it to what fs.suid_dumpable says. Until execve this process runs a program of stage 1;
    // with no more rights than other apps' root has, it would be theirs to trace, and the program to open by /proc/PID/exe.
    kernel.hide();
  });
  attempt("capabilities", "drop capabilities", () => {
    kernel.setCapabilities((account.uid === 0 ? bounding : 0n) | loads);
  });

  // As the app's user, whose access to it is what counts.
  changeDirectory(plan.workingDirectory, kernel);
  const [name = ""] = plan.argv;
  const program = kernel.findProgram(name, env["PATH"] ?? DEFAULT_PATH);

  if (noNewPrivileges) kernel.setNoNewPrivileges();
  // A change of user would undo it.
  if (plan.host !== undefined || "namespace" in plan.root) kernel.endWithParent(plan.host?.parent);

  // Under the filter this process can do no more than the app, and it does not see the attempt: what there is to be
  // said is found out before.
  const problem = kernel.findProblem(program);
  if (problem !== undefined && plan.filter !== "default" && plan.filter !== undefined)
    throw cannotExecute(program, problem, { hint: hint(plan, program) });
  // What the launcher used is not the app's, whose limits may be less than that.
  if (!plan.privateUsers) joinCgroups(cgroups, kernel);
  try {
    // The filter last, so that it need not allow the launcher's own calls. The helper, because the kernel looks the
    // program up, and the interpreter that a script names, while the other threads of this runtime still have the
    // root that stage 1 has, in fly the host's: `#!/proc/self/task/TID/root/...` would lead there, to files that the
    // app then has open (CVE-2019-5736, CVE-2024-21626). The helper has no other threads, and no other descriptors.
    const failures = failuresOf(plan, program, problem, kernel);
    return kernel.execute(helper, { path: program, argv: plan.argv, env, sockets: plan.listenFds }, failures, filter);
  } catch (error) {
    if (error instanceof SyscallError && error.syscall === "seccomp") throw noFilter(error);
    throw error;
  }
}

/** Who fails, as an error of the launcher's names it. */
export const whoFails = (app: string | undefined): string => (app === undefined ? "rkt" : `rkt: app ${printable(app)}`);

/** What the helper says when the program cannot be executed: what was seen before, else what the errno means. */
function failuresOf(plan: LaunchPlan, program: string, problem: string | undefined, kernel: Kernel): Failures {
  const who = whoFails(plan.app);
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

/** Less than it has takes CAP_SYS_RESOURCE, which the container itself may not have. */
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
