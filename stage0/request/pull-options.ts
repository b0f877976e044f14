/** The options that say when rkt fetches an image from the network, and how large it may be. */

import { usageError } from "../../shared/errors.ts";
import { parseQuantity } from "../../shared/schema/quantity.ts";
import { type Platform, parsePlatform } from "../oci/platform.ts";
import type { PullPolicy } from "../fetch/fetch-context.ts";
import type { OptionTable } from "../cli/words.ts";

export const pullOptions = {
  "pull-policy": {
    type: "string",
    choices: ["never", "new", "update"],
    exclusive: "pull policy",
    value: "never|new|update",
    description: "when to use the network: never, for images that the store lacks, or always, to look for newer ones",
    group: "Images",
  },
  platform: {
    type: "string",
    value: "OS/ARCH[/VARIANT]",
    description: "of an OCI image for several platforms, take the one for this (this machine's)",
    group: "Images",
  },
  "max-image-size": {
    type: "string",
    value: "SIZE",
    description: "limit of an image's unpacked size (64Gi, and 200 times its file)",
    group: "Images",
  },
  "no-store": {
    type: "boolean",
    exclusive: "pull policy",
    description: "the same as --pull-policy=update",
    group: "Images",
    hidden: true,
  },
  "store-only": {
    type: "boolean",
    exclusive: "pull policy",
    description: "the same as --pull-policy=never",
    group: "Images",
    hidden: true,
  },
} as const satisfies OptionTable;

interface PullValues {
  "pull-policy": string | undefined;
  "no-store": boolean;
  "store-only": boolean;
}

export function readPullPolicy(values: PullValues, usual: PullPolicy): PullPolicy {
  if (values["no-store"]) return "update";
  if (values["store-only"]) return "never";
  return (values["pull-policy"] as PullPolicy | undefined) ?? usual;
}

/** Undefined for this machine's. */
export const readPlatform = (text: string | undefined): Platform | undefined =>
  text === undefined ? undefined : parsePlatform(text);

/** Bytes; undefined for the usual limits. */
export function readMaxImageSize(text: string | undefined): number | undefined {
  const size = text === undefined ? undefined : parseQuantity(text, 0);
  if (text !== undefined && (size === undefined || size <= 0n))
    throw usageError(`--max-image-size ${JSON.stringify(text)}: must be an amount of bytes`, "--max-image-size=100Gi");
  return size === undefined ? undefined : Number(size);
}
