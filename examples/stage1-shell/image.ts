/** A stage1 image whose four entrypoints are one short shell script (docs/extend/stage1-guide.md). */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Recipe } from "../../build/recipe.ts";
import { ENTRYPOINTS, INTERFACE_VERSION_ANNOTATION } from "../../shared/contract/annotations.ts";
import { STAGE1_INTERFACE_VERSION } from "../../shared/contract/versions.ts";

const APPLETS = ["cat", "chroot", "kill", "mkdir", "mount", "mv"];

export default {
  name: "example.com/stage1-shell",
  versionOf: "busybox-static",
  packages: { "busybox-static": ["usr/bin/busybox"], jq: ["usr/bin/jq"] },
  files: {
    "stage1.sh": { text: readFileSync(join(import.meta.dirname, "stage1.sh"), "utf8"), mode: 0o755 },
  },
  links: {
    ...Object.fromEntries(APPLETS.map((name) => [`usr/bin/${name}`, "busybox"])),
    ...Object.fromEntries(Object.keys(ENTRYPOINTS).map((name) => [name, "stage1.sh"])),
  },
  annotations: {
    ...Object.fromEntries(Object.entries(ENTRYPOINTS).map(([name, key]) => [key, `/${name}`])),
    [INTERFACE_VERSION_ANNOTATION]: STAGE1_INTERFACE_VERSION,
  },
} satisfies Recipe;
