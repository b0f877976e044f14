/**
 * The container as stage 1 finds it in its working directory. Root made that directory, with `rkt` or by hand, and
 * root is trusted. The checks here are for mistakes: each gets a clear message.
 */

import { readFileSync, realpathSync } from "node:fs";
import { basename } from "node:path";
import { errorText, RktError } from "../../shared/errors.ts";
import { ANNOTATIONS, INTERFACE_VERSION_ANNOTATION } from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { isUuid } from "../../shared/contract/data-directory.ts";
import { LAYOUT_VERSION, STAGE1_INTERFACE_VERSION } from "../../shared/contract/versions.ts";
import { annotation } from "../../shared/schema/image-manifest.ts";
import { parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import type { PodManifest } from "../../shared/schema/types.ts";
import { readUsers, type Users } from "./users.ts";

export interface Container {
  uuid: string;
  manifest: PodManifest;
  debug: boolean;
  interactive: boolean;
  /** The container's own users; undefined: the host's. */
  users: Users | undefined;
}

/** Reads the container in the working directory. */
export function readContainer(): Container {
  const here = containerLayout(".");
  const uuid = basename(realpathSync("."));
  if (!isUuid(uuid))
    throw new RktError("bad-layout", `the working directory ${uuid} is not named by a container's UUID`, {
      hint: "stage 1 is started by `rkt run`, from the container directory",
    });
  let text: string;
  try {
    text = readFileSync(here.manifest, "utf8");
  } catch (error) {
    throw new RktError("bad-layout", `cannot read the container manifest: ${errorText(error)}`, { cause: error });
  }
  const manifest = parsePodManifest(text);
  requireVersion(uuid, manifest, "layout", ANNOTATIONS.layoutVersion, LAYOUT_VERSION);
  requireVersion(uuid, manifest, "interface", INTERFACE_VERSION_ANNOTATION, STAGE1_INTERFACE_VERSION);
  const flag = (key: string) => annotation(manifest.annotations, key) === "true";
  return {
    uuid,
    manifest,
    debug: flag(ANNOTATIONS.debug),
    interactive: flag(ANNOTATIONS.interactive),
    users: readUsers(uuid, manifest),
  };
}

/** A manifest that names no version has ours. */
function requireVersion(uuid: string, manifest: PodManifest, what: string, key: string, ours: string): void {
  const version = annotation(manifest.annotations, key) ?? ours;
  if (version !== ours)
    throw new RktError("bad-layout", `container ${uuid} has ${what} version "${version}", this stage1 speaks ${ours}`, {
      hint: "use the stage1 image that came with this rkt",
    });
}
