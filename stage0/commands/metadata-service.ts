import { closeSync, constants, openSync, readdirSync, rmSync, truncateSync, writeSync } from "node:fs";
import { availableParallelism, setPriority } from "node:os";
import { errorCode, RktError, usageError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { flock, LOCK_EX, LOCK_NB } from "../../shared/syscall/descriptor.ts";
import { setRoundRobin } from "../../shared/syscall/process.ts";
import { type Command, readLine } from "../cli/command.ts";
import { makeMetadataDirectory } from "../host/data-directory.ts";
import type { GlobalOptions } from "../cli/globals.ts";
import { DEFAULT_LISTEN } from "../metadata/server.ts";
import { writeOutputFile } from "../host/output-file.ts";
import { say } from "../terminal/output.ts";
import { duration } from "../cli/duration.ts";
import { sleep } from "../../shared/sleep.ts";

const options = {
  listen: {
    type: "string",
    exclusive: "address",
    value: "ADDRESS:PORT",
    description: `where to listen (${DEFAULT_LISTEN}); not used if systemd passes TCP sockets`,
  },
  "listen-port": { type: "string", exclusive: "address", value: "PORT", description: "port at the default address" },
  "pid-file": { type: "string", value: "FILE", description: "write the process ID to a file while it listens" },
  "idle-exit": {
    type: "string",
    value: "DURATION",
    description: "end when no registered container has run for so long",
  },
} as const;

export const command: Command = {
  usage: "metadata-service [options]",
  description: `Serves the metadata of running containers to their apps, by HTTP, in the foreground: manifests, annotations, image IDs, and signatures by which containers prove their identity to each other (App Container specification, "Metadata Service").

A container that was run with --mds-register finds the service in the variable AC_METADATA_URL, which holds the container's token. A container with its own network is also known by its address. There is one service for a data directory.

systemd can start it: if no service runs, \`rkt run\` connects to the Unix socket metadata/activate.sock of the data directory (see docs/use/metadata-service.md).`,
  examples: [
    ["rkt metadata-service &", "then: rkt run --mds-register IMAGE"],
    ["rkt metadata-service --listen-port=80", "where apps of 0.1.x look for it, without iptables"],
  ],
  options,
  operands: [0, 0],
  needsRoot: true,
  async run(line, globals) {
    const { options: given } = readLine(line, options);
    const idle = given["idle-exit"] === undefined ? undefined : duration("idle-exit", given["idle-exit"]);
    const port = given["listen-port"];
    if (port !== undefined && !/^\d{1,5}$/.test(port)) throw usageError(`--listen-port: ${port} is no port`);
    const at = given.listen ?? (port === undefined ? DEFAULT_LISTEN : DEFAULT_LISTEN.replace(/\d+$/, port));
    await serve(at, globals, given["pid-file"], idle);
  },
};

async function serve(at: string, globals: GlobalOptions, pidFile: string | undefined, idle: number | undefined) {
  const layout = dataLayout(globals.dir);
  const announcement = announce(globals.dir);
  const { openStore } = await import("../store/store.ts");
  const { openPods } = await import("../metadata/pods.ts");
  const { openIdentity } = await import("../metadata/identity.ts");
  const { answer } = await import("../metadata/service.ts");
  const { listen } = await import("../metadata/server.ts");

  const store = openStore(globals.dir);
  const pods = openPods(globals.dir, store);
  const identity = openIdentity(layout.metadataKey);
  const stopped = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopped.resolve());

  raisePriority();
  const listener = await listen(at, (request) => {
    const given = answer(request, pods, identity);
    if (globals.debug && given !== undefined)
      say(`${request.source} ${request.method} ${withoutToken(request.path)}: ${given.status}`);
    return given;
  });
  let shut: (() => void) | undefined;
  try {
    if (pidFile !== undefined) writeOutputFile(pidFile, `${process.pid}\n`);
    // The first answers are slow, so the service asks itself for them: an app may wait only 100 ms.
    store.list();
    for (let i = 0; i < WARM_UP; i++) await listener.ask("/acMetadata/v1/pod/uuid");
    announcement.publish(listener.url);
    shut = await listener.releaseWaiting();
    if (!globals.quiet) say(`metadata service at ${listener.url}`);
    const timer = idle === undefined ? undefined : endWhenIdle(pods.count, idle, stopped.resolve);
    await stopped.promise;
    clearInterval(timer);
  } finally {
    // First of all: clients that connect from now on make systemd start the next service.
    shut?.();
    announcement.withdraw();
    if (pidFile !== undefined) rmSync(pidFile, { force: true });
    await listener.close();
    store.close();
  }
}

/** Requests that the service sends to itself before it publishes its URL. */
const WARM_UP = 20;

/** The lowest real-time priority, and the nice value that is set if that is not available. */
const PRIORITY = 1;
const NICENESS = -10;

/**
 * Raises the priority of this process. Apps wait 100 ms for an answer (the specification's own validators do); to make
 * one takes 1 ms. On a busy host a nice value alone is not enough, because the kernel first divides time between
 * sessions (sched(7), autogroup). Only one thread answers, so a flood of requests uses one processor at most.
 */
function raisePriority(): void {
  // A priority belongs to a thread. V8's threads, for which the main one waits, exist already.
  for (const thread of readdirSync("/proc/self/task").map(Number)) {
    // Not with a single processor: a flood of requests would leave no time for other processes.
    if (availableParallelism() > 1 && permitted(() => setRoundRobin(thread, PRIORITY))) continue;
    // Without CAP_SYS_NICE the priority stays as it is.
    permitted(() => setPriority(thread, NICENESS));
  }
}

/** Makes a change; false if that is not permitted: containers and v1 cgroups may have no real-time priority. */
function permitted(change: () => void): boolean {
  try {
    change();
    return true;
  } catch (error) {
    if (["EACCES", "EPERM", "ERR_SYSTEM_ERROR"].includes(errorCode(error) ?? "")) return false;
    throw error;
  }
}

/** Locks the file for the service's URL; the lock says that the service runs. Throws if another service holds it. */
function announce(data: string): { publish(url: string): void; withdraw(): void } {
  const path = dataLayout(data).metadataService;
  makeMetadataDirectory(data);
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  // A process that checks whether a service runs holds the lock for a moment, too.
  let mine = flock(fd, LOCK_EX | LOCK_NB);
  for (let i = 0; i < 10 && !mine; i++) {
    sleep(10);
    mine = flock(fd, LOCK_EX | LOCK_NB);
  }
  if (!mine) {
    closeSync(fd);
    throw new RktError("already-running", `a metadata service of ${data} runs already`, {
      hint: `${path} says where`,
    });
  }
  truncateSync(path);
  return {
    publish: (url) => writeSync(fd, `${url}\n`),
    withdraw: () => closeSync(fd),
  };
}

/** Milliseconds between two checks whether the service is idle. */
const IDLE_CHECK = 1000;

function endWhenIdle(running: () => number, limit: number, end: () => void): NodeJS.Timeout {
  let since = Date.now();
  return setInterval(() => {
    if (running() > 0) since = Date.now();
    else if (Date.now() - since >= limit) end();
  }, IDLE_CHECK);
}

/** Hides the token in a path, because it is a secret. */
const withoutToken = (path: string): string => path.replace(/^\/(?!acMetadata\/)[^/]*/, "/…");
