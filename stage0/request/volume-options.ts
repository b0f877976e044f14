/** `--volume` and `--mount`. Pure. */

import { posix } from "node:path";
import { quote } from "../../shared/schema/manifest-error.ts";
import type { Rule } from "../../shared/schema/place.ts";
import type { Volume } from "../../shared/schema/types.ts";
import { absolutePath, acName, octalMode } from "../../shared/schema/values.ts";
import { checked, parseId, parsePairs, refuse } from "../cli/values.ts";
import { parseBoolean } from "../cli/words.ts";
import type { MountRequest } from "./request.ts";

const HOST_FORM = "NAME,kind=host,source=/PATH[,readOnly=true][,recursive=false][,idmap=true]";
const EMPTY_FORM = "NAME,kind=empty[,mode=0755][,uid=0][,gid=0]";

/**
 * Parses one of three forms: `NAME:/PATH`; `bind:/PATH`, which names no mount point; and `NAME,kind=...`. A path with a
 * comma needs the first form. `idmap` is not in the specification: see ANNOTATIONS.mappedVolumes.
 */
export function parseVolume(text: string): (Volume & { idmap?: boolean }) | { boundPath: string } {
  const [, name = "", separator, rest = ""] = /^([^:,]*)([:,])(.*)$/s.exec(text) ?? [];
  if (separator === undefined) refuse("volume", text, "says no source", "NAME:/PATH");
  if (separator === ":") {
    const source = checked("volume", rest, absolutePath);
    if (name === "bind") return { boundPath: source };
    return { name: checked("volume", name, acName), kind: "host", source };
  }

  const keys = ["kind", "source", "readOnly", "recursive", "idmap", "mode", "uid", "gid"] as const;
  const pairs = parsePairs("volume", text, rest.split(","), keys, HOST_FORM);
  const flag = (key: "readOnly" | "recursive" | "idmap"): boolean | undefined => {
    const value = pairs[key];
    if (value === undefined) return undefined;
    return parseBoolean(value) ?? refuse("volume", text, `${key} is true or false, not ${quote(value)}`, HOST_FORM);
  };
  const foreign = (...names: (keyof typeof pairs)[]): void => {
    for (const key of names)
      if (pairs[key] !== undefined)
        refuse(
          "volume",
          text,
          `${key} has no meaning for kind=${pairs.kind}`,
          pairs.kind === "host" ? HOST_FORM : EMPTY_FORM,
        );
  };
  const volume = { name: checked("volume", name, acName), readOnly: flag("readOnly") };
  switch (pairs.kind) {
    case "host":
      foreign("mode", "uid", "gid");
      if (pairs.source === undefined) refuse("volume", text, "says no source", HOST_FORM);
      return {
        ...volume,
        kind: "host",
        source: checked("volume", pairs.source, absolutePath),
        recursive: flag("recursive"),
        ...(flag("idmap") === true ? { idmap: true } : {}),
      };
    case "empty":
      foreign("source", "recursive", "idmap");
      return {
        ...volume,
        kind: "empty",
        mode: pairs.mode === undefined ? undefined : checked("volume", pairs.mode, octalMode),
        uid: pairs.uid === undefined ? undefined : parseId("volume", pairs.uid),
        gid: pairs.gid === undefined ? undefined : parseId("volume", pairs.gid),
      };
    default:
      return refuse("volume", text, "kind is host or empty", HOST_FORM);
  }
}

/**
 * A path relative to the app's root. ".." is resolved in the text, and can't leave the root; the launcher handles
 * links.
 */
const mountTarget: Rule = (text) => (text === "" ? "must not be empty" : absolutePath(`/${text}`));

export function parseMount(text: string): MountRequest {
  const form = "volume=NAME,target=/PATH";
  const { volume, target } = parsePairs("mount", text, text.split(","), ["volume", "target"], form);
  if (volume === undefined || target === undefined) refuse("mount", text, "needs a volume and a target", form);
  return { volume: checked("mount", volume, acName), path: checked("mount", target, mountTarget) && posix.resolve("/", target) };
}
