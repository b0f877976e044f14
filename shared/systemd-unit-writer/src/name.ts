/** Unit names: systemd.unit(5), systemd-escape(1). */

import { shown, UnitError } from "./error.ts";
import { refuseNul, refuseSurrogates, utf8 } from "./text.ts";

/** systemd's UNIT_NAME_MAX, which counts the NUL of a C string. */
const UNIT_NAME_MAX = 256;

const UNIT_NAME =
  /^[A-Za-z0-9:_.\\-][A-Za-z0-9:_.\\@-]*\.(?:service|mount|swap|socket|target|device|automount|timer|path|slice|scope)$/;

/** Returns the name if systemd accepts it as a unit's, also as a template's or an instance's. */
export function unitName(name: string): string {
  if (name.length >= UNIT_NAME_MAX)
    throw new UnitError("unit-name", `unit name "${shown(name)}" is longer than ${UNIT_NAME_MAX - 1} bytes`);
  if (!UNIT_NAME.test(name)) throw new UnitError("unit-name", `"${shown(name)}" is not a unit name`);
  return name;
}

/** Any text as part of a unit name, as `systemd-escape TEXT` does: `/` becomes `-`, the rest `\xNN`. */
export function escapeName(text: string): string {
  refuseSurrogates("the text", text);
  refuseNul("the text", text);
  let escaped = "";
  for (const byte of utf8(text)) {
    const c = String.fromCharCode(byte);
    // A leading dot would make a hidden file.
    if (c === "/") escaped += "-";
    else if (/[A-Za-z0-9:_.]/.test(c) && !(c === "." && escaped === "")) escaped += c;
    else escaped += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return escaped;
}

/** An absolute path as part of a unit name, as `systemd-escape --path PATH` does; `/` is `-`. No `..`. */
export function escapePath(path: string): string {
  if (!path.startsWith("/")) throw new UnitError("path", `the path "${shown(path)}" is not absolute`);
  const names = path.split("/").filter((name) => name !== "" && name !== ".");
  if (names.includes("..")) throw new UnitError("path", `the path "${shown(path)}" contains ".."`);
  return names.length === 0 ? "-" : escapeName(names.join("/"));
}
