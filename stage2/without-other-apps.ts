/**
 * Removes from the container manifest what belongs to other apps, above all their environment variables. A launcher
 * works in the root of one app, beside processes of other apps: they can't steal from its memory what it does not have.
 *
 * It overwrites the bytes, before anything makes a string of them. It keeps all positions, so that the parser's
 * messages about a malformed manifest are right.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN = [0x7b, 0x5b];
const CLOSE = [0x7d, 0x5d];
const SPACE = [0x20, 0x09, 0x0a, 0x0d];

/** Members of an app's section that other apps' launchers do not need. */
const OWN = ["app", "mounts", "annotations"];

/** Overwrites those members of all other apps with null. Returns the same buffer. */
export function withoutOtherApps(manifest: Buffer, app: string): Buffer {
  for (const apps of membersOf(manifest, skipSpace(manifest, 0), ["apps"]))
    for (const { start } of partsOf(manifest, apps.start)) {
      const isOwn = membersOf(manifest, start, ["name"]).some((name) => textOf(manifest, name) === app);
      if (!isOwn) for (const { start: from, end } of membersOf(manifest, start, OWN)) blank(manifest, from, end);
    }
  return manifest;
}

/** The parser treats null as a missing member (shared/schema/place.ts). */
function blank(bytes: Buffer, start: number, end: number): void {
  const nothing = "null";
  // So short a value, such as an empty list, tells nothing.
  if (end - start < nothing.length) return;
  bytes.fill(" ", start, end);
  bytes.write(nothing, start);
}

interface Part {
  /** For a member of an object: its name, with the quotes. */
  name?: { start: number; end: number };
  start: number;
  end: number;
}

/** The members with these names. Upper and lower case are the same, as for the parser. */
function membersOf(bytes: Buffer, at: number, names: readonly string[]): Part[] {
  return partsOf(bytes, at).filter(
    ({ name }) => name !== undefined && names.includes(textOf(bytes, name)?.toLowerCase() ?? ""),
  );
}

/** The members of the object, or the elements of the list, that begins at `at`; none if neither does. */
function partsOf(bytes: Buffer, at: number): Part[] {
  const kind = OPEN.indexOf(bytes[at] ?? 0);
  const parts: Part[] = [];
  if (kind < 0) return parts;
  for (let next = skipSpace(bytes, at + 1); next < bytes.length && bytes[next] !== CLOSE[kind]; ) {
    let name: Part["name"];
    if (kind === 0) {
      name = { start: next, end: endOf(bytes, next) };
      next = skipSpace(bytes, name.end);
      if (bytes[next] !== COLON) break;
      next = skipSpace(bytes, next + 1);
    }
    const part: Part = { start: next, end: endOf(bytes, next), ...(name === undefined ? {} : { name }) };
    parts.push(part);
    next = skipSpace(bytes, part.end);
    if (bytes[next] !== COMMA) break;
    next = skipSpace(bytes, next + 1);
  }
  return parts;
}

/** The end of the value that begins at `start`. */
function endOf(bytes: Buffer, start: number): number {
  let depth = 0;
  for (let at = start; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE) {
      at = endOfText(bytes, at) - 1;
      if (depth === 0) return at + 1;
    } else if (OPEN.includes(byte)) depth++;
    else if (CLOSE.includes(byte) && --depth <= 0) return depth < 0 ? at : at + 1;
    else if (depth === 0 && (byte === COMMA || byte === COLON || SPACE.includes(byte))) return at;
  }
  return bytes.length;
}

function endOfText(bytes: Buffer, start: number): number {
  for (let at = start + 1; at < bytes.length; at++) {
    if (bytes[at] === BACKSLASH) at++;
    else if (bytes[at] === QUOTE) return at + 1;
  }
  return bytes.length;
}

function skipSpace(bytes: Buffer, at: number): number {
  let next = at;
  while (SPACE.includes(bytes[next] ?? 0)) next++;
  return next;
}

/** Parses a JSON string; undefined if it is something else. */
function textOf(bytes: Buffer, { start, end }: { start: number; end: number }): string | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8", start, end));
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
