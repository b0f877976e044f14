/**
 * The socket of sd_notify(3). Its name comes from the environment of rkt's caller, who may be an ordinary user (sudo).
 * So nothing is created or written at that path, and only the object that was checked, a socket, is mounted.
 */

import { closeSync, fstatSync } from "node:fs";
import { errorText, RktError } from "./errors.ts";
import { AT_EMPTY_PATH, AT_FDCWD, O_PATH, openat2, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS } from "./syscall/file.ts";
import { OPEN_TREE_CLONE, openTree } from "./syscall/mount.ts";

/** What NOTIFY_SOCKET names: a file, or ("@…") a socket of the network namespace. */
export type NotifySocket = { kind: "file"; path: string } | { kind: "abstract"; name: string };

/** Undefined if nobody is to be notified. Throws "bad-notify-socket". */
export function parseNotifySocket(value: string | undefined): NotifySocket | undefined {
  if (value === undefined || value === "") return undefined;
  if (value.startsWith("@") && value.length > 1) return { kind: "abstract", name: value };
  const [first, ...components] = value.split("/");
  if (first !== "" || components.some((name) => name === "" || name === "." || name === ".."))
    throw badNotifySocket(value, `it is neither a path without ".", ".." and empty parts nor "@" and a name`);
  return { kind: "file", path: value };
}

/** A detached clone of the mount of a socket's file (open_tree(2)). Throws "bad-notify-socket". */
export function cloneNotifySocket(path: string): number {
  let fd: number;
  try {
    fd = openat2(AT_FDCWD, path, O_PATH, 0, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
  } catch (error) {
    throw badNotifySocket(path, errorText(error), error);
  }
  try {
    if (!fstatSync(fd).isSocket()) throw badNotifySocket(path, "it is no socket");
    return openTree(fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
  } finally {
    closeSync(fd);
  }
}

export function badNotifySocket(value: string, reason: string, cause?: unknown): RktError {
  return new RktError("bad-notify-socket", `cannot notify NOTIFY_SOCKET=${value}: ${reason}`, {
    hint: "unset NOTIFY_SOCKET if nobody is to be told that the apps are ready; its path must have no link",
    cause,
  });
}
