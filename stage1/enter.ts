/**
 * `enter --pid=PID --app=NAME -- COMMAND…`: runs a command in an app of a
 * running container, by the launcher's own path, so that everything that
 * holds for the app holds for the command: cgroup, root, user, capabilities,
 * seccomp filter. Ends by becoming nsenter(1), whose exit status is the command's.
 *
 * Nothing of the container runs before the launcher has dropped what the app
 * has not: nsenter and the launcher are the stage1 image's.
 */

import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { errorText, RktError } from "../shared/errors.ts";
import { execve } from "../shared/exec.ts";
import { STAGE1 } from "../shared/layout.ts";
import { hierarchies, ownCgroup } from "./cgroups.ts";
import { readContainer } from "./container.ts";
import { loaderCommand } from "./nspawn-args.ts";
import { appUnit } from "./units.ts";

export interface EnterRequest {
  /** The process that holds the container's lock. */
  pid: number;
  app: string;
  command: readonly string[];
}

export function parseEnter(args: readonly string[]): EnterRequest {
  const end = args.indexOf("--");
  const options = new Map(
    args.slice(0, end < 0 ? undefined : end).map((arg) => arg.replace(/^--/, "").split("=", 2) as [string, string]),
  );
  const pid = Number(options.get("pid"));
  const app = options.get("app");
  const command = end < 0 ? [] : args.slice(end + 1);
  if (!Number.isInteger(pid) || pid <= 1 || app === undefined || command.length === 0)
    throw new RktError("usage", "usage: enter --pid=PID --app=NAME -- COMMAND [ARGUMENT…]");
  return { pid, app, command };
}

export function enter(args: readonly string[]): never {
  const request = parseEnter(args);
  const { manifest } = readContainer();
  if (!manifest.apps.some((app) => app.name === request.app))
    throw new RktError("no-such-app", `the container has no app "${request.app}"`, {
      hint: `there are: ${manifest.apps.map((app) => app.name).join(", ")}`,
    });
  const target = leader(request.pid);
  joinAppCgroup(target, request.app);
  const { path, argv } = loaderCommand("/usr/bin/nsenter", [
    `--target=${target}`,
    "--mount",
    "--uts",
    "--ipc",
    "--net",
    "--pid",
    "--cgroup",
    "--",
    STAGE1.launcher,
    request.app,
    "enter",
    ...request.command,
  ]);
  const term = process.env["TERM"];
  execve(path, argv, { PATH: "/usr/bin", ...(term === undefined ? {} : { TERM: term }) });
}

/** The container's PID 1 as the host sees it: the child of the lock's holder that is 1 in a namespace of its own. */
function leader(pid: number): number {
  const own = readlinkSync(`/proc/${pid}/ns/pid`);
  for (const child of readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")) {
    if (!/^\d+$/.test(child)) continue;
    try {
      if (
        readlinkSync(`/proc/${child}/ns/pid`) !== own &&
        /^NSpid:.*\t1$/m.test(readFileSync(`/proc/${child}/status`, "utf8"))
      )
        return Number(child);
    } catch {
      // It ended meanwhile.
    }
  }
  throw new RktError("not-running", "the container has no first process", {
    hint: "it is starting or ending: try again",
  });
}

/**
 * Moves this process to the app's cgroup in every hierarchy, before it joins
 * the container's cgroup namespace. systemd makes `system.slice/app-NAME.service`
 * beside the `init.scope` of PID 1.
 */
function joinAppCgroup(leaderPid: number, app: string): void {
  const cgroupFile = readFileSync(`/proc/${leaderPid}/cgroup`, "utf8");
  for (const hierarchy of hierarchies(readFileSync("/proc/self/mountinfo", "utf8"))) {
    const path = ownCgroup(cgroupFile, hierarchy);
    if (path === undefined) continue;
    const procs = `${hierarchy.mountPoint}${path.replace(/\/init\.scope$/, "")}/system.slice/${appUnit(app)}/cgroup.procs`;
    try {
      writeFileSync(procs, "0");
    } catch (error) {
      // Controllers systemd does not use for the app: there it is where PID 1 is.
      try {
        writeFileSync(`${hierarchy.mountPoint}${path}/cgroup.procs`, "0");
      } catch (second) {
        throw new RktError("not-running", `cannot join the cgroup of app ${app}: ${errorText(error)}`, {
          cause: second,
        });
      }
    }
  }
}
