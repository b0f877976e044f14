/**
 * The metadata service's HTTP server. It listens on systemd's sockets (sd_listen_fds(3)), or on an address that also
 * containers with their own network can reach.
 */

import { spawnSync } from "node:child_process";
import { createServer, get, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createDoor, isIP, type Server as NetServer, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { errorCode, RktError, usageError } from "../../shared/errors.ts";
import { AF_UNIX, socketFamily } from "../../shared/syscall/descriptor.ts";
import type { Answer, MetadataRequest } from "./service.ts";
import { HOST_ENVIRONMENT } from "../../shared/program.ts";

/**
 * By convention of the specification's first versions; the port is rkt's. Nobody but root binds one below 1024: whoever had it
 * while the service is not there would get the tokens of its containers. And none that bindresvport(3) gives, from 512 on.
 */
export const DEFAULT_LISTEN = "169.254.169.255:330";

/** Limits for clients. */
export interface Limits {
  /** Bytes of a request's body: what an app wants signed. */
  body: number;
  /** Bytes of a request's line and headers. */
  head: number;
  /** Milliseconds for a whole request, and for each pause. */
  time: number;
  /**
   * Simultaneous connections. If there is one more, the server closes the one that has been silent for longest, of the
   * address with most connections. So a client that hoards connections loses them, and others do not notice.
   */
  connections: number;
  /**
   * Simultaneous connections of one address; one more closes its longest silent one. Bounds its bodies in memory, too.
   */
  connectionsOfAddress: number;
}

const LIMITS: Limits = {
  body: 1024 * 1024,
  head: 16 * 1024,
  time: 10_000,
  connections: 1024,
  connectionsOfAddress: 128,
};

export interface Listener {
  /** Without a slash at the end. */
  url: string;
  /**
   * Closes the connections of clients that have connected to make systemd start the service; before this call they
   * wait. Returns a function that stops it.
   */
  releaseWaiting(): Promise<() => void>;
  /** Sends a request to this server itself, as an app would, and ignores the result. */
  ask(path: string): Promise<void>;
  /** Stops listening, and removes the address if it was added. */
  close(): Promise<void>;
}

/** Undefined: the body is needed for the answer. */
export type Respond = (request: MetadataRequest) => Answer | undefined;

/**
 * Listens on systemd's TCP sockets, or, if there are none, on an address. A Unix socket of systemd's is only there so
 * that a connection to it makes systemd start the service (see registration.ts).
 */
export async function listen(at: string, respond: Respond, limits: Limits = LIMITS): Promise<Listener> {
  const { addresses, wakers } = inheritedSockets();
  const servers: Server[] = [];
  let added: string | undefined;
  for (const fd of addresses) servers.push(await bind(httpServer(respond, limits), { fd }));
  if (addresses.length === 0) {
    const { host, port } = parseAddress(at);
    added = addAddress(host);
    try {
      servers.push(await bind(httpServer(respond, limits), { host, port }));
    } catch (error) {
      if (added !== undefined) removeAddress(added);
      throw new RktError("cannot-listen", `cannot listen on ${at}: ${errorCode(error) ?? error}`, {
        hint: "--listen=ADDRESS:PORT chooses another address",
        cause: error,
      });
    }
  }
  return {
    url: urlOf(servers[0]?.address()),
    async releaseWaiting() {
      const doors: NetServer[] = [];
      for (const fd of wakers)
        doors.push(
          await bind(
            createDoor((socket) => socket.destroy()),
            { fd },
          ),
        );
      return () => {
        for (const door of doors) door.close();
      };
    },
    ask(path) {
      const url = new URL(path, urlOf(servers[0]?.address()));
      return new Promise((resolve) => {
        const options = { agent: false, timeout: 1000, headers: { "Metadata-Flavor": "AppContainer" } };
        const request = get(url, options, (response) => response.resume().once("close", resolve));
        // An error is ignored: containers may reach the address even if the host can't.
        request.once("timeout", () => request.destroy()).once("error", () => resolve());
      });
    },
    async close() {
      for (const server of servers) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
      if (added !== undefined) removeAddress(added);
    },
  };
}

function urlOf(address: ReturnType<Server["address"]> | undefined): string {
  if (typeof address !== "object" || address === null) throw new Error(`${address} is no address of TCP`);
  return `http://${isIP(address.address) === 6 ? `[${address.address}]` : address.address}:${address.port}`;
}

/** SD_LISTEN_FDS_START. */
const FIRST_FD = 3;

/** systemd's sockets, by family; their names and order do not matter. */
function inheritedSockets(): { addresses: number[]; wakers: number[] } {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = callersEnvironment();
  const length = pid === String(process.pid) ? Number(count) : 0;
  const fds = Array.from({ length }, (_, i) => FIRST_FD + i);
  return {
    addresses: fds.filter((fd) => socketFamily(fd) !== AF_UNIX),
    wakers: fds.filter((fd) => socketFamily(fd) === AF_UNIX),
  };
}

function httpServer(respond: Respond, limits: Limits): Server {
  const { body, head, time } = limits;
  const server = createServer({
    maxHeaderSize: head,
    requestTimeout: time,
    headersTimeout: time,
    keepAliveTimeout: time / 2,
    connectionsCheckingInterval: time / 10,
  });
  server.setTimeout(time);
  const speaks = boundConnections(server, limits);
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    speaks(request.socket);
    serve(request, response, respond, body).catch(() => response.destroy());
  };
  server.on("request", onRequest);
  server.on("checkContinue", onRequest);
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    const status = REFUSALS[error.code ?? ""] ?? "400 Bad Request";
    if (socket.writable && socket.bytesWritten === 0)
      socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    socket.destroySoon();
  });
  return server;
}

