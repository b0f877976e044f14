/** From the line of `run` or `prepare` to a prepared container. */

import { readFileSync } from "node:fs";
import { errorText, RktError } from "../../shared/errors.ts";
import { parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import type { NameValue, PodManifest } from "../../shared/schema/types.ts";
import type { OwnedContainer } from "../container/lifecycle.ts";
import { type Circumstances, containerManifest, fromPodManifest } from "../container/manifest.ts";
import { prepareContainer } from "../container/prepare.ts";
import type { RunRequest } from "../container/request.ts";
import { checkVolumeSources } from "../container/volume-sources.ts";
import type { GlobalOptions } from "../globals.ts";
import { executableDirectory, findImage, type ImageFinder, stage1Reference, type WantedImage } from "../image/find.ts";
import { parseImageReference } from "../image/image-name.ts";
import { say } from "../output.ts";
import { openStore, type StoredImage } from "../store/store.ts";
import type { RunLine } from "./run-request.ts";
import { parseEnvironmentFile } from "./values.ts";

export interface SetUpOptions {
  /** The container outlives this process: its files are flushed to disk. */
  durable: boolean;
}

export async function setUpContainer(
  { request, stage1, pullPolicy, options }: RunLine,
  globals: GlobalOptions,
  { durable }: SetUpOptions,
): Promise<OwnedContainer> {
  const given = request.podManifest === undefined ? undefined : readPodManifest(request.podManifest);
  const circumstances: Circumstances = {
    environment: request.environment.inherit ? callersEnvironment() : [],
    environmentFiles: request.environment.files.flatMap((path) => parseEnvironmentFile(path, read(path))),
    created: new Date(),
    debug: globals.debug,
  };
  // Before any image is imported: a slip in the line costs nothing.
  const wanted = given === undefined ? wantedImages(request) : imagesOf(given);
  const wantedStage1 = { reference: stage1Reference(stage1, executableDirectory()) };

  const store = openStore(globals.dir);
  try {
    const finder: ImageFinder = { store, trustStore: pullPolicy !== "update" };
    const images: StoredImage[] = [];
    for (const image of wanted) images.push(await findImage(image, finder));
    const resolved = images.map(({ id, key }) => ({ id, manifest: store.manifest(key) }));
    const { manifest, warnings } =
      given === undefined
        ? containerManifest(request, resolved, circumstances)
        : fromPodManifest(given, request, resolved, circumstances);
    checkVolumeSources(manifest);
    if (!globals.quiet) for (const warning of warnings) say(`warning: ${warning}`);
    return await prepareContainer({
      data: globals.dir,
      store,
      manifest,
      stage1: await findImage(wantedStage1, finder),
      images,
      overlay: !options["no-overlay"],
      durable,
    });
  } finally {
    store.close();
  }
}

function wantedImages(request: RunRequest): WantedImage[] {
  return request.apps.map(({ image, signature }) => ({ reference: parseImageReference(image), signature }));
}

function imagesOf(manifest: PodManifest): WantedImage[] {
  return manifest.apps.map(({ image }) => ({ reference: { kind: "hash", hash: image.id } }));
}

function readPodManifest(path: string): PodManifest {
  return parsePodManifest(read(path), { object: path });
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new RktError("no-such-file", `cannot read ${path}: ${errorText(error)}`, { cause: error });
  }
}

function callersEnvironment(): NameValue[] {
  return Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }]));
}
