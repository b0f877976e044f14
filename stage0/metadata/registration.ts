/**
 * Registers a new container with the metadata service of its data directory, and starts the service if necessary. A
 * running service writes its URL to a file, and holds a lock (flock(2)) on that.
 */

import { closeSync, constants, lstatSync, openSync, readFileSync } from "node:fs";
import { errorCode, RktError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { flock, LOCK_NB, LOCK_SH } from "../../shared/syscall/descriptor.ts";
import { hostEnvironment } from "../host/environment.ts";

/** Bytes of a token: twice as many as ace.md demands. */
const TOKEN_LENGTH = 32;

/** The code of the error if systemd did not start the service. */
export const ASLEEP = "metadata-service-asleep";

export interface RegistrationRequest {
  data: string;
  /** The container's network: "host", "none", or its networks. */
  network: string;
  /** rkt's own argv: starts the service if none runs. */
  program?: readonly string[] | undefined;
  /** Wait for a service that was started just now, and has no lock yet. */
  wait?: boolean;
}

/**
 * Makes AC_METADATA_URL for a new container: the service's URL and a random token. Returns an error if it can have
 * none.
 *
 * Only the service of the container's own data directory knows the container. So the service's lock, and the socket
 * that starts it, are in that directory.
 */
export async function register({
  data,
  network,
  program,
  wait = false,
}: RegistrationRequest): Promise<string | RktError> {
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

/** The URL of the service. Starts the service if it can. */
async function runningService(
  data: string,
  program: readonly string[] | undefined,
  wait: boolean,
): Promise<string | RktError> {
  if (readService(data) === undefined) {
    const woken = await startBySystemd(data);
    if (woken !== undefined) return woken;
    if (program !== undefined) await start(data, program);
    else if (wait) await untilSeen(data);
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
 * Connects to the socket by which systemd starts the service, and waits for the service. Undefined if there is no such
 * socket, or nobody listens on it any more.
 */
async function startBySystemd(data: string): Promise<string | RktError | undefined> {
  const path = dataLayout(data).metadataActivation;
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return undefined;
  const { connect } = await import("node:net");
  const socket = connect({ path });
  let failure: string | undefined;
  socket.on("error", (error) => {
    failure = errorCode(error) ?? String(error);
  });
  // The service closes the connection when it has its lock and its URL; systemd closes it if it can't start the
  // service.
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
    new RktError(ASLEEP, `systemd did not start the metadata service at a connection to ${path}`, {
      hint: `the journal of systemd's unit says why; it serves ${data} if it has that --dir`,
    })
  );
}

/** The socket's queue is full of clients that wait, so the service is being started. */
const FULL = "EAGAIN";

/** The URL of a service that listens already. */
function readyService(data: string): string | undefined {
  const service = readService(data);
  return service === "starting" ? undefined : service;
}

/** The service's URL; undefined if none runs. */
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

/** Waits until a service has its lock, or the time is over. */
async function untilSeen(data: string): Promise<void> {
  const limit = Date.now() + APPEARANCE_LIMIT;
  while (readService(data) === undefined && Date.now() < limit) await delay(10);
}

/** Milliseconds that a service may take to start: one that rkt starts, one of systemd, and one of another process. */
const START_LIMIT = 10_000;
const WAKE_LIMIT = 5000;
const APPEARANCE_LIMIT = 5000;

/** Starts a service, and waits until it, or another one that was faster, has its lock. */
async function start(data: string, program: readonly string[]): Promise<void> {
  const { spawn } = await import("node:child_process");
  const [file = "", ...args] = program;
  // `runningService` reports a failure, in one line.
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
