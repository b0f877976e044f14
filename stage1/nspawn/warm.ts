/** The program that helps a start (beside it: `rootfs`). */

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { hierarchies, ownCgroup } from "../../shared/cgroup-hierarchies.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { loaderCommand } from "./nspawn-args.ts";

/**
 * Starts the program that helps for the third of a second that a start takes: it keeps cgroup migrations quick, and an
 * order to stop from being lost. On v1 it stays in the caller's cgroups. On v2, this process is in the container's cgroup
 * by now. There the program would keep the container from its controllers, so it gets a cgroup of its own below.
 */
export function warm(version1: boolean): void {
  const own = readFileSync("/proc/self/cgroup", "utf8");
  const directories = hierarchies(readFileSync("/proc/self/mountinfo", "utf8")).flatMap((hierarchy) => {
    const path = ownCgroup(own, hierarchy);
    const unified = hierarchy.controllers.length === 0;
    return path === undefined || (!version1 && !unified) ? [] : [`${hierarchy.mountPoint}${path === "/" ? "" : path}`];
  });
  const [above] = directories;
  const directory = above === undefined || version1 ? above : `${above}/helper`;
  if (directory !== undefined && !version1) mkdirSync(directory);
  const procs = directory === undefined ? [] : [`${directory}/cgroup.procs`];
  const args = [containerLayout(".").inStage1(STAGE1.warm), String(process.pid), ...procs];
  const { path: program, argv } = loaderCommand("/usr/bin/luajit", args);
  // By a shell that ends at once: nspawn, which this process becomes, must not have a child that it does not know.
  const script = version1 ? 'shift; "$@" &' : 'echo $$ >"$1"; shift; "$@" &';
  const shell = ["sh", "-c", script, "sh", procs[0] ?? "/dev/null", program, ...argv.slice(1)];
  spawnSync(containerLayout(".").inStage1(STAGE1.busybox), shell, { env: {}, stdio: "ignore" });
}
