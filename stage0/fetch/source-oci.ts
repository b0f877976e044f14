/** An image of an OCI layout, a directory: `oci:DIRECTORY[:REF]`. */

import { localSource } from "./local-source.ts";

export const ociSource = localSource("oci");
