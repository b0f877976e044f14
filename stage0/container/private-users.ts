/**
 * Sets up a container with its own users (ADR 6). Its files are stored with the ids that they have inside. Mounts that
 * are mapped by a user namespace show them with the container's ids. That namespace is made here, and no process runs
 * in it; nspawn makes another one, with the same ids, for the container.
 */

import { closeSync, constants, openSync, statSync, writeFileSync } from "node:fs";
import { readBounded } from "../../shared/bounded-read.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { PRIVATE_IDS } from "../../shared/contract/host-state.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { AT_FDCWD, O_PATH } from "../../shared/syscall/file.ts";
import { MOUNT_ATTR_IDMAP, mountSetattr, moveMountTo, OPEN_TREE_CLONE, openTree } from "../../shared/syscall/mount.ts";
import { reserveIds } from "./user-ranges.ts";
import { HOST_ENVIRONMENT } from "../../shared/program.ts";

export function wantsPrivateUsers({ annotations }: PodManifest): boolean {
  return annotation(annotations, ANNOTATIONS.privateUsers) === "true";
}

/** Refuses ids that the container will not have, as far as they are known before the image's files are read. */
export function checkPrivateIds({ apps, volumes }: PodManifest): void {
  const refuse = (whose: string, id: number | string) => {
    throw new RktError("no-such-id", `${whose} is ${id}, and a container with --private-users has ids up to ${LAST}`, {
      hint: "choose a lower one, or leave --private-users out",
    });
  };
  for (const { name, app, mounts } of apps) {
    for (const [what, id] of [["user", app?.user] as const, ["group", app?.group] as const])
      if (id !== undefined && /^\d+$/.test(id) && Number(id) > LAST) refuse(`app ${name}: the ${what}`, id);
    for (const id of app?.supplementaryGIDs ?? []) if (id > LAST) refuse(`app ${name}: a supplementary group`, id);
    volumes = [...volumes, ...mounts.flatMap(({ appVolume }) => appVolume ?? [])];
  }
  for (const { name, uid = 0, gid = 0 } of volumes)
    for (const id of [uid, gid]) if (id > LAST) refuse(`volume ${name}: the owner`, id);
}

const LAST = PRIVATE_IDS - 1;

/** The range of the host's ids that a running container has. */
export interface PrivateIds {
  first: number;
  count: number;
}

/** Undefined for a container without its own users, or one that has not been started. */
export function readPrivateIds(dir: HostPath): PrivateIds | undefined {
  const { users } = containerLayout(dir);
  // statSync without an exception, which would take longer than the rest.
  if (statSync(users, { throwIfNoEntry: false }) === undefined) return undefined;
  const [, first, count] = /^(\d{1,10}) (\d{1,10})\n$/.exec(readBounded(users, 64)) ?? [];
  return first === undefined ? undefined : { first: Number(first), count: Number(count) };
}

/**
 * Called in the container directory and its mount namespace. Reserves ids, writes them down for stage 1, and makes the
 * user namespace for mapped mounts. Returns the descriptor that holds the reservation.
 */
export function setUpPrivateUsers(uuid: string): number {
  const here = containerLayout(".");
  const { first, fd } = reserveIds(uuid);
  writeFileSync(here.users, `${first} ${PRIVATE_IDS}\n`, { mode: 0o644 });
  writeFileSync(here.userNamespace, "", { mode: 0o600 });
  makeUserNamespace(first, here.userNamespace);
  return fd;
}

/**
 * The host's root in the user namespace: systemd's UID_MAPPED_ROOT, an id that no file has. Files that root makes in a
 * mapped mount, as the kernel does for an overlay, need a mapped owner. In the container this id does not exist.
 */
const MAPPED_ROOT = 2 ** 31 - 2;

/**
 * Makes a user namespace: a shell's child does, because a process with several threads can't (unshare(2)). The shell
 * then writes its map. Arguments: the map, and the file onto which the namespace is mounted.
 */
const MAKE_NAMESPACE = `unshare -U sh -c 'echo $$; exec sleep 10' | {
  read -r pid || exit
  printf "$1" >"/proc/$pid/uid_map" && printf "$1" >"/proc/$pid/gid_map" && mount --bind "/proc/$pid/ns/user" "$2"
  status=$?
  kill "$pid"
  exit $status
}`;

function makeUserNamespace(first: number, target: HostPath): void {
  const { spawnSync } = process.getBuiltinModule("node:child_process");
  const map = `0 ${first} ${PRIVATE_IDS}\\n${MAPPED_ROOT} 0 1\\n`;
  const done = spawnSync("sh", ["-c", MAKE_NAMESPACE, "sh", map, target], {
    env: HOST_ENVIRONMENT,
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (done.status === 0) return;
  const reason = done.error === undefined ? done.stderr.trim().replaceAll("\n", "; ") : errorText(done.error);
  throw new RktError("no-user-namespace", `cannot make a user namespace: ${reason}`, {
    hint: "--private-users needs sh, unshare(1) and mount(8) on PATH, and a kernel and /proc/sys/user/max_user_namespaces that allow user namespaces",
  });
}

/** Mounts a directory over itself, with the owners of its files mapped to the container's. */
export function mapOwners(dir: HostPath): void {
  const usernsFd = openSync(containerLayout(".").userNamespace, "r");
  const tree = openTree(AT_FDCWD, dir, OPEN_TREE_CLONE);
  const target = openSync(dir, O_PATH | constants.O_DIRECTORY);
  try {
    mountSetattr(tree, "", MOUNT_ATTR_IDMAP, 0, { usernsFd });
    moveMountTo(tree, target);
  } catch (error) {
    const unsupported = ["EINVAL", "ENOSYS", "EPERM"].includes(errorCode(error) ?? "");
    throw new RktError(
      "no-id-mapping",
      `--private-users: cannot map the owners of ${dir}: ${unsupported ? "its file system has no idmapped mounts" : errorText(error)}`,
      {
        hint: "the data directory (--dir) must be on a file system that has them: ext4, xfs, btrfs",
        cause: unsupported ? undefined : error,
      },
    );
  } finally {
    for (const fd of [usernsFd, tree, target]) closeSync(fd);
  }
}
