/**
 * A container may have its own users (ADR 6). Here is which ids of the host they have, and how stage 1 makes files
 * belong to them.
 */

import { chownSync, closeSync, openSync, readFileSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { MOUNT_ATTR_IDMAP, mountSetattr } from "../../shared/syscall/mount.ts";
import type { PodManifest } from "../../shared/schema/types.ts";

/** A range of the host's ids, for users and groups alike: `first` is the container's root. */
export interface Users {
  first: number;
  count: number;
}

const here = containerLayout(".");

/**
 * The container's own users; undefined: the host's. It is an error if the manifest asks for them and stage 0 chose no
 * ids.
 */
export function readUsers(uuid: string, manifest: PodManifest): Users | undefined {
  if (annotation(manifest.annotations, ANNOTATIONS.privateUsers) !== "true") return undefined;
  let text = "";
  try {
    text = readFileSync(here.users, "utf8");
  } catch (error) {
    throw new RktError("bad-layout", `container ${uuid} is to have users of its own: ${errorText(error)}`, {
      hint: "stage 0 chooses their ids and writes the file `users`",
      cause: error,
    });
  }
  const [, first, count] = /^([1-9]\d{0,9}) ([1-9]\d{0,9})\n$/.exec(text) ?? [];
  if (first === undefined || count === undefined)
    throw new RktError("bad-layout", `container ${uuid}: the file users must say FIRST COUNT`);
  return { first: Number(first), count: Number(count) };
}

/** Gives a file or directory of the host's root to the container's root. */
export function giveToContainerRoot(path: string, users: Users | undefined): void {
  if (users !== undefined) chownSync(path, users.first, users.first);
}

/** Maps the owners in a detached mount: files that are stored as the host's uid 0, 1, … appear as the container's. */
export function mapMount(tree: number, { source, recursive }: { source: string; recursive: boolean }): void {
  const usernsFd = openSync(here.userNamespace, "r");
  try {
    mountSetattr(tree, "", MOUNT_ATTR_IDMAP, 0, { usernsFd, recursive });
  } catch (error) {
    if (errorCode(error) !== "EINVAL") throw error;
    throw new RktError(
      "no-id-mapping",
      `the owners in ${source} can't be mapped: no idmapped mounts in its file system`,
      {
        hint: recursive ? "file systems that are mounted below it need them, too; recursive=false leaves those out" : undefined,
        cause: error,
      },
    );
  } finally {
    closeSync(usernsFd);
  }
}
