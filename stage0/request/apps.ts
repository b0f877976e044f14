/**
 * Makes an app of the container manifest: its image's app section, changed by the options of the command line. Pure.
 *
 * If several places set a variable, the last of these wins: the caller (`--inherit-env`), the image, `--set-env-file`,
 * `--set-env`, `--environment`.
 */

import { posix } from "node:path";
import {
  ACCOUNT_ANNOTATION,
  type ACCOUNTS,
  CMD_ANNOTATION,
  EARLY_IMAGE_ANNOTATION,
  ENTRYPOINT_ANNOTATION,
  IMAGE_SHA256_ANNOTATION,
  MAKE_WORKING_DIRECTORY_ANNOTATION,
  NOTIFY_ANNOTATION,
  NUMERIC_IDS_ANNOTATION,
  type Protection,
  STOP_SIGNAL_ANNOTATION,
  STOP_TIMEOUT_ANNOTATION,
} from "../../shared/contract/annotations.ts";
import { RktError } from "../../shared/errors.ts";
import { annotation, appFromImage, bareApp, requireHost } from "../../shared/schema/image-manifest.ts";
import { specVersion } from "../../shared/schema/early-manifests.ts";
import { quote } from "../../shared/schema/manifest-error.ts";
import type { App, ImageID, ImageManifest, NameValue, PodManifest, RuntimeApp } from "../../shared/schema/types.ts";
import { olderThan, toACName, variableName } from "../../shared/schema/values.ts";
import { withoutPriorities } from "./host-priorities.ts";
import { overrideIsolators } from "./isolators.ts";
import type { AppRequest, RunRequest } from "./request.ts";
import { mergeMounts } from "./volumes.ts";

export interface ResolvedImage {
  /** All 128 digits. */
  id: ImageID;
  manifest: ImageManifest;
  /** `sha256-` and 64 hex digits: only in a container with an app that asks for this ID (`knownBySha256`). */
  sha256?: string | undefined;
}

/** What a container manifest depends on, besides the request and the images. */
export interface Circumstances {
  /** The caller's environment; used with `--inherit-env`. */
  environment: readonly NameValue[];
  /** The variables in the files of `--set-env-file`, in order. */
  environmentFiles: readonly NameValue[];
  created: Date;
  debug: boolean;
  /** The directories of network configurations, if they are not the default ones. */
  configDirs?: readonly string[] | undefined;
  /** The host has cgroup v2 alone. */
  unifiedCgroups?: boolean;
  /** The protections that are switched off for the apps. */
  unprotected?: readonly Protection[];
  /** For a container that is registered with the metadata service. */
  metadataUrl?: string | undefined;
}

export function runtimeApp(
  asked: AppRequest,
  image: ResolvedImage,
  request: RunRequest,
  circumstances: Circumstances,
): RuntimeApp {
  const { id, manifest } = image;
  requireHost(manifest);
  const app = asked.exec === undefined ? appFromImage(manifest) : withExec(manifest, asked.exec);
  const name = asked.name ?? defaultName(manifest.name);
  const where = { object: `app ${name}`, path: "isolators" };
  return {
    name,
    image: { id, name: manifest.name, labels: manifest.labels },
    app: {
      ...app,
      exec:
        asked.exec === undefined && asked.arguments.length > 0
          ? withArguments(app, asked, manifest)
          : [...app.exec, ...asked.arguments],
      user: asked.user ?? app.user,
      group: asked.group ?? app.group,
      supplementaryGIDs: asked.supplementaryGIDs ?? (namesAccount(asked) ? [] : app.supplementaryGIDs),
      workingDirectory: asked.workingDirectory ?? app.workingDirectory,
      environment: environment([
        request.environment.inherit ? expressible(circumstances.environment) : [],
        app.environment,
        circumstances.environmentFiles,
        request.environment.set,
        asked.environment,
      ]),
      isolators: overrideIsolators(withoutPriorities(app.isolators, where), asked.isolators, where),
      userAnnotations: { ...app.userAnnotations, ...record(asked.userAnnotations) },
      userLabels: { ...app.userLabels, ...record(asked.userLabels) },
    },
    readOnlyRootFS: asked.readOnlyRootFS,
    mounts: mergeMounts(request.mounts, asked.mounts),
    annotations: [...factsFor(asked, image), ...numericAccount(asked, image, app)],
  };
}

