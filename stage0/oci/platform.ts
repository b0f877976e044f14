/**
 * Platforms as OCI images name them: an operating system, an architecture in
 * Go's spelling, and for some architectures a variant. Pure.
 *
 * Source: image-spec, image-index.md; containerd/platforms for the order of variants.
 */

import { arch } from "node:process";
import { usageError } from "../../shared/errors.ts";

export interface Platform {
  os: string;
  architecture: string;
  variant: string | undefined;
}

/** The runtime's names that are not Go's. */
const GO_ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };
/** Names that people use. */
const ALIASES: Readonly<Record<string, string>> = { x86_64: "amd64", "x86-64": "amd64", aarch64: "arm64", i386: "386" };

export const HOST_PLATFORM: Platform = { os: "linux", architecture: GO_ARCHITECTURES[arch] ?? arch, variant: undefined };

/** Variants that an architecture without one means. */
const USUAL: Readonly<Record<string, string>> = { amd64: "v1", arm64: "v8", arm: "v7" };

/** `linux/amd64`, `linux/arm/v7`. */
export function parsePlatform(text: string): Platform {
  const [os = "", architecture = "", variant, ...more] = text.split("/");
  const word = /^[a-z0-9][a-z0-9._-]{0,31}$/;
  if (!word.test(os) || !word.test(architecture) || (variant !== undefined && !word.test(variant)) || more.length > 0)
    throw usageError(`--platform ${JSON.stringify(text)}: must be OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT`, "linux/arm64");
  return { os, architecture: ALIASES[architecture] ?? architecture, variant };
}

export const formatPlatform = ({ os, architecture, variant }: Platform): string =>
  `${os}/${architecture}${variant === undefined ? "" : `/${variant}`}`;

export const isHostPlatform = (platform: Platform): boolean =>
  formatPlatform(platform) === formatPlatform(HOST_PLATFORM);

/** How well an image serves a platform: 0 is best; undefined: not at all. */
export function suitability(image: Platform, wanted: Platform): number | undefined {
  if (image.os !== wanted.os || image.architecture !== wanted.architecture) return undefined;
  const usual = USUAL[wanted.architecture];
  const [has, wants] = [image.variant ?? usual, wanted.variant ?? usual];
  // Of two that mean the same, the one in the words of the person.
  if (has === wants) return image.variant === wanted.variant ? 0 : 1;
  // A 32-bit ARM runs what was made for older ones.
  const [older, newer] = [generation(has), generation(wants)];
  if (wanted.architecture !== "arm" || older === undefined || newer === undefined || older > newer) return undefined;
  return 1 + newer - older;
}

function generation(variant: string | undefined): number | undefined {
  const [, digit] = /^v([5-8])$/.exec(variant ?? "") ?? [];
  return digit === undefined ? undefined : Number(digit);
}
