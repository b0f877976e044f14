/**
 * Warns about mounts below a volume that others can write to. A process that removes a mount's directory also removes
 * the mount, in every mount namespace (rmdir(2), mount_namespaces(7)): the app then sees what lies beneath. Pure.
 */

import { posix } from "node:path";
import type { Mount, PodManifest, Volume } from "../../shared/schema/types.ts";

/** A warning for each such mount. */
export function nestedMounts({ apps, volumes }: PodManifest): string[] {
  const volumeOf = ({ appVolume, volume }: Mount): Volume | undefined =>
    appVolume ?? volumes.find(({ name }) => name === volume);
  const isOthers = (app: string, mount: Mount): boolean => {
    const volume = volumeOf(mount);
    if (volume === undefined || volume.readOnly === true) return false;
    const shared = (other: Mount) => other.appVolume === undefined && other.volume === mount.volume;
    return (
      volume.kind === "host" ||
      (mount.appVolume === undefined && apps.some(({ name, mounts }) => name !== app && mounts.some(shared)))
    );
  };
  return apps.flatMap(({ name, mounts }) =>
    mounts.flatMap((inner) => {
      const path = posix.resolve("/", inner.path);
      const outer = mounts.find((one) => isBelow(path, posix.resolve("/", one.path)) && isOthers(name, one));
      return outer === undefined
        ? []
        : `warning: app ${name}: ${path} lies in volume "${outer.volume}": whoever writes there can remove the directory, and volume "${inner.volume}" is then mounted no more`;
    }),
  );
}

const isBelow = (path: string, above: string): boolean => path.startsWith(above === "/" ? "/" : `${above}/`) && path !== above;
