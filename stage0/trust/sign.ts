/** Signs with the user's own gpg, and so with its keys, agent and cards. */

import { spawnSync } from "node:child_process";
import { realpathSync, renameSync, statSync } from "node:fs";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { beside } from "../../shared/beside.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { removeAttempt } from "../host/remove-attempt.ts";
import { hostEnvironment } from "../host/environment.ts";

/**
 * gpg's directory, with all links resolved. gpg runs programs that files in it name (gpg.conf, gpg-agent.conf), and
 * sudo may keep another user's HOME or GNUPGHOME: a user who can write in the directory could make root run a program.
 */
function gpgHome(): string {
  const { GNUPGHOME: given, HOME: ofUser = userInfo().homedir } = callersEnvironment();
  const named = given === undefined || given === "" ? join(ofUser, ".gnupg") : given;
  let home: string;
  try {
    home = realpathSync(named);
  } catch (cause) {
    throw new RktError("not-signed", `cannot sign: gpg's directory: ${errorText(cause)}`, { hint: HOME_HINT, cause });
  }
  const self = process.geteuid?.() ?? 0;
  // An ordinary user's group often has no other member, so it may write. Root trusts no group.
  const others = self === 0 ? 0o022 : 0o002;
  for (let dir = home; ; dir = dirname(dir)) {
    const { uid, mode } = statSync(dir);
    const why =
      uid !== 0 && uid !== self
        ? `belongs to user ${uid}, and rkt runs as user ${self}`
        : (mode & others) !== 0 && (dir === home || (mode & STICKY) === 0)
          ? "can be changed by others"
          : undefined;
    if (why !== undefined) {
      const what = dir === home ? home : `${home} lies below ${dir}, which`;
      throw new RktError("not-signed", `cannot sign: gpg's directory ${what} ${why}`, { hint: HOME_HINT });
    }
    if (dir === dirname(dir)) return home;
  }
}

const HOME_HINT = "GNUPGHOME (else .gnupg in HOME) must name a directory of the user who runs rkt; nothing was written";
const STICKY = 0o1000;

/** The environment of gpg and its agent: the directory of the keys, and the terminal for the passphrase. */
function gpgEnvironment(home: string): Record<string, string> {
  const { GPG_TTY: terminal } = callersEnvironment();
  return { ...hostEnvironment(), GNUPGHOME: home, HOME: dirname(home), ...(terminal ? { GPG_TTY: terminal } : {}) };
}

/** Writes a detached, armored signature of `file` to `output`. `key` is a user ID of gpg's; "" is its default key. */
export function signWithGpg(file: string, output: string, key: string): void {
  const env = gpgEnvironment(gpgHome());
  const temporary = beside(output);
  const by = key === "" ? [] : ["--local-user", key];
  // gpg may ask for a passphrase on the terminal.
  const { error, status, signal } = spawnSync(
    "gpg",
    ["--armor", "--detach-sign", "--output", temporary, ...by, "--", file],
    { env, stdio: ["inherit", "ignore", "inherit"] },
  );
  if (error !== undefined || status !== 0) {
    removeAttempt(temporary);
    const missing = errorCode(error) === "ENOENT";
    throw new RktError(
      "not-signed",
      missing ? "cannot sign: there is no gpg" : `cannot sign: gpg ended with ${signal ?? `status ${status}`}`,
      {
        hint: missing ? "install gnupg" : "nothing was written; `gpg --list-secret-keys` shows the keys there are",
        cause: error,
      },
    );
  }
  renameSync(temporary, output);
}
