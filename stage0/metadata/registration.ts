/**
 * Where the metadata service of a data directory listens. While it runs it
 * holds a lock (flock(2)) on the file that says so.
 */

import { closeSync, constants, lstatSync, openSync, readFileSync } from "node:fs";
import { errorCode, RktError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { flock, LOCK_NB, LOCK_SH } from "../../shared/syscall/descriptor.ts";
import { hostEnvironment } from "../host/environment.ts";

/** Bytes of a token: twice what ace.md asks for. */
const TOKEN_LENGTH = 32;

/** The code of the error when a service was to be started, and was not. */
export const ASLEEP = "metadata-service-asleep";

export interface Wish {
  data: string;
  /** The container's: "host", "none", or what networks it has. */
  network: string;
  /** rkt's own argv, to start the service with when there is none. */
  program?: readonly string[] | undefined;
  /** A service that was started just now, and has not got far enough to be seen, is waited for. */
  wait?: boolean;
}

/**
 * AC_METADATA_URL for a new container: the service's URL and an unguessable token; or why it has none.
 *
 * The service is that of the container's own data directory: its lock is there, and the socket that wakes it too, so
 * that no service of another directory is taken for one that knows the container.
 */
export async function register({ data, network, program, wait = false }: Wish): Promise<string | RktError> {
  if (network === "none")
    return new RktError("no-network", "a container without a network cannot reach the metadata service", {
      hint: "give it one with --net, or leave --mds-register and --spawn-metadata-svc away",
    });
  const service = await runningService(data, program, wait);
  if (typeof service !== "string") return service;
  if (network !== "host" && isLoopback(service))
    return new RktError(
      "metadata-service-unreachable",
      `the metadata service listens on ${service}, which a container with a network of its own cannot reach`,
      { hint: "start it without --listen, or the container with --net=host" },
    );
  const bytes = process.getBuiltinModule("node:crypto").randomBytes(TOKEN_LENGTH);
  return `${service}/${bytes.toString("hex")}`;
}

const isLoopback = (url: string): boolean => /^http:\/\/(?:127\.|\[::1\])/.test(url);

/** The URL of the service, which is started if that can be done. */
async function runningService(
  data: string,
  program: readonly string[] | undefined,
  wait: boolean,
): Promise<string | RktError> {
  if (readService(data) === undefined) {
    const woken = await wake(data);
    if (woken !== undefined) return woken;
    if (program !== undefined) await start(data, program);
    else if (wait) await appearance(data);
  }
  const limit = Date.now() + START_LIMIT;
  while (readService(data) === "starting" && Date.now() < limit) await delay(10);
  return (
    readyService(data) ??
    new RktError("no-metadata-service", "the metadata service does not run", {
      hint: "start `rkt metadata-service`, or give --spawn-metadata-svc",
    })
  );
}

/**
 * Connects to the socket that systemd starts the service by, and waits for the service. Undefined when there is no
 * such socket, or nobody listens at it any more.
 */
async function wake(data: string): Promise<string | RktError | undefined> {
  const path = dataLayout(data).metadataActivation;
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return undefined;
  const { connect } = await import("node:net");
  const socket = connect({ path });
  let failure: string | undefined;
  socket.on("error", (error) => {
    failure = errorCode(error) ?? String(error);
  });
  // The service lets go when its lock and its URL are there; systemd, when it gives up starting it.
  let ended = false;
  socket.on("close", () => {
    ended = true;
  });
  socket.resume();
  try {
    const limit = Date.now() + WAKE_LIMIT;
    while (Date.now() < limit && !(ended && failure !== FULL)) {
      const service = readyService(data);
      if (service !== undefined) return service;
      await delay(10);
    }
  } finally {
    socket.destroy();
  }
  if (failure === "ECONNREFUSED" || failure === "ENOENT") return undefined;
  return (
    readyService(data) ??
    new RktError(ASLEEP, `the metadata service was to be started by ${path}, and did not`, {
      hint: `the journal of systemd's unit says why; it serves ${data} if it has that --dir`,
    })
  );
}

/** That so many wait for the service that nobody else can: it is being started. */
const FULL = "EAGAIN";

/** Undefined while it does not listen yet. */
function readyService(data: string): string | undefined {
  const service = readService(data);
  return service === "starting" ? undefined : service;
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

/** Resolves when a service is seen, or too much time has gone by: a program needs some until it has its lock. */
async function appearance(data: string): Promise<void> {
  const limit = Date.now() + APPEARANCE_LIMIT;
  while (readService(data) === undefined && Date.now() < limit) await delay(10);
}

/** Milliseconds that a service may take to begin, started by rkt, by systemd, or by somebody else. */
const START_LIMIT = 10_000;
const WAKE_LIMIT = 5000;
const APPEARANCE_LIMIT = 5000;

/** Resolves when a service has begun to start, this one or another that was faster. */
async function start(data: string, program: readonly string[]): Promise<void> {
  const { spawn } = await import("node:child_process");
  const [file = "", ...args] = program;
  // What keeps it from starting is said by `runningService`, in one line.
  const child = spawn(file, [...args, `--dir=${data}`, "--quiet", "metadata-service", "--idle-exit=10s"], {
    cwd: "/",
    env: hostEnvironment(),
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
