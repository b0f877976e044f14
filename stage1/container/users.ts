/**
 * Users of the container's own (ADR 6): which ids of the host's they are, and
 * what stage 1 has to do so that its files are theirs.
 */

import { chownSync, closeSync, openSync, readFileSync } from "node:fs";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { ANNOTATIONS } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { MOUNT_ATTR_IDMAP, mountSetattr } from "../../shared/syscall/mount.ts";
import type { PodManifest } from "../../shared/schema/types.ts";

/** Ids of the host's, of users and groups alike: `first` is the container's root. */
export interface Users {
  first: number;
  count: number;
}

const here = containerLayout(".");

/** The container's users; undefined: the host's. What stage 0 was asked for and did not do is an error. */
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

/** Makes a file or directory, which is root's, the container's root's. */
export function giveToRoot(path: string, users: Users | undefined): void {
  if (users !== undefined) chownSync(path, users.first, users.first);
}

/** Shows the files of a mount object, which are stored as root's and so on, as the container's. */
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
        hint: recursive ? "nor may one mounted below it lack them; recursive=false leaves those out" : undefined,
        cause: error,
      },
    );
  } finally {
    closeSync(usernsFd);
  }
}
