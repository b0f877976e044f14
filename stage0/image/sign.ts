/** Signatures by the person's own gpg, with the keys, agent and cards that it knows. */

import { spawnSync } from "node:child_process";
import { renameSync } from "node:fs";
import { beside } from "../../shared/beside.ts";
import { errorCode, RktError } from "../../shared/errors.ts";
import { discard } from "../discard.ts";
import { hostEnvironment } from "../environment.ts";

/** Makes a detached, armored signature of `file` at `output`; `key` is what gpg calls a user ID, "" its default key. */
export function signWithGpg(file: string, output: string, key: string): void {
  const temporary = beside(output);
  const by = key === "" ? [] : ["--local-user", key];
  // gpg may ask for a passphrase on the terminal.
  const { error, status, signal } = spawnSync(
    "gpg",
    ["--armor", "--detach-sign", "--output", temporary, ...by, "--", file],
    { env: hostEnvironment(), stdio: ["inherit", "ignore", "inherit"] },
  );
  if (error !== undefined || status !== 0) {
    discard(temporary);
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
