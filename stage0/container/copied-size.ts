/**
 * Limits the disk space of volumes that begin as copies of an image's directories. The limit of an image's unpacked
 * size counts a file with several hard links once, but each of these volumes has its own copy. The store's trees are
 * trusted; no link in them is followed.
 */

import { lstatSync, readdirSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";

export interface CopiedVolumes {
  app: string;
  /** The rendered image. */
  tree: string;
  /** Bytes of the image's blob. */
  imageSize: number;
  /** Paths of the directories that are copied. */
  directories: readonly string[];
}

/** Bytes that copies may always take, if there is no `maxImageSize`. */
const FREE = 64 * 1024 ** 2;

/**
 * Throws "too-large". `maxImageSize` is the limit for an image and its copies together. Without it, the copies may take
 * as much as the image.
 */
export function requireCopiedSize(volumes: CopiedVolumes, maxImageSize: number | undefined): void {
  const { app, tree, imageSize, directories } = volumes;
  const copied = directories.reduce((sum, directory) => sum + treeSize(directory), 0);
  const fits =
    maxImageSize === undefined ? copied <= FREE || copied <= treeSize(tree) : imageSize + copied <= maxImageSize;
  if (fits) return;
  throw new RktError(
    "too-large",
    `app ${app}: the volumes of its mount points that begin as the image's directories take ${copied} bytes${maxImageSize === undefined ? ", more than the image" : `, and the image ${imageSize}: more than ${maxImageSize}`}`,
    { hint: "--max-image-size=SIZE lets it; --volume NAME:/PATH gives a mount point a directory of the host" },
  );
}

const SLASH = Buffer.from("/");

/** Bytes that count for each inode: some file systems take inodes from the common space. */
const INODE = 1024;

/** Disk space of a directory with all its contents; a file with several names counts once. */
function treeSize(top: string): number {
  const seen = new Set<bigint>();
  const visit = (path: Buffer): number => {
    const stat = lstatSync(path, { bigint: true });
    const { ino, nlink, blocks } = stat;
    if (nlink > 1n && !stat.isDirectory()) {
      if (seen.has(ino)) return 0;
      seen.add(ino);
    }
    // Names are bytes, and need not be UTF-8.
    const names = stat.isDirectory() ? readdirSync(path, { encoding: "buffer" }) : [];
    const below = names.map((name) => visit(Buffer.concat([path, SLASH, name])));
    return below.reduce((sum, size) => sum + size, INODE + Number(blocks) * 512);
  };
  // It may be a link of /proc/self/fd.
  return visit(Buffer.from(`${top}/.`));
}
