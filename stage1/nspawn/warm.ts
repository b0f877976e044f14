/** The program that helps a start (beside it: `rootfs`). */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { hierarchies, ownCgroup } from "../../shared/cgroup-hierarchies.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { loaderCommand } from "./nspawn-args.ts";

/**
 * Starts the program that helps for the third of a second that a start takes, in the caller's cgroup: it keeps cgroup
 * migrations quick, and an order to stop from being lost.
 */
export function warm(): void {
  const own = readFileSync("/proc/self/cgroup", "utf8");
  const procs = hierarchies(readFileSync("/proc/self/mountinfo", "utf8")).flatMap((hierarchy) => {
    const path = ownCgroup(own, hierarchy);
    return path === undefined ? [] : [`${hierarchy.mountPoint}${path === "/" ? "" : path}/cgroup.procs`];
  });
  const args = [containerLayout(".").inStage1(STAGE1.warm), String(process.pid), ...procs.slice(0, 1)];
  const { path: program, argv } = loaderCommand("/usr/bin/luajit", args);
  // By a shell that ends at once: nspawn, which this process becomes, must not have a child that it does not know.
  const shell = ["sh", "-c", '"$@" &', "sh", program, ...argv.slice(1)];
  spawnSync(containerLayout(".").inStage1(STAGE1.busybox), shell, { env: {}, stdio: "ignore" });
}
