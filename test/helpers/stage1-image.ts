/** Makes stage1 images of shell scripts, valid ones and invalid ones. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  ENTRYPOINTS,
  INTERFACE_VERSION_ANNOTATION,
  LATER_ENTRYPOINTS,
  LATER_INTERFACE_VERSION,
} from "../../shared/contract/annotations.ts";
import { STAGE1_INTERFACE_VERSION } from "../../shared/contract/versions.ts";
import type { Rkt } from "./rkt.ts";

export interface ShellStage1 {
  name?: string;
  /** They replace the annotations of a valid image; undefined removes one. */
  annotations?: Record<string, string | undefined>;
  /** Scripts of further entrypoints. */
  entrypoints?: Partial<Record<keyof typeof ENTRYPOINTS, string>>;
}

/** Annotations of rkt 1.30 instead of this rkt's, for an image with these entrypoints. */
export function laterNames(
  entrypoints: readonly (keyof typeof ENTRYPOINTS)[],
  interfaceVersion?: string,
): Record<string, string | undefined> {
  return {
    [INTERFACE_VERSION_ANNOTATION]: undefined,
    [LATER_INTERFACE_VERSION]: interfaceVersion,
    ...Object.fromEntries(
      entrypoints.flatMap((name) => [
        [ENTRYPOINTS[name], undefined],
        [LATER_ENTRYPOINTS[name], `/${name}`],
      ]),
    ),
  };
}

export const SHELL_STAGE1 = "example.com/stage1-by-hand";

/** Writes the image with tar(1). Returns the path of its file. */
export function shellStage1(rkt: Rkt, init: string, options: ShellStage1 = {}): string {
  const root = join(rkt.scratch, `stage1-${randomUUID()}`);
  mkdirSync(join(root, "rootfs"), { recursive: true });
  const scripts = Object.entries({ init, ...options.entrypoints });
  for (const [name, script] of scripts) {
    writeFileSync(join(root, "rootfs", name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(root, "rootfs", name), 0o755);
  }
  const annotations: Record<string, string | undefined> = {
    [INTERFACE_VERSION_ANNOTATION]: STAGE1_INTERFACE_VERSION,
    ...Object.fromEntries(scripts.map(([name]) => [ENTRYPOINTS[name as keyof typeof ENTRYPOINTS], `/${name}`])),
    ...options.annotations,
  };
  writeFileSync(
    join(root, "manifest"),
    JSON.stringify({
      acKind: "ImageManifest",
      acVersion: "0.8.11",
      name: options.name ?? SHELL_STAGE1,
      labels: [
        { name: "version", value: "1" },
        { name: "os", value: "linux" },
        { name: "arch", value: "amd64" },
      ],
      annotations: Object.entries(annotations).flatMap(([name, value]) => (value === undefined ? [] : { name, value })),
    }),
  );
  const aci = `${root}.aci`;
  const tar = spawnSync("tar", ["-C", root, "-cf", aci, "manifest", "rootfs"], { encoding: "utf8" });
  assert.equal(tar.status, 0, tar.stderr);
  return aci;
}
