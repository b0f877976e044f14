/** netlink(7): requests to the kernel's network, without a program between. */

import { readSync, writeSync } from "node:fs";
import { errorCode } from "../errors.ts";
import { O_CLOEXEC } from "./file.ts";
import { call, SyscallError } from "./call.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0x800;
/** struct nlmsghdr, and the type of a message with a struct nlmsgerr. */
const HEADER = 16;
const NLMSG_ERROR = 2;

export const NETLINK_NETFILTER = 12;

/** A socket of this thread's network namespace; close-on-exec. */
export function netlinkSocket(protocol: number): number {
  return call("socket", AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | O_CLOEXEC, protocol);
}

/** Sends messages of which the last one asks for an acknowledgement (NLM_F_ACK); throws what the kernel refuses first. */
export function netlinkRequest(socket: number, messages: Buffer): void {
  writeSync(socket, messages);
  // The kernel has worked before write(2) returns: all of its answer is there.
  const answer = Buffer.alloc(32 * 1024);
  let acknowledged = false;
  for (let size = read(socket, answer); size > 0; size = read(socket, answer)) {
    for (let at = 0; at + HEADER + 4 <= size; ) {
      const length = answer.readUInt32LE(at);
      if (answer.readUInt16LE(at + 4) === NLMSG_ERROR) {
        const errno = -answer.readInt32LE(at + HEADER);
        if (errno !== 0) throw new SyscallError("netlink", errno);
        acknowledged = true;
      }
      at += Math.max(HEADER, (length + 3) & ~3);
    }
  }
  if (!acknowledged) throw new Error("netlink: the kernel has not answered");
}

function read(socket: number, into: Buffer): number {
  try {
    return readSync(socket, into);
  } catch (error) {
    if (errorCode(error) === "EAGAIN") return 0;
    throw error;
  }
}
