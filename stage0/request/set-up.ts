/** Makes a container that is ready to run, from a request. */

import { readNamed } from "../../shared/bounded-read.ts";
import { callersEnvironment } from "../../shared/callers-environment.ts";
import { errorCode, errorText, RktError } from "../../shared/errors.ts";
import { PROTECTIONS } from "../../shared/contract/annotations.ts";
import { LOCAL_CONFIG_DIR, SYSTEM_CONFIG_DIR } from "../../shared/contract/configuration.ts";
import type { PassedSocket } from "../../shared/passed-sockets.ts";
import { MAX_MANIFEST_BYTES } from "../../shared/schema/json.ts";
import { parsePodTemplate } from "../../shared/schema/pod-manifest.ts";
import type { ImageManifest, NameValue, PodTemplate } from "../../shared/schema/types.ts";
import type { ConfigDirs } from "../config/config-files.ts";
import { readStage1Settings, type Settings } from "../config/settings.ts";
import { hasUnifiedCgroups } from "../container/cgroups.ts";
import type { OwnedContainer } from "../container/lifecycle.ts";
import { prepareContainer } from "../container/prepare.ts";
import { requirePassable } from "../container/sockets.ts";
import { removeContainerDirectory } from "../container/remove.ts";
import { findImages, imageReference, type WantedImage } from "../fetch/find.ts";
import { openFinder } from "../fetch/open-finder.ts";
import { executableDirectory, wantedStage1 } from "../fetch/wanted-stage1.ts";
import { writeOutputFile } from "../host/output-file.ts";
import { leastProvenance, STAGE1_PROVENANCE } from "../store/provenance.ts";
import { openStore, type Store, type StoredImage } from "../store/store.ts";
import type { NoteReporter } from "../terminal/output.ts";
import type { Circumstances, ResolvedImage } from "./apps.ts";
import { parseEnvironmentFile } from "./environment-options.ts";
import { wantsPrivateNetwork } from "./isolators.ts";
import { type ContainerManifest, containerManifest, fromPodManifest, knownBySha256 } from "./manifest.ts";
import { metadataUrl } from "./metadata-url.ts";
import type { ContainerRequest, RunRequest } from "./request.ts";
import { checkVolumeSources } from "./volume-sources.ts";

export interface SetUpOptions {
  /** The container outlives this process: its files are flushed to disk. */
  durable: boolean;
  /** Sockets that rkt was started with, and that the apps get. */
  sockets: readonly PassedSocket[];
  /** Shows remarks to the user. */
  reporter: NoteReporter;
}

export async function setUpContainer(
  request: ContainerRequest,
  settings: Settings,
  { durable, sockets, reporter }: SetUpOptions,
): Promise<OwnedContainer> {
  const { run, pullPolicy, platform, maxImageSize, overlay } = request;
  // What the command line and its files say is read before any image is: a mistake in them costs nothing.
  const template = run.podManifest === undefined ? undefined : readPodTemplate(run.podManifest);
  const circumstances = readCircumstances(run, settings);
  const wanted = template === undefined ? imagesOfApps(run) : imagesOfTemplate(template);
  const wantedStage1Image = wantedStage1(request.stage1, executableDirectory(), readStage1Settings(settings));
  const url = (network: string) => metadataUrl(request.metadataService, network, settings, reporter);
  const urlAsAsked = await url(run.network ?? "host");

  // `hold`: new images enter the store only at the end, so that an image that can't be run leaves nothing there.
  const store = openStore(settings.dir, { hold: true, maxImageSize, checkBlobs: !settings.insecure.has("ondisk") });
  const finder = openFinder(settings, store, pullPolicy, platform);
  try {
    const images = await findImages(wanted, finder);
    const manifests = images.map(({ key }) => store.manifest(key));
    const ownNetwork = run.network === undefined && wantOwnNetwork(manifests, template);
    const made = makeManifest({
      run: ownNetwork ? { ...run, network: "default" } : run,
      template,
      images,
      store,
      circumstances: {
        ...circumstances,
        // Asks again: a container with its own network may not reach a service that listens on loopback.
        metadataUrl: ownNetwork ? await url("default") : urlAsAsked,
      },
    });
    checkVolumeSources(made.manifest);
    for (const warning of made.warnings) reporter.note(`warning: ${warning}`);
    for (const { text, hint } of made.notes) reporter.note(text, hint);
    const [stage1] = await findImages([wantedStage1Image], finder, STAGE1_PROVENANCE);
    if (stage1 === undefined) throw new Error("no stage1 image");
    requirePassable(sockets, made.manifest, store.manifest(stage1.key));
    const container = await prepareContainer({
      data: settings.dir,
      store,
      manifest: made.manifest,
      implicitVolumes: made.implicitVolumes,
      stage1,
      images,
      least: leastProvenance(settings.insecure),
      overlay,
      maxImageSize,
      durable,
      note: reporter.note,
    });
    saveUuid(container, request.uuidFile, settings.dir);
    return container;
  } finally {
    await finder.close();
    store.close();
  }
}

