/**
 * Lists the parts of an image as SPDX 2.3 (ISO/IEC 5962): the Debian packages of its files, and Bun. The same
 * inputs give the same text.
 */

import { createHash } from "node:crypto";
import type { Package } from "./debian.ts";
import { RUNTIME_PACKAGE, RUNTIME_VERSION, VERSION } from "./paths.ts";

export interface SbomOptions {
  /** The image's name. */
  name: string;
  packages: readonly Package[];
  /** Seconds since the epoch. */
  created: number;
}

const NONE = "NOASSERTION";

export function spdxDocument({ name, packages, created }: SbomOptions): string {
  const parts = [
    ...packages.map((p) => part(p.name, p.version, debianUrl(p), `See /usr/share/doc/${p.name}/copyright`)),
    part(
      "bun",
      RUNTIME_VERSION,
      `pkg:npm/${encodeURIComponent(RUNTIME_PACKAGE).replace("%2F", "/")}@${RUNTIME_VERSION}`,
      "See /usr/share/doc/bun/copyright",
      "MIT",
    ),
  ];
  const image = { ...part("image", VERSION, undefined, undefined, "Apache-2.0"), name };
  const relationships = [
    relation("SPDXRef-DOCUMENT", "DESCRIBES", image.SPDXID),
    ...parts.map(({ SPDXID }) => relation(image.SPDXID, "CONTAINS", SPDXID)),
  ];
  const contents = JSON.stringify([image, parts]);
  const document = {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name,
    documentNamespace: `https://spdx.org/spdxdocs/${name.replaceAll("/", "-")}-${hash(contents)}`,
    creationInfo: {
      created: new Date(created * 1000).toISOString().replace(/\.\d+/, ""),
      creators: [`Tool: rkt-build-stage1-${VERSION}`],
    },
    packages: [image, ...parts],
    relationships,
  };
  return `${JSON.stringify(document, undefined, 1)}\n`;
}

function part(
  name: string,
  version: string,
  url: string | undefined,
  licenseComments: string | undefined,
  license = NONE,
) {
  return {
    SPDXID: `SPDXRef-${name.replace(/[^A-Za-z0-9.-]/g, "-")}`,
    name,
    versionInfo: version,
    downloadLocation: NONE,
    filesAnalyzed: false,
    licenseConcluded: NONE,
    licenseDeclared: license,
    copyrightText: NONE,
    ...(licenseComments === undefined ? {} : { licenseComments }),
    ...(url === undefined
      ? {}
      : {
          externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: url }],
        }),
  };
}

/** A package URL, by which scanners look up vulnerabilities. */
const debianUrl = ({ name, version }: Package): string =>
  `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=amd64`;

const relation = (from: string, relationshipType: string, to: string) => ({
  spdxElementId: from,
  relationshipType,
  relatedSpdxElement: to,
});

const hash = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 32);
