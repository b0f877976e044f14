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
    description: `where (${DEFAULT_LISTEN}); systemd's sockets of TCP when it gives any`,
  },
  "listen-port": { type: "string", exclusive: "address", value: "PORT", description: "port at the usual address" },
  "pid-file": { type: "string", value: "FILE", description: "write the process ID to a file while it listens" },
  "idle-exit": {
    type: "string",
    value: "DURATION",
    description: "end when no registered container has run for so long",
  },
} as const;

export const command: Command = {
  usage: "metadata-service [options]",
  description: `Serves the metadata of running containers to their apps, by HTTP, in the foreground: manifests, annotations, image IDs, and signatures by which containers prove to each other who they are (App Container specification, "Metadata Service").

A container that was run with --mds-register finds it in the variable AC_METADATA_URL, which holds a token of its own; a container with a network of its own is also known by its address. There is one service for a data directory.

systemd can start it: a Unix socket at metadata/activate.sock of the data directory is connected to by \`rkt run\` when no service runs (see docs/use/metadata-service.md).`,
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

  hurry();
  const listener = await listen(at, (request) => {
    const given = answer(request, pods, identity);
    if (globals.debug && given !== undefined)
      say(`${request.source} ${request.method} ${withoutToken(request.path)}: ${given.status}`);
    return given;
  });
  let shut: (() => void) | undefined;
  try {
    if (pidFile !== undefined) writeOutputFile(pidFile, `${process.pid}\n`);
    // The first answers take longest: an app that waits 100 ms is not to get them.
    store.list();
    for (let i = 0; i < WARM_UP; i++) await listener.ask("/acMetadata/v1/pod/uuid");
    announcement.publish(listener.url);
    shut = await listener.releaseWaiting();
    if (!globals.quiet) say(`metadata service at ${listener.url}`);
    const timer = idle === undefined ? undefined : endWhenIdle(pods.count, idle, stopped.resolve);
    await stopped.promise;
    clearInterval(timer);
  } finally {
    // First: who has connected and was not let go has the next service started.
    shut?.();
    announcement.withdraw();
    if (pidFile !== undefined) rmSync(pidFile, { force: true });
    await listener.close();
    store.close();
  }
}

/** Requests of its own that the service answers before it says that it is there. */
const WARM_UP = 20;

/** The least of the real-time priorities; and the nice value where there are none to be had. */
const PRIORITY = 1;
const NICENESS = -10;

/**
 * Apps wait 100 ms for an answer (the specification's own validators do), which takes one to make. A nice value alone
 * does not keep it below that on a busy host: the kernel first divides time between sessions (sched(7), autogroup). As
 * the service has one thread that answers, a flood of requests costs at most one processor, with either.
 */
function hurry(): void {
  // It is a thread's own: those of V8, which the main one waits for, are there already.
  for (const thread of readdirSync("/proc/self/task").map(Number)) {
    // Where there is one processor, requests without end would leave nothing of it for others.
    if (availableParallelism() > 1 && permitted(() => setRoundRobin(thread, PRIORITY))) continue;
    // Without CAP_SYS_NICE it is as fast as it is.
    permitted(() => setPriority(thread, NICENESS));
  }
}

/** Whether one may: containers, and cgroups of v1, can be without real time. */
function permitted(change: () => void): boolean {
  try {
    change();
    return true;
  } catch (error) {
    if (["EACCES", "EPERM", "ERR_SYSTEM_ERROR"].includes(errorCode(error) ?? "")) return false;
    throw error;
  }
}

/** The file that says where the service is; its lock, that it runs. Throws when another service holds it. */
function announce(data: string): { publish(url: string): void; withdraw(): void } {
  const path = dataLayout(data).metadataService;
  makeMetadataDirectory(data);
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  // Whoever looks whether a service runs has the lock for a moment too.
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

/** How often an idle service looks, in milliseconds. */
const LOOK = 1000;

function endWhenIdle(running: () => number, limit: number, end: () => void): NodeJS.Timeout {
  let since = Date.now();
  return setInterval(() => {
    if (running() > 0) since = Date.now();
    else if (Date.now() - since >= limit) end();
  }, LOOK);
}

/** A token is a secret; a log is not. */
const withoutToken = (path: string): string => path.replace(/^\/(?!acMetadata\/)[^/]*/, "/…");
