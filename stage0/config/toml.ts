/** TOML, by smol-toml. Tables have no prototype of the caller's making; dates and numbers are as they come. */

import { parse } from "smol-toml";
import { errorText } from "../../shared/errors.ts";
import { invalid } from "./trusted-file.ts";

export type TomlValue = ReturnType<typeof parse>[string];
export type TomlTable = { readonly [name: string]: TomlValue };

/** Tables and lists in each other. */
const MAX_DEPTH = 32;

/** Errors call the document by `path`. */
export function parseToml(text: string, path: string): TomlTable {
  try {
    return parse(text, { maxDepth: MAX_DEPTH });
  } catch (error) {
    // The library shows the lines around the mistake below its message.
    const [message = ""] = errorText(error).split("\n");
    const line = error instanceof Error && "line" in error ? `line ${error.line}: ` : "";
    throw invalid(path, line + message.replace(/^Invalid TOML document: /, ""), error);
  }
}
