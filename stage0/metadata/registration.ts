/**
 * Where the metadata service of a data directory listens. While it runs it
 * holds a lock (flock(2)) on the file that says so.
 */

import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { errorCode, RktError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/layout.ts";
import { flock, LOCK_NB, LOCK_SH } from "../../shared/syscall/linux.ts";

/** Bytes of a token: twice what ace.md asks for. */
const TOKEN_LENGTH = 32;

/** AC_METADATA_URL for a new container: the service's URL and an unguessable token. Undefined when none runs. */
export function metadataUrl(data: string): string | undefined {
  const service = readService(data);
  if (service === undefined || service === "starting") return undefined;
  const bytes = process.getBuiltinModule("node:crypto").randomBytes(TOKEN_LENGTH);
  return `${service}/${bytes.toString("hex")}`;
}

export function requireService(data: string): void {
  const service = readService(data);
  if (service === undefined || service === "starting")
    throw new RktError("no-metadata-service", "the metadata service does not run", {
      hint: "start `rkt metadata-service`, or give --spawn-metadata-svc",
    });
}

/** The service's URL; undefined when none runs. */
function readService(data: string): string | "starting" | undefined {
  const path = dataLayout(data).metadataService;
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    if (flock(fd, LOCK_SH | LOCK_NB)) return undefined;
    return readFileSync(fd, "utf8").trim() || "starting";
  } finally {
    closeSync(fd);
  }
}

/** Milliseconds that a service may take to begin. */
const START_LIMIT = 10_000;

/** Starts the service if it does not run, and waits until it listens. It ends by itself when no container needs it. */
export async function spawnService(data: string, program: readonly string[]): Promise<void> {
  if (readService(data) === undefined) await start(data, program);
  const limit = Date.now() + START_LIMIT;
  while (readService(data) === "starting" && Date.now() < limit) await delay(10);
}

/** Resolves when a service has begun to start, this one or another that was faster. */
async function start(data: string, program: readonly string[]): Promise<void> {
  const { spawn } = await import("node:child_process");
  const [file = "", ...args] = program;
  // What keeps it from starting is said by `requireService`, in one line.
  const child = spawn(file, [...args, `--dir=${data}`, "--quiet", "metadata-service", "--idle-exit=10s"], {
    cwd: "/",
    detached: true,
    stdio: "ignore",
  });
  let ended = false;
  child.once("close", () => {
    ended = true;
  });
  child.once("error", () => {
    ended = true;
  });
  child.unref();
  while (!ended && readService(data) === undefined) await delay(5);
}

const delay = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
