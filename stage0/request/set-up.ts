/** From the line of `run` or `prepare` to a prepared container. */

import { readFileSync } from "node:fs";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { PROTECTIONS } from "../../shared/contract/annotations.ts";
import { LOCAL_CONFIG_DIR, SYSTEM_CONFIG_DIR } from "../../shared/contract/configuration.ts";
import { parsePodTemplate } from "../../shared/schema/pod-manifest.ts";
import type { NameValue, PodTemplate } from "../../shared/schema/types.ts";
import { readStage1Settings } from "../config/settings.ts";
import { hasUnifiedCgroups } from "../container/cgroups.ts";
import type { OwnedContainer } from "../container/lifecycle.ts";
import { wantsPrivateNetwork } from "./isolators.ts";
import { type Circumstances, containerManifest, fromPodManifest, knownBySha256 } from "./manifest.ts";
import { prepareContainer } from "../container/prepare.ts";
import { discard } from "../container/remove.ts";
import type { RunRequest } from "./request.ts";
import { checkVolumeSources } from "./volume-sources.ts";
import type { GlobalOptions } from "../cli/globals.ts";
import { executableDirectory, findImages, imageReference, type WantedImage, wantedStage1 } from "../fetch/find.ts";
import { writeOutputFile } from "../host/output-file.ts";
import { say } from "../terminal/output.ts";
import { leastProvenance, STAGE1_PROVENANCE } from "../store/provenance.ts";
import { openStore } from "../store/store.ts";
import { thisProgram } from "../host/this-program.ts";
import { openFinder } from "./pull-options.ts";
import type { RunLine } from "./run-line.ts";
import { parseEnvironmentFile } from "./values.ts";

export interface SetUpOptions {
  /** The container outlives this process: its files are flushed to disk. */
  durable: boolean;
}

export async function setUpContainer(
  { request: asked, stage1, pullPolicy, maxImageSize, options }: RunLine,
  globals: GlobalOptions,
  { durable }: SetUpOptions,
): Promise<OwnedContainer> {
  const given = asked.podManifest === undefined ? undefined : readPodManifest(asked.podManifest);
  let circumstances: Circumstances = {
    environment: asked.environment.inherit ? callersVariables() : [],
    environmentFiles: asked.environment.files.flatMap((path) => parseEnvironmentFile(path, read(path))),
    created: new Date(),
    debug: globals.debug,
    configDirs: configDirs(globals),
    unifiedCgroups: hasUnifiedCgroups(),
    unprotected: PROTECTIONS.filter((protection) => globals.insecure.has(protection)),
    metadataUrl: await registered(globals, asked.network ?? "host", options),
  };
  // Before any image is imported: a slip in the line costs nothing.
  const wanted = given === undefined ? wantedImages(asked) : imagesOf(given);
  const stage1Image = wantedStage1(stage1, executableDirectory(), readStage1Settings(globals));

  // An image that cannot be run as asked leaves nothing in the store.
  const store = openStore(globals.dir, { hold: true, maxImageSize, checkBlobs: !globals.insecure.has("ondisk") });
  const finder = openFinder(globals, store, pullPolicy);
  try {
    const images = await findImages(wanted, finder);
    const manifests = images.map(({ key }) => store.manifest(key));
    const isolators = manifests.map(({ app }, i) => (given?.apps[i]?.app ?? app)?.isolators ?? []);
    const own = asked.network === undefined && [given?.isolators ?? [], ...isolators].some(wantsPrivateNetwork);
    const request = own ? { ...asked, network: "default" } : asked;
    // A service that serves the host's network may be out of reach of the container's own.
    if (own) circumstances = { ...circumstances, metadataUrl: await registered(globals, "default", options) };
    const bySha256 = circumstances.metadataUrl !== undefined && manifests.some(knownBySha256);
    const resolved = images.map(({ id, key }) => ({
      id,
      manifest: store.manifest(key),
      sha256: bySha256 ? store.sha256(key) : undefined,
    }));
    const { manifest, implicitVolumes, warnings, notes } =
      given === undefined
        ? containerManifest(request, resolved, circumstances)
        : fromPodManifest(given, request, resolved, circumstances);
    checkVolumeSources(manifest);
    const note = (text: string, hint?: string) => {
      if (!globals.quiet) say(text, hint);
    };
    for (const warning of warnings) note(`warning: ${warning}`);
    for (const { text, hint } of notes) note(text, hint);
    const [stage1Found] = await findImages([stage1Image], finder, STAGE1_PROVENANCE);
    if (stage1Found === undefined) throw new Error("no stage1 image");
    const container = await prepareContainer({
      data: globals.dir,
      store,
      manifest,
      implicitVolumes,
      stage1: stage1Found,
      images,
      least: leastProvenance(globals.insecure),
      overlay: !options["no-overlay"],
      durable,
      note,
    });
    saveUuid(container, options["uuid-file-save"], globals.dir);
    return container;
  } finally {
    await finder.close();
    store.close();
  }
}

/** Nobody would know of a container whose UUID cannot be told. */
function saveUuid(container: OwnedContainer, path: string | undefined, data: string): void {
  if (path === undefined) return;
  try {
    writeOutputFile(path, container.uuid);
  } catch (error) {
    discard(data, container);
    throw new RktError("uuid-file", `cannot write the UUID to ${path}: ${errorText(error)}`, {
      hint: "--uuid-file-save names a file in a directory that is there",
      cause: error,
    });
  }
}

function configDirs({ localConfig, systemConfig }: GlobalOptions): string[] | undefined {
  const dirs = [localConfig, systemConfig];
  return dirs.join() === [LOCAL_CONFIG_DIR, SYSTEM_CONFIG_DIR].join() ? undefined : dirs;
}

/** AC_METADATA_URL of the container's apps; undefined without the metadata service. */
async function registered(
  globals: GlobalOptions,
  network: string,
  { "mds-register": wish, "spawn-metadata-svc": spawn }: RunLine["options"],
): Promise<string | undefined> {
  if (wish === "false") return undefined;
  const { ASLEEP, register } = await import("../metadata/registration.ts");
  const url = await register({
    data: globals.dir,
    network,
    program: spawn ? thisProgram() : undefined,
    wait: wish === "true",
  });
  if (typeof url === "string") return url;
  if (spawn || wish === "true") throw url;
  if (url.code === ASLEEP && !globals.quiet) say(`warning: ${url.message}: the container is not registered`);
  return undefined;
}

function wantedImages(request: RunRequest): WantedImage[] {
  return request.apps.map(({ image, signature }) => ({ reference: imageReference(image), signature }));
}

function imagesOf(manifest: PodTemplate): WantedImage[] {
  return manifest.apps.map(({ image: { id, name = "", labels } }) => ({
    reference: id === undefined ? { kind: "name", name, labels } : { kind: "hash", hash: id },
  }));
}

function readPodManifest(path: string): PodTemplate {
  return parsePodTemplate(read(path), { object: path });
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT")
      throw new RktError("no-such-file", `there is no file ${path}`, { hint: "give the path of a file that is there" });
    throw new RktError("no-such-file", `cannot read ${path}: ${errorText(error)}`, { cause: error });
  }
}

function callersVariables(): NameValue[] {
  return Object.entries(callersEnvironment()).flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }]));
}
