/** Which stage1 image a container gets: by an option, by the configuration, or the one that came with rkt. */

import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { RktError, usageError } from "../../shared/errors.ts";
import { DEFAULT_STAGE1_IMAGE, STAGE1_IMAGE_DIRS } from "../../shared/contract/configuration.ts";
import type { Stage1Settings } from "../config/settings.ts";
import { imageReference, type WantedImage } from "./find.ts";
import { type ImageReference, parseImageReference } from "./sources.ts";


/** Which stage1 image is asked for, and by which option; undefined: the default one. */
export type Stage1Request = { by: "image" | "path" | "url" | "name" | "hash" | "from-dir"; text: string } | undefined;

/** `rkt` is the directory of the executable, where its images may lie. */
export function wantedStage1(request: Stage1Request, rkt: string, settings: Stage1Settings = {}): WantedImage {
  if (request !== undefined) return { reference: stage1Reference(request, rkt, settings) };
  const { name, version, location } = settings;
  const labels = version === undefined ? [] : [{ name: "version", value: version }];
  const stored = name === undefined ? undefined : { name, labels };
  if (location !== undefined) return { reference: parseImageReference(location), stored };
  if (stored !== undefined) return { reference: { kind: "name", ...stored }, stored };
  return { reference: { kind: "file", path: inImageDirs(DEFAULT_STAGE1_IMAGE, rkt, settings) } };
}

function stage1Reference(
  { by, text }: NonNullable<Stage1Request>,
  rkt: string,
  settings: Stage1Settings,
): ImageReference {
  if (by === "path") return { kind: "file", path: text };
  if (by === "from-dir") return { kind: "file", path: inImageDirs(text, rkt, settings) };
  const reference = imageReference(text);
  if (by !== "image" && reference.kind !== by && !(by === "url" && reference.kind === "file"))
    throw usageError(
      `--stage1-${by} ${JSON.stringify(text)} is a ${reference.kind}`,
      `--stage1-image takes a ${reference.kind}`,
    );
  return reference;
}

/** Where the running executable lies, links resolved. */
export function executableDirectory(): string {
  return dirname(realpathSync(process.execPath));
}

function inImageDirs(file: string, rkt: string, { images }: Stage1Settings): string {
  const dirs = [...(images === undefined ? [] : [images]), rkt, ...STAGE1_IMAGE_DIRS];
  const found = dirs.map((dir) => join(dir, file)).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new RktError("no-stage1", `there is no stage1 image ${file}: looked in ${dirs.join(", ")}`, {
    hint: "put the one that came with rkt there, or give one with --stage1-image",
  });
}
