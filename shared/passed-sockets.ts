/**
 * Sockets that a service manager has opened for rkt (sd_listen_fds(3)): descriptors from 3 on, LISTEN_FDS of them, for
 * the process LISTEN_PID. An app gets one as a port that it is started with. Whoever starts rkt may say what they like
 * in the environment: each descriptor is looked at, and nothing is passed on that no app asks for.
 */

import type { Environment } from "./callers-environment.ts";
import { errorText, RktError } from "./errors.ts";
import type { Port, RuntimeApp } from "./schema/types.ts";
import {
  AF_INET,
  AF_INET6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  SOCK_DGRAM,
  SOCK_STREAM,
  socketAddress,
  socketOption,
} from "./syscall/socket.ts";

export interface PassedSocket {
  fd: number;
  protocol: "tcp" | "udp";
  /** ADDRESS:PORT, or [ADDRESS]:PORT, as systemd.socket(5) takes it. */
  address: string;
  port: number;
}

/** SD_LISTEN_FDS_START. */
const FIRST_FD = 3;

const MAX_SOCKETS = 64;

/** Throws "bad-socket". None if they are for another process. */
export function passedSockets(env: Environment, pid = process.pid): PassedSocket[] {
  const { LISTEN_PID, LISTEN_FDS } = env;
  if (LISTEN_PID !== String(pid) || LISTEN_FDS === undefined || LISTEN_FDS === "0") return [];
  const count = /^[1-9]\d?$/.test(LISTEN_FDS) ? Number(LISTEN_FDS) : Number.NaN;
  if (!(count <= MAX_SOCKETS))
    throw badSocket(`LISTEN_FDS=${LISTEN_FDS} is no number of sockets from 1 to ${MAX_SOCKETS}`);
  const sockets = Array.from({ length: count }, (_, i) => readSocket(FIRST_FD + i));
  for (const [i, { address, protocol }] of sockets.entries())
    if (sockets.slice(0, i).some((other) => other.address === address && other.protocol === protocol))
      throw badSocket(`it passes two sockets of ${address}/${protocol}`);
  return sockets;
}

/** What a service that rkt becomes gets of them. */
export function passOn(sockets: readonly PassedSocket[]): Record<string, string> {
  return sockets.length === 0 ? {} : { LISTEN_FDS: String(sockets.length), LISTEN_PID: String(process.pid) };
}

/** Whether a port of an app that is started with sockets is the one that the socket listens on. */
export const isSocketOf = ({ protocol, port }: PassedSocket, asked: Port): boolean =>
  asked.socketActivated && asked.protocol === protocol && port >= asked.port && port < asked.port + asked.count;

/** Throws "bad-socket" for one that no app is to be started with. */
export function requireAskedFor(sockets: readonly PassedSocket[], apps: readonly RuntimeApp[]): void {
  const ports = apps.flatMap(({ app }) => app?.ports ?? []);
  for (const socket of sockets) {
    if (ports.some((port) => isSocketOf(socket, port))) continue;
    const declared = ports.find(({ protocol, port }) => protocol === socket.protocol && port === socket.port);
    const why = declared === undefined ? "no app has that port" : `port ${declared.name} is not socketActivated`;
    throw badSocket(`it passes a socket of ${socket.address}/${socket.protocol}, and ${why}`);
  }
}

function readSocket(fd: number): PassedSocket {
  const refused = (what: string, cause?: unknown) => badSocket(`descriptor ${fd} is ${what}`, cause);
  let address: Buffer;
  let kind: string;
  try {
    address = socketAddress(fd);
    kind = `${socketOption(fd, "type")} ${socketOption(fd, "protocol")}`;
    if (kind === TCP && socketOption(fd, "acceptsConnections") === 0) throw refused("a socket that does not listen");
  } catch (error) {
    if (error instanceof RktError) throw error;
    throw refused(`no socket (${errorText(error)})`, error);
  }
  if (kind !== TCP && kind !== UDP) throw refused("a socket of neither TCP nor UDP");
  const text = addressText(address);
  const port = address.readUInt16BE(2);
  if (text === undefined || port === 0) throw refused("a socket without a port");
  return { fd, protocol: kind === TCP ? "tcp" : "udp", address: `${text}:${port}`, port };
}

const TCP = `${SOCK_STREAM} ${IPPROTO_TCP}`;
const UDP = `${SOCK_DGRAM} ${IPPROTO_UDP}`;

function addressText(address: Buffer): string | undefined {
  const family = address.readUInt16LE(0);
  if (family === AF_INET) return [...address.subarray(4, 8)].join(".");
  if (family !== AF_INET6) return undefined;
  const groups = Array.from({ length: 8 }, (_, i) => address.readUInt16BE(8 + 2 * i).toString(16));
  return `[${groups.join(":")}]`;
}

function badSocket(reason: string, cause?: unknown): RktError {
  return new RktError("bad-socket", `cannot take the service manager's sockets: ${reason}`, {
    hint: "each must be of a port that an image calls socketActivated; without any, leave LISTEN_PID and LISTEN_FDS unset",
    cause,
  });
}
