/** Which containers a command is about: UUIDs by any unambiguous prefix, or a file that holds one. */

import { readFileSync } from "node:fs";
import { errorText, RktError, usageError } from "../../shared/errors.ts";
import { type ContainerRef, findContainer } from "./lifecycle.ts";

export const uuidFileOption = {
  "uuid-file": { type: "string", value: "FILE", description: "a file with the UUID, as --uuid-file-save writes it" },
} as const;

export function selectContainers(
  data: string,
  operands: readonly string[],
  uuidFile: string | undefined,
): ContainerRef[] {
  const words = uuidFile === undefined ? operands : [...operands, readUuidFile(uuidFile)];
  if (words.length === 0) throw usageError("no container is named", "give its UUID, or --uuid-file");
  return words.map((word) => findContainer(data, word));
}

/** As `selectContainers`, of exactly one. */
export function selectContainer(data: string, operands: readonly string[], uuidFile: string | undefined): ContainerRef {
  const [container, second] = selectContainers(data, operands, uuidFile);
  if (container === undefined || second !== undefined) throw usageError("exactly one container must be named");
  return container;
}

function readUuidFile(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new RktError("uuid-file", `cannot read the UUID file: ${errorText(error)}`, { cause: error });
  }
}
