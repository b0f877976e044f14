/** Signs with the user's own gpg, and so with its keys, agent and cards. */

import { spawnSync } from "node:child_process";
import { closeSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { isatty } from "node:tty";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { OutputFile } from "../../shared/output-file.ts";
import { distrustAbove, distrustOf } from "../../shared/trusted-path.ts";
import { callersMode } from "../host/caller-mask.ts";
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
  const above = distrustAbove(home);
  const why = above === undefined ? distrustOf(statSync(home)) : undefined;
  if (above === undefined && why === undefined) return home;
  const what = above === undefined ? `${home} ${why}` : `${home} lies below ${above.path}, which ${above.why}`;
  throw new RktError("not-signed", `cannot sign: gpg's directory ${what}`, { hint: HOME_HINT });
}

const HOME_HINT = "GNUPGHOME (else .gnupg in HOME) must name a directory of the user who runs rkt; nothing was written";

/** The environment of gpg and its agent: the directory of the keys, and the terminal for the passphrase. */
function gpgEnvironment(home: string): Record<string, string> {
  // gpg takes the terminal of its standard input otherwise, which is the file to sign.
  const { GPG_TTY: terminal = isatty(0) ? readlinkSync("/proc/self/fd/0") : undefined } = callersEnvironment();
  return { ...hostEnvironment(), GNUPGHOME: home, HOME: dirname(home), ...(terminal ? { GPG_TTY: terminal } : {}) };
}

/**
 * Makes a detached, armored signature of `file` at `output`; `key` is what gpg calls a user ID, "" its default key. gpg
 * knows no names: in a directory of others they might lead elsewhere by the time it opens them, and another file be signed.
 */
export function signWithGpg(file: OutputFile, output: string, key: string): void {
  const env = gpgEnvironment(gpgHome());
  const by = key === "" ? [] : ["--local-user", key];
  const signature = new OutputFile(output, { mode: callersMode(0o666) });
  const input = file.openToRead();
  try {
    // gpg may ask for a passphrase: on the terminal, which it finds by GPG_TTY.
    const { error, status, signal } = spawnSync("gpg", ["--armor", "--detach-sign", ...by], {
      env,
      stdio: [input, signature.fd, "inherit"],
    });
    if (error !== undefined || status !== 0) throw notSigned(error, signal ?? `status ${status}`);
    signature.place({ overwrite: true, flush: true });
  } finally {
    closeSync(input);
    signature.close();
  }
}

function notSigned(error: Error | undefined, end: string): RktError {
  const missing = errorCode(error) === "ENOENT";
  return new RktError("not-signed", missing ? "cannot sign: there is no gpg" : `cannot sign: gpg ended with ${end}`, {
    hint: missing ? "install gnupg" : "nothing was written; `gpg --list-secret-keys` shows the keys there are",
    cause: error,
  });
}
