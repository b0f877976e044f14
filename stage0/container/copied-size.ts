/**
 * What the volumes that begin as a part of an image take of the disk. The bound
 * of what an image unpacks to counts a file once, whatever its hard links; each
 * of these volumes is a copy of its own, which has nothing in common with the
 * others. Trusts the store's trees, and follows no link in them.
 */

import { lstatSync, readdirSync } from "node:fs";
import { RktError } from "../../shared/errors.ts";

export interface CopiedVolumes {
  app: string;
  /** The rendered image. */
  tree: string;
  /** Bytes of the image's blob. */
  imageSize: number;
  /** Directories that are copied, as paths that lead there. */
  directories: readonly string[];
}

/** What copies may take in any case, unless somebody has said what an image may. */
const FREE = 64 * 1024 ** 2;

/** Throws "too-large". `maxImageSize` counts for an image and its copies together; without, the copies may take what the image does. */
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

/** Of an empty file: on some file systems an inode is taken from the space of all. */
const INODE = 1024;

/** Bytes on the disk of a directory and all in it, each file once. */
function treeSize(top: string): number {
  const seen = new Set<bigint>();
  const sizeOf = (path: Buffer): number => {
    const { ino, nlink, blocks } = lstatSync(path, { bigint: true });
    if (nlink > 1n && seen.has(ino)) return 0;
    seen.add(ino);
    return INODE + Number(blocks) * 512;
  };
  // Names need not be text.
  const visit = (directory: Buffer): number =>
    readdirSync(directory, { withFileTypes: true, encoding: "buffer" }).reduce((sum, entry) => {
      const path = Buffer.concat([directory, SLASH, entry.name]);
      return sum + (entry.isDirectory() ? visit(path) : 0) + sizeOf(path);
    }, 0);
  return visit(Buffer.from(top));
}
