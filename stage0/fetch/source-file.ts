/** A local file, by its path or its `file:` URL. */

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { RktError, usageError, withoutCredentials } from "../../shared/errors.ts";
import { type ImageSource, lastPart } from "./image-source.ts";
import { signaturePaths } from "./signature-paths.ts";

export interface FileReference {
  kind: "file";
  path: string;
}

export const fileSource: ImageSource<FileReference> = {
  kind: "file",
  schemes: ["file"],
  origin: "host",
  /** A path is absolute, has `./` in it or ends in `.aci`, whether there is such a file or not. */
  parse(text) {
    if (/^file:\/\//i.test(text) || text.startsWith("file:")) return { kind: "file", path: pathOf(text) };
    if (text.startsWith("/")) return { kind: "file", path: text };
    const isPath = !text.includes(":") && (text.includes("./") || text.endsWith(".aci"));
    return isPath ? { kind: "file", path: text } : undefined;
  },
  format: ({ path }) => path,
  shortName: ({ path }) => lastPart(path),
  stored({ path }) {
    throw new RktError("no-such-image", `${path} is a file, not an image in the store`, {
      hint: "give its hash or its name: `rkt image list` shows both",
    });
  },
  async find({ path }, { store, insecure, signature }) {
    const signed = !insecure.has("image") && signaturePaths(path).some((beside) => existsSync(beside));
    return signature === undefined && !signed ? await store.importFile(path) : undefined;
  },
  async fetch({ path }, { signature }, context) {
    const { fetchFile } = await import("./fetch-file.ts");
    return await fetchFile(path, signature, context);
  },
};

function pathOf(text: string): string {
  const url = URL.parse(text);
  if (url === null) throw usageError(`image URL ${JSON.stringify(withoutCredentials(text))} is malformed`);
  if (url.hostname !== "") throw usageError(`image URL ${JSON.stringify(text)}: a file: URL names no host`);
  try {
    return fileURLToPath(url);
  } catch {
    // "%2", "%2F" and "%00" decode to no path.
    throw usageError(`image URL ${JSON.stringify(text)} names no file`);
  }
}
