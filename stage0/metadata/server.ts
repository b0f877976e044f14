/**
 * The metadata service's socket: systemd's (sd_listen_fds(3)) or one of its
 * own, at an address that containers with a network of their own reach too.
 */

import { spawnSync } from "node:child_process";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { errorCode, RktError, usageError } from "../../shared/errors.ts";
import type { Answer, MetadataRequest } from "./service.ts";

/** By convention of the specification's first versions; the port is rkt's. */
export const DEFAULT_LISTEN = "169.254.169.255:18112";

/** Bytes of a request's body: what an app wants signed. */
const BODY_LIMIT = 1024 * 1024;
/** Milliseconds for a whole request. */
const REQUEST_LIMIT = 10_000;

export interface Listener {
  server: Server;
  /** Without a slash at the end. */
  url: string;
  /** Stops listening, and takes the address away if it was added. */
  close(): Promise<void>;
}

export type Respond = (request: MetadataRequest) => Answer;

export async function listen(at: string, respond: Respond): Promise<Listener> {
  const server = createServer({ requestTimeout: REQUEST_LIMIT, headersTimeout: REQUEST_LIMIT }, (request, response) => {
    serve(request, response, respond).catch(() => response.destroy());
  });
  let added: string | undefined;
  if (isActivated()) await bind(server, { fd: FIRST_FD });
  else {
    const { host, port } = parseAddress(at);
    added = addAddress(host);
    try {
      await bind(server, { host, port });
    } catch (error) {
      if (added !== undefined) removeAddress(added);
      throw new RktError("cannot-listen", `cannot listen on ${at}: ${errorCode(error) ?? error}`, {
        hint: "--listen=ADDRESS:PORT chooses another address",
        cause: error,
      });
    }
  }
  const address = server.address();
  if (address === null || typeof address === "string")
    throw new RktError("cannot-listen", "the socket given by systemd is none of TCP", {
      hint: "ListenStream= of the socket unit takes an address and a port",
    });
  const host = isIP(address.address) === 6 ? `[${address.address}]` : address.address;
  return {
    server,
    url: `http://${host}:${address.port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      if (added !== undefined) removeAddress(added);
    },
  };
}

/** SD_LISTEN_FDS_START. */
const FIRST_FD = 3;

function isActivated(): boolean {
  return process.env["LISTEN_PID"] === String(process.pid) && Number(process.env["LISTEN_FDS"]) >= 1;
}

function bind(server: Server, options: object): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(options, () => {
      server.removeListener("error", reject);
      resolve();
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

/** A link-local address that the host has not is given to `lo`, where only the host and its containers reach it. */
function addAddress(host: string): string | undefined {
  const isHere = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === host));
  if (isHere || !host.startsWith("169.254.")) return undefined;
  const done = spawnSync("ip", ["address", "add", `${host}/32`, "dev", "lo"], { encoding: "utf8" });
  // EEXIST: somebody was faster.
  if (done.status === 0 || done.stderr?.includes("File exists")) return done.status === 0 ? host : undefined;
  throw new RktError("cannot-listen", `cannot add address ${host} to lo: ${done.stderr?.trim() || done.error}`, {
    hint: "it takes ip(8) of iproute2; or --listen=127.0.0.1:18112 for containers on the host's network",
    cause: done.error,
  });
}

function removeAddress(host: string): void {
  spawnSync("ip", ["address", "delete", `${host}/32`, "dev", "lo"], { stdio: "ignore" });
}

async function serve(request: IncomingMessage, response: ServerResponse, respond: Respond): Promise<void> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > BODY_LIMIT) return write(response, { status: 413, type: "text/plain", body: "" });
    parts.push(part);
  }
  const flavor = request.headers["metadata-flavor"];
  write(
    response,
    respond({
      method: request.method ?? "",
      path: (request.url ?? "/").replace(/\?.*/s, ""),
      flavor: typeof flavor === "string" ? flavor : undefined,
      contentType: request.headers["content-type"],
      body: Buffer.concat(parts),
      source: (request.socket.remoteAddress ?? "").replace(/^::ffff:/, ""),
    }),
  );
}

function write(response: ServerResponse, { status, type, body }: Answer): void {
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
  });
  response.end(response.req.method === "HEAD" ? undefined : body);
}
