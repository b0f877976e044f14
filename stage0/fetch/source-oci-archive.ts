/** An image of an OCI layout in a tar archive: `oci-archive:FILE[:REF]`. */

import { localSource } from "./local-source.ts";

export const ociArchiveSource = localSource("oci-archive");
