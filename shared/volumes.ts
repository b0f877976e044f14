/** What a container's volumes are called on disk, by all stages. Pure. */

import type { PodManifest, Volume } from "./schema/types.ts";

/**
 * Of a volume that a mount brings itself, which is that mount's alone (pods.md, "appVolume"): the app, and the mount's
 * place among the app's. No volume of the container can be called so: names have no dots.
 */
export const ownVolumeKey = (app: string, mount: number): string => `${app}.${mount}`;

/** Every volume of the container by its key: the container's own by their names. */
export function volumesByKey({ volumes, apps }: Pick<PodManifest, "volumes" | "apps">): Map<string, Volume> {
  const byKey = new Map(volumes.map((volume) => [volume.name, volume]));
  for (const app of apps)
    for (const [i, { appVolume }] of app.mounts.entries())
      if (appVolume !== undefined) byKey.set(ownVolumeKey(app.name, i), appVolume);
  return byKey;
}
