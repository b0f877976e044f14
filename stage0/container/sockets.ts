/** Sockets that a service manager has opened for rkt, on their way to the apps of a container. */

import { SOCKETS_SUPPORT } from "../../shared/contract/annotations.ts";
import { RktError } from "../../shared/errors.ts";
import { type PassedSocket, requireAskedFor } from "../../shared/passed-sockets.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import type { ImageManifest, PodManifest } from "../../shared/schema/types.ts";

/** Throws "bad-socket" for what no app asks for, and for all where the stage1 does not know of them: an app would inherit them. */
export function requirePassable(sockets: readonly PassedSocket[], manifest: PodManifest, stage1: ImageManifest): void {
  if (sockets.length === 0) return;
  requireAskedFor(sockets, manifest.apps);
  if (annotation(stage1.annotations, SOCKETS_SUPPORT) === "true") return;
  throw new RktError("bad-socket", `stage1 image ${stage1.name} can't give apps the service manager's sockets`, {
    hint: "use the stage1 image that came as rkt's default, or start rkt without sockets",
  });
}
