/** The keys by which all stages name a container's volumes on disk. Pure. */

import type { PodManifest, Volume } from "./schema/types.ts";

/**
 * The key of a volume that only one mount uses (pods.md, "appVolume"): the app's name and the mount's index. No volume
 * of the container can have such a name, because names have no dots.
 */
export const ownVolumeKey = (app: string, mount: number): string => `${app}.${mount}`;

/** All volumes of a container by key. The key of a volume that the apps share is its name. */
export function volumesByKey({ volumes, apps }: Pick<PodManifest, "volumes" | "apps">): Map<string, Volume> {
  const byKey = new Map(volumes.map((volume) => [volume.name, volume]));
  for (const app of apps)
    for (const [i, { appVolume }] of app.mounts.entries())
      if (appVolume !== undefined) byKey.set(ownVolumeKey(app.name, i), appVolume);
  return byKey;
}
