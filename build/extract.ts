/** Writes a tree to disk with tar(1), for people and tests. (rkt itself unpacks images with its own extractor.) */

import { spawn } from "node:child_process";
import { mkdir, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import type { Tree } from "../shared/aci/tree.ts";
import { archive } from "../shared/aci/writer.ts";
import { RktError } from "../shared/errors.ts";

/** Replaces `directory` by the tree. Only root can set owners and make devices. */
export async function extractTree(tree: Tree, directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  const args = ["--extract", "--same-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*"];
  const tar = spawn("tar", [...args, "--strip-components=1", `--directory=${directory}`, "rootfs"], {
    stdio: ["pipe", "inherit", "inherit"],
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    tar.once("error", reject);
    tar.once("close", resolve);
  });
  await pipeline(archive({ manifest: "", rootfs: tree }), tar.stdin);
  const status = await ended;
  if (status !== 0) throw new RktError("extract-failed", `tar cannot write ${directory}: status ${status}`);
}