/** The person's arguments come after the image's command; of an image that has an entrypoint and arguments of its own, in place of these. */
function withArguments({ exec }: App, asked: AppRequest, { annotations }: ImageManifest): string[] {
  const [entrypoint, cmd] = [words(annotations, ENTRYPOINT_ANNOTATION), words(annotations, CMD_ANNOTATION)];
  const known = entrypoint !== undefined && cmd !== undefined && isSame([...entrypoint, ...cmd], exec);
  return [...(known ? entrypoint : exec), ...asked.arguments];
}

/** The list that an annotation has as JSON; undefined for none, and for anything else. */
function words(annotations: readonly NameValue[], name: string): string[] | undefined {
  try {
    const list: unknown = JSON.parse(annotation(annotations, name) ?? "");
    return Array.isArray(list) && list.every((word) => typeof word === "string") ? list : undefined;
  } catch {
    return undefined;
  }
}

const isSame = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((word, i) => word === b[i]);

/** Whoever names a group means that one, and not what an OCI image says of groups; whoever names a user, that user's. */
function factsFor(asked: AppRequest, image: ResolvedImage): NameValue[] {
  const facts = withFacts(asked.annotations, image);
  if (asked.group !== undefined) return facts.filter(({ name }) => name !== ACCOUNT_ANNOTATION);
  const own: (typeof ACCOUNTS)[number] = "own";
  return facts.map((fact) =>
    asked.user !== undefined && fact.name === ACCOUNT_ANNOTATION ? { ...fact, value: own } : fact,
  );
}

/** Who is given another user or group than the image's is not meant to have the image's further groups (disk, shadow). */
const namesAccount = ({ user, group }: AppRequest): boolean => user !== undefined || group !== undefined;

/** What the image may have as names is a number on the command line (CVE-2016-3697), and in the configuration of an OCI image. */
function numericAccount(asked: AppRequest, { manifest }: ResolvedImage, app: App): NameValue[] {
  const ofImage = annotation(manifest.annotations, ACCOUNT_ANNOTATION) !== undefined;
  const numbers = (["user", "group"] as const).filter((what) =>
    /^[0-9]+$/.test(asked[what] ?? (ofImage ? app[what] : "")),
  );
  return numbers.length === 0 ? [] : [{ name: NUMERIC_IDS_ANNOTATION, value: numbers.join(",") }];
}

const OF_IMAGES: readonly string[] = [
  ...[NOTIFY_ANNOTATION, STOP_SIGNAL_ANNOTATION, STOP_TIMEOUT_ANNOTATION],
  ...[ACCOUNT_ANNOTATION, MAKE_WORKING_DIRECTORY_ANNOTATION],
];

/** What says how the image's app section is meant: nothing of a section that somebody else wrote. */
const OF_APP_SECTIONS: readonly string[] = [ACCOUNT_ANNOTATION, MAKE_WORKING_DIRECTORY_ANNOTATION];

/** As `withFacts`, for an app of a pod manifest; `replaced`: it has a section of its own. */
export function factsOfTemplate(own: readonly NameValue[], image: ResolvedImage, replaced: boolean): NameValue[] {
  const facts = withFacts(own, image);
  if (replaced) return facts.filter(({ name }) => !OF_APP_SECTIONS.includes(name));
  const section = image.manifest.app;
  const numbers =
    section === undefined || annotation(facts, ACCOUNT_ANNOTATION) === undefined
      ? []
      : (["user", "group"] as const).filter((what) => /^[0-9]+$/.test(section[what]));
  return numbers.length === 0 ? facts : [...facts, { name: NUMERIC_IDS_ANNOTATION, value: numbers.join(",") }];
}

