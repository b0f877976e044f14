/**
 * Whether the host paths of a container's volumes are there to be mounted
 * (ace.md, "Volume Setup": a missing source must be an error, a symbolic link
 * on the way should be).
 *
 * What is checked may change before stage 1 mounts it, which therefore follows
 * no link either. The check is for mistakes, and says them in time.
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
        // That it is missing says it all.
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
