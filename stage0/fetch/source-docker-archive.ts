/** An image of an archive that `docker save` or `podman save` wrote: `docker-archive:FILE[:REF]`. */

import { localSource } from "./local-source.ts";

export const dockerArchiveSource = localSource("docker-archive");