/**
 * Closes connections when there are too many, in all or from one address, so that a container that hoards them does not
 * affect others. Returns a function that must be called when a connection sends a request.
 */
function boundConnections(server: Server, { connections, connectionsOfAddress }: Limits): (socket: Socket) => void {
  // The open connections of each address, the one that has been silent for longest first.
  const open = new Map<string, Set<Socket>>();
  let count = 0;
  const leave = (address: string, socket: Socket) => {
    const own = open.get(address);
    if (!own?.delete(socket)) return;
    count--;
    if (own.size === 0) open.delete(address);
  };
  server.on("connection", (socket) => {
    const address = socket.remoteAddress ?? "";
    const own = open.get(address) ?? new Set();
    open.set(address, own.add(socket));
    count++;
    socket.once("close", () => leave(address, socket));
    const loser = own.size > connectionsOfAddress ? address : count > connections ? addressWithMost(open) : undefined;
    const [silent] = (loser !== undefined && open.get(loser)) || [];
    if (loser === undefined || silent === undefined) return;
    // Removed at once, so that each of many new connections closes a different one.
    leave(loser, silent);
    silent.destroy();
  });
  return (socket) => {
    const own = open.get(socket.remoteAddress ?? "");
    if (own?.delete(socket)) own.add(socket);
  };
}

function addressWithMost(open: ReadonlyMap<string, ReadonlySet<Socket>>): string | undefined {
  let most = 0;
  let found: string | undefined;
  for (const [address, { size }] of open)
    if (size > most) {
      most = size;
      found = address;
    }
  return found;
}

/** Answers to malformed requests, which do not reach `serve`. */
const REFUSALS: Readonly<Record<string, string>> = {
  // A word that the runtime does not know as a method.
  HPE_INVALID_METHOD: "405 Method Not Allowed\r\nAllow: GET, POST",
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};

function bind<T extends NetServer>(server: T, options: object): Promise<T> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(options, () => {
      server.removeListener("error", reject);
      resolve(server);
    });
  });
}

function parseAddress(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? "";
  const port = Number(match?.[3]);
  if (isIP(host) === 0 || !(port <= 65535))
    throw usageError(`--listen: ${JSON.stringify(text)} is no address and port`, `as in ${DEFAULT_LISTEN}`);
  return { host, port };
}

/**
 * Adds a link-local address to `lo`, if the host does not have it. Only the host and its containers can reach it there.
 */
function addAddress(host: string): string | undefined {
  const isHere = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === host));
  if (isHere || !host.startsWith("169.254.")) return undefined;
  const done = spawnSync("ip", ["address", "add", `${host}/32`, "dev", "lo"], {
    env: HOST_ENVIRONMENT,
    encoding: "utf8",
  });
  // "File exists": another process has added it meanwhile.
  if (done.status === 0 || done.stderr?.includes("File exists")) return done.status === 0 ? host : undefined;
  throw new RktError("cannot-listen", `cannot add address ${host} to lo: ${done.stderr?.trim() || done.error}`, {
    hint: "it takes ip(8) of iproute2; or --listen=127.0.0.1:330 for containers on the host's network",
    cause: done.error,
  });
}

function removeAddress(host: string): void {
  spawnSync("ip", ["address", "delete", `${host}/32`, "dev", "lo"], { env: HOST_ENVIRONMENT, stdio: "ignore" });
}

async function serve(request: IncomingMessage, response: ServerResponse, respond: Respond, limit: number) {
  const flavor = request.headers["metadata-flavor"];
  const asked = {
    method: request.method ?? "",
    path: (request.url ?? "/").replace(/\?.*/s, ""),
    flavor: typeof flavor === "string" ? flavor : undefined,
    contentType: request.headers["content-type"],
    // The connection's address. Headers that name another are not trusted.
    source: (request.socket.remoteAddress ?? "").replace(/^::ffff:/, ""),
  };
  const { "content-length": length = "0", "transfer-encoding": encoding, expect } = request.headers;
  const answer = respond({ ...asked, body: undefined });
  if (answer !== undefined) return write(response, answer, length !== "0" || encoding !== undefined);
  if (Number(length) > limit) return write(response, TOO_LARGE, true);
  if (expect !== undefined) response.writeContinue();
  const body = await readBody(request, limit);
  if (body === undefined) return write(response, TOO_LARGE, true);
  const answered = respond({ ...asked, body });
  if (answered === undefined) throw new Error("no answer, though the body is there");
  write(response, answered);
}

const TOO_LARGE: Answer = { status: 413, type: "text/plain", body: "" };

/** Reads the body; undefined if it is longer than the limit. */
function readBody(request: IncomingMessage, limit: number): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    request.on("data", (part: Buffer) => {
      size += part.length;
      if (size <= limit) parts.push(part);
      else {
        parts.length = 0;
        resolve(undefined);
      }
    });
    request.once("end", () => resolve(Buffer.concat(parts)));
    request.once("error", reject);
  });
}

/** Writes an answer. `last`: closes the connection, because the rest of the request is not read. */
function write(response: ServerResponse, { status, type, body, allow }: Answer, last = false): void {
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    ...(allow === undefined ? {} : { allow }),
    ...(last ? { connection: "close" } : {}),
  });
  response.end(response.req.method === "HEAD" ? undefined : body);
}