function readCircumstances(run: RunRequest, settings: Settings): Circumstances {
  return {
    environment: run.environment.inherit ? callersVariables() : [],
    environmentFiles: run.environment.files.flatMap((path) => parseEnvironmentFile(path, read(path))),
    created: new Date(),
    debug: settings.debug,
    configDirs: unusualConfigDirs(settings),
    unifiedCgroups: hasUnifiedCgroups(),
    unprotected: PROTECTIONS.filter((protection) => settings.insecure.has(protection)),
  };
}

/** Whether an isolator of the pod manifest or of an app asks for the container's own network. */
function wantOwnNetwork(manifests: readonly ImageManifest[], template: PodTemplate | undefined): boolean {
  const ofApps = manifests.map(({ app }, i) => (template?.apps[i]?.app ?? app)?.isolators ?? []);
  return [template?.isolators ?? [], ...ofApps].some(wantsPrivateNetwork);
}

interface ManifestParts {
  run: RunRequest;
  template: PodTemplate | undefined;
  images: readonly StoredImage[];
  store: Store;
  circumstances: Circumstances;
}

function makeManifest({ run, template, images, store, circumstances }: ManifestParts): ContainerManifest {
  const registered = circumstances.metadataUrl !== undefined;
  const bySha256 = registered && images.some(({ key }) => knownBySha256(store.manifest(key)));
  const resolved: ResolvedImage[] = images.map(({ id, key }) => ({
    id,
    manifest: store.manifest(key),
    sha256: bySha256 ? store.sha256(key) : undefined,
  }));
  if (template === undefined) return containerManifest(run, resolved, circumstances);
  return fromPodManifest(template, run, resolved, circumstances);
}

/** Writes the UUID to a file. If that fails, the container is removed, because the caller could not find it. */
function saveUuid(container: OwnedContainer, path: string | undefined, data: string): void {
  if (path === undefined) return;
  try {
    writeOutputFile(path, container.uuid);
  } catch (error) {
    removeContainerDirectory(data, container);
    throw new RktError("uuid-file", `cannot write the UUID to ${path}: ${errorText(error)}`, {
      hint: "--uuid-file-save names a file in a directory that is there",
      cause: error,
    });
  }
}

/** The configuration directories for stage 1; undefined if they are the default ones. */
function unusualConfigDirs({ localConfig, systemConfig }: ConfigDirs): string[] | undefined {
  const dirs = [localConfig, systemConfig];
  return dirs.join() === [LOCAL_CONFIG_DIR, SYSTEM_CONFIG_DIR].join() ? undefined : dirs;
}

function imagesOfApps({ apps }: RunRequest): WantedImage[] {
  return apps.map(({ image, signature }) => ({ reference: imageReference(image), signature }));
}

function imagesOfTemplate(manifest: PodTemplate): WantedImage[] {
  return manifest.apps.map(({ image: { id, name = "", labels } }) => ({
    reference: id === undefined ? { kind: "name", name, labels } : { kind: "hash", hash: id },
  }));
}

function readPodTemplate(path: string): PodTemplate {
  return parsePodTemplate(read(path), { object: path });
}

function read(path: string): string {
  try {
    return readNamed(path, MAX_MANIFEST_BYTES).toString();
  } catch (error) {
    if (error instanceof RktError) throw error;
    if (errorCode(error) === "ENOENT")
      throw new RktError("no-such-file", `there is no file ${path}`, { hint: "give the path of a file that is there" });
    throw new RktError("no-such-file", `cannot read ${path}: ${errorText(error)}`, { cause: error });
  }
}

function callersVariables(): NameValue[] {
  return Object.entries(callersEnvironment()).flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }]));
}
