/** Finds the containers that a command line names: by unambiguous prefixes of UUIDs, or by a file that holds a UUID. */

import { readNamed } from "../../shared/bounded-read.ts";
import { errorText, RktError, usageError } from "../../shared/errors.ts";
import { shortId } from "../../shared/contract/image-ids.ts";
import type { PodManifest, RuntimeApp } from "../../shared/schema/types.ts";
import { say } from "../terminal/output.ts";
import { type ContainerRef, findContainer } from "./lifecycle.ts";

export const uuidFileOption = {
  "uuid-file": { type: "string", value: "FILE", description: "a file with the UUID, as --uuid-file-save writes it" },
} as const;

/** The named containers, each once. */
export function selectContainers(
  data: string,
  operands: readonly string[],
  uuidFile: string | undefined,
): ContainerRef[] {
  const words = uuidFile === undefined ? operands : [...operands, readUuidFile(uuidFile)];
  if (words.length === 0) throw usageError("no container is named", "give its UUID, or --uuid-file");
  const found = words.map((word) => findContainer(data, word));
  return [...new Map(found.map((ref) => [ref.uuid, ref])).values()];
}

/** As `selectContainers`, for exactly one. */
export function selectContainer(data: string, operands: readonly string[], uuidFile: string | undefined): ContainerRef {
  if (uuidFile !== undefined && operands.length > 0) throw usageError("a UUID and --uuid-file: which of the two?");
  const [container] = selectContainers(data, operands, uuidFile);
  if (container === undefined) throw usageError("no container is named");
  return container;
}

/**
 * Calls `act` for all containers in parallel, even if some fail. Prints all errors except the first, which it throws.
 */
export async function forEachContainer(
  containers: readonly ContainerRef[],
  act: (ref: ContainerRef) => Promise<void>,
): Promise<void> {
  const outcomes = await Promise.allSettled(containers.map(act));
  const [first, ...others] = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome] : []));
  for (const { reason } of others) say(errorText(reason));
  if (first !== undefined) throw first.reason;
}

/** The app with this name or image, or the only one. */
export function chooseApp(manifest: PodManifest, name: string | undefined, imageId: string | undefined): RuntimeApp {
  const matching = manifest.apps.filter(
    (app) => (name === undefined || app.name === name) && (imageId === undefined || app.image.id.startsWith(imageId)),
  );
  const [app, second] = matching;
  const there = manifest.apps.map((one) => `${one.name} (${shortId(one.image.id)})`).join(", ");
  if (app === undefined)
    throw new RktError("no-such-app", `the container has no app ${name ?? imageId}`, { hint: `there are: ${there}` });
  if (second !== undefined) throw usageError("the container has several apps", `choose one with --app: ${there}`);
  return app;
}

function readUuidFile(path: string): string {
  try {
    return readNamed(path, 4096).toString().trim();
  } catch (error) {
    throw new RktError("uuid-file", `cannot read the UUID file: ${errorText(error)}`, { cause: error });
  }
}
