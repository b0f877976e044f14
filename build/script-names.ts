/**
 * Fills in the names in the scripts of the stage1 images. A script has a placeholder, `@NAME@` or `@NAME:ARGUMENT@`,
 * for each name that it shares with our programs. The build replaces it by the value in shared/contract/.
 */

import { readFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { readTree, type Tree } from "../shared/aci/tree.ts";
import { RktError } from "../shared/errors.ts";
import { containerLayout } from "../shared/contract/container-directory.ts";
import { ENV_ENTER_FDS, ENV_STOP_TIME, ENV_STREAMS_FDS } from "../shared/contract/environment.ts";
import { LOG_BEFORE, LOG_MARK } from "../shared/contract/logs.ts";
import { STAGE1, STDIO, SYSLOG_SOCKET } from "../shared/contract/stage1-root.ts";
import { ALIVE_UNIT, APP_UNIT, APPS_SLICE, appUnitCgroup } from "../shared/contract/units.ts";
import { ROOT } from "./paths.ts";

/** Paths relative to the container directory. */
const layout = containerLayout(".");
const here = (path: string): string => path.replace(/^\.\//, "");

/** A function gets the placeholder's argument: an app's name, or a shell's expansion that becomes one. */
export const SCRIPT_NAMES: Readonly<Record<string, string | ((argument: string) => string)>> = {
  // In the stage1 root.
  BASE: STAGE1.base,
  STATUS: STAGE1.status,
  APP_STATUS: STAGE1.appStatus,
  EXIT_STATUS_FILE: STAGE1.exitStatus,
  SYSCTL: STAGE1.sysctl,
  TERMINAL: STAGE1.terminal,
  PROC: STAGE1.proc,
  STOP_TIMEOUT: STAGE1.stopTimeout,
  STOP_TIMEOUT_NAME: basename(STAGE1.stopTimeout),
  HOST_APP: STAGE1.hostApp,
  HOST_APP_NAME: basename(STAGE1.hostApp),
  HOST_STOP_NAME: basename(STAGE1.hostStop),
  HOST_POST_STOP_NAME: basename(STAGE1.hostPostStop),
  // Programs.
  PROGRAMS: STAGE1.programs,
  BIN: STAGE1.bin,
  BUSYBOX: STAGE1.busybox,
  LIBRARY_IN_PROGRAMS: relative(STAGE1.programs, STAGE1.library),
  LAUNCHER: STAGE1.launcher,
  HOST_LAUNCHER: STAGE1.hostLauncher,
  HOST_LAUNCHER_NAME: basename(STAGE1.hostLauncher),
  RECORD: STAGE1.record,
  LEFT_OVER: STAGE1.leftOver,
  RELAY: STAGE1.relay,
  LUA: STAGE1.lua,
  LUA_NAME: basename(STAGE1.lua),
  STREAMS_NAME: basename(STAGE1.streams),
  // Streams and logs.
  STDIO: STAGE1.stdio,
  CONTROL: STDIO.control,
  DONE: STDIO.done,
  OUTPUT_NAME: (app) => STDIO.output(app, "stdout"),
  ERROR_NAME: (app) => STDIO.output(app, "stderr"),
  INPUT_NAME: STDIO.input,
  NONE_NAME: STDIO.none,
  SYSLOG_NAME: STDIO.syslog,
  SYSLOG_SOCKET,
  APP_STDERR: STAGE1.appStderr,
  APP_OUTPUT_LOG: (app) => STAGE1.appLog(app, "stdout"),
  APP_ERROR_LOG: (app) => STAGE1.appLog(app, "stderr"),
  LOG_BEFORE,
  LOG_WHOLE: LOG_MARK.whole,
  LOG_PART: LOG_MARK.part,
  // Units.
  UNITS: STAGE1.units,
  ALIVE_UNIT,
  APPS_SLICE,
  APP_CGROUP: appUnitCgroup,
  APP_UNIT_PREFIX: APP_UNIT.prefix,
  APP_UNIT_SUFFIX: APP_UNIT.suffix,
  // Variables.
  ENV_ENTER_FDS,
  ENV_STOP_TIME,
  ENV_STREAMS_FDS,
  // In the container directory, where scripts of the fly flavor run.
  HERE_ROOT: here(layout.stage1Rootfs),
  HERE_PID: here(layout.pid),
  HERE_READY: here(layout.ready),
  HERE_APP_STATUS: (app) => here(layout.appStatus(app)),
};

const PLACEHOLDER = /@([A-Z][A-Z0-9_]+)(?::([^@\s]+))?@/g;
/** A text that looks like the beginning of a placeholder. A shell's "$@" does not match. */
const LEFT = /@[A-Z][A-Z0-9_]+\S*/;

/** Replaces all placeholders in a text; `file` is its name in errors. */
export function expandNames(text: string, file: string): string {
  const lines = text.split("\n").map((line, i) => {
    const refuse = (what: string) =>
      new RktError("bad-placeholder", `${file}:${i + 1}: ${what}`, {
        hint: "build/script-names.ts has the placeholders: @NAME@, or @NAME:ARGUMENT@ where the value is made of one",
      });
    const expanded = line.replace(PLACEHOLDER, (whole, name: string, argument?: string) => {
      const value = Object.hasOwn(SCRIPT_NAMES, name) ? SCRIPT_NAMES[name] : undefined;
      if (value === undefined) throw refuse(`there is no placeholder ${whole}`);
      if (typeof value === "string") {
        if (argument !== undefined) throw refuse(`the placeholder ${whole} takes no argument`);
        return value;
      }
      if (argument === undefined) throw refuse(`the placeholder ${whole} needs an argument`);
      return value(argument);
    });
    const left = LEFT.exec(expanded);
    if (left !== null) throw refuse(`${left[0]} is no whole placeholder`);
    return expanded;
  });
  return lines.join("\n");
}

/**
 * Reads a directory of the sources, with the names in its scripts filled in. The result depends only on what git has:
 * not on the umask or user of the checkout, nor on empty directories. Links and binary files are not changed.
 */
export function stage1Assets(directory: string): Tree {
  const tree = readTree(join(ROOT, directory));
  const files = [...tree].filter(([, entry]) => entry.type !== "directory").map(([path]) => path);
  const known = [...tree].filter(
    ([path, entry]) => entry.type !== "directory" || path === "" || files.some((file) => file.startsWith(`${path}/`)),
  );
  return new Map(
    known.map(([path, entry]) => {
      const mode = entry.type === "symlink" ? 0o777 : entry.type === "directory" || entry.mode & 0o111 ? 0o755 : 0o644;
      const owned = { ...entry, mode, uid: 0, gid: 0 };
      return [path, owned.type === "file" ? { ...owned, content: expandedFile(join(directory, path)) } : owned];
    }),
  );
}

function expandedFile(file: string): Buffer {
  const bytes = readFileSync(join(ROOT, file));
  return bytes.includes(0) ? bytes : Buffer.from(expandNames(bytes.toString("latin1"), file), "latin1");
}
