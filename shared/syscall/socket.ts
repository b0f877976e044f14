/** Sockets that somebody else has made. */

import { call } from "./call.ts";

export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;

const SOL_SOCKET = 1;
const OPTIONS = { type: 3, acceptsConnections: 30, protocol: 38 } as const;

/** An option of a socket that is a number (socket(7): SO_TYPE, SO_ACCEPTCONN, SO_PROTOCOL). */
export function socketOption(fd: number, option: keyof typeof OPTIONS): number {
  const [value, length] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeInt32LE(value.length);
  call("getsockopt", fd, SOL_SOCKET, OPTIONS[option], value, length);
  return value.readInt32LE();
}

/** Its address, as getsockname(2) has it: struct sockaddr_in, sockaddr_in6 (ip(7), ipv6(7)), or another. */
export function socketAddress(fd: number): Buffer {
  const [address, length] = [Buffer.alloc(128), Buffer.alloc(4)];
  length.writeInt32LE(address.length);
  call("getsockname", fd, address, length);
  return address.subarray(0, Math.min(length.readInt32LE(), address.length));
}
