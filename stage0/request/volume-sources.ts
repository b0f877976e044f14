/**
 * Checks that the host paths of a container's volumes exist and have no symbolic links (ace.md, "Volume Setup": a
 * missing source must be an error, a symbolic link in the path should be).
 *
 * The check finds mistakes early. It is no protection, because a path may change before stage 1 mounts it: stage 1
 * follows no links either.
 */

import { lstatSync, realpathSync, type Stats } from "node:fs";
import { posix } from "node:path";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import type { PodManifest, Volume } from "../../shared/schema/types.ts";
import { volumesByKey } from "../../shared/volumes.ts";

export function checkVolumeSources(manifest: PodManifest): void {
  for (const volume of volumesByKey(manifest).values()) checkSource(volume);
}

function checkSource({ name, kind, source }: Volume): void {
  if (kind !== "host" || source === undefined) return;
  const parts = posix.resolve(source).split("/").slice(1);
  for (let i = 1; i <= parts.length; i++) {
    const path = `/${parts.slice(0, i).join("/")}`;
    if (stat(path, name, source).isSymbolicLink())
      throw new RktError("bad-volume-source", `volume ${name}: ${path} is a symbolic link`, {
        hint: linkHint(name, source),
      });
  }
}

function stat(path: string, volume: string, source: string): Stats {
  try {
    return lstatSync(path);
  } catch (error) {
    const missing = errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR";
    throw new RktError(
      "bad-volume-source",
      missing
        ? `volume ${volume}: ${source} does not exist`
        : `volume ${volume}: cannot look at ${source}: ${errorText(error)}`,
      {
        hint: missing ? `create it first; or --volume ${volume},kind=empty needs no path` : undefined,
        // For a missing source the message says everything.
        cause: missing ? undefined : error,
      },
    );
  }
}

function linkHint(volume: string, source: string): string {
  try {
    return `name what it leads to: --volume ${volume}:${realpathSync(source)}`;
  } catch {
    return "name what it leads to, which must exist";
  }
}