/**
 * Adds what the other stages need to know about the image, if the user has not set it: whether the app reports its
 * readiness and how it is stopped; for an early image also its version and its ID of that time.
 */
export function withFacts(own: readonly NameValue[], { manifest, sha256 }: ResolvedImage): NameValue[] {
  const facts = manifest.annotations.filter(({ name }) => OF_IMAGES.includes(name));
  const version = specVersion(manifest.acVersion);
  if (olderThan(version, "0.6.0")) facts.push({ name: EARLY_IMAGE_ANNOTATION, value: version });
  if (sha256 !== undefined) facts.push({ name: IMAGE_SHA256_ANNOTATION, value: sha256 });
  return [...facts.filter((fact) => !own.some(({ name }) => name === fact.name)), ...own];
}

/** The image's app with another command. Then the image needs no app section. */
function withExec(manifest: ImageManifest, exec: string): App {
  return manifest.app === undefined ? bareApp([exec]) : { ...appFromImage(manifest), exec: [exec] };
}

/** The last component of the image's name: `example.com/worker` becomes `worker`. */
function defaultName(imageName: string): string {
  const name = toACName(posix.basename(imageName));
  if (name === "")
    throw new RktError("no-app-name", `image ${imageName} gives its app no name`, { hint: "give one with --name" });
  return name;
}

/**
 * Names of files and units consist of an app's name and up to 55 more bytes; a file name has 255 at most (NAME_MAX).
 */
const MAX_NAME = 200;

export function requireShort(what: string, name: string, hint: string): void {
  if (name.length > MAX_NAME)
    throw new RktError("long-name", `the name of ${what} ${name.slice(0, 20)}… is longer than ${MAX_NAME} bytes`, {
      hint,
    });
}

export function requireUniqueNames(apps: readonly RuntimeApp[]): void {
  const names = new Set<string>();
  for (const { name } of apps) {
    requireShort("app", name, "--name after the image gives it another one");
    if (names.has(name))
      throw new RktError("duplicate-app", `two apps are called "${name}"`, {
        hint: "give one another name: --name after its image",
      });
    names.add(name);
  }
}

export function requireCommands(apps: readonly RuntimeApp[]): void {
  for (const { name, app } of apps) {
    if (app?.exec.length === 0)
      throw new RktError("no-exec", `app ${name}: nothing says what to run`, {
        hint: "say it with --exec after the image, or in the pod manifest",
      });
    const handler = app?.eventHandlers.find(({ exec }) => exec.length === 0);
    if (handler !== undefined)
      throw new RktError("no-exec", `app ${name}: its ${handler.name} handler does not say what to run`, {
        hint: "mend the image's manifest",
      });
  }
}

export function strangeReadiness({ apps }: PodManifest): string[] {
  return apps.flatMap(({ name, annotations }) => {
    const { value } = annotations.find((one) => one.name === NOTIFY_ANNOTATION) ?? {};
    if (value === undefined || value === "true" || value === "false") return [];
    return [`app ${name}: the annotation ${NOTIFY_ANNOTATION} is ${quote(value)}, neither true nor false: no effect`];
  });
}

/** Merges the lists; a later list wins. A variable keeps the position of its first occurrence. */
function environment(lists: readonly (readonly NameValue[])[]): NameValue[] {
  const variables = new Map(lists.flat().map(({ name, value }) => [name, value]));
  return [...variables].map(([name, value]) => ({ name, value }));
}

/** Leaves out variables whose names a manifest can't hold; shells export some (`BASH_FUNC_x%%`). */
function expressible(variables: readonly NameValue[]): NameValue[] {
  return variables.filter(({ name }) => variableName(name) === undefined);
}

/** An object of the pairs. It has no prototype, because its names come from outside. */
export function record(pairs: readonly NameValue[]): Record<string, string> {
  const result: Record<string, string> = Object.create(null);
  for (const { name, value } of pairs) result[name] = value;
  return result;
}
