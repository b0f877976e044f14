/**
 * The container manifest without what it says of other apps, their variables
 * above all: a launcher works in the root of one app, with root of another one
 * beside it. What is not in its memory can't be had from there.
 *
 * Works on the bytes, before anything makes a text of them. The manifest is
 * stage 0's; what is wrong with it the parser says, in the same places.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN = [0x7b, 0x5b];
const CLOSE = [0x7d, 0x5d];
const SPACE = [0x20, 0x09, 0x0a, 0x0d];

/** Members of an app's section that the launcher of another one does without. */
const OWN = ["app", "mounts", "annotations"];

/** Puts null in their place; answers the same bytes. */
export function withoutOtherApps(manifest: Buffer, app: string): Buffer {
  for (const apps of membersOf(manifest, skipSpace(manifest, 0), ["apps"]))
    for (const { start } of partsOf(manifest, apps.start)) {
      const isOwn = membersOf(manifest, start, ["name"]).some((name) => textOf(manifest, name) === app);
      if (!isOwn) for (const { start: from, end } of membersOf(manifest, start, OWN)) blank(manifest, from, end);
    }
  return manifest;
}

/** null is as good as nothing (shared/schema/place.ts). */
function blank(bytes: Buffer, start: number, end: number): void {
  const nothing = "null";
  // An empty list, say, tells nothing.
  if (end - start < nothing.length) return;
  bytes.fill(" ", start, end);
  bytes.write(nothing, start);
}

interface Part {
  /** Of a member of an object its name, with the quotes. */
  name?: { start: number; end: number };
  start: number;
  end: number;
}

/** Names count in any case, as for the parser. */
function membersOf(bytes: Buffer, at: number, names: readonly string[]): Part[] {
  return partsOf(bytes, at).filter(
    ({ name }) => name !== undefined && names.includes(textOf(bytes, name)?.toLowerCase() ?? ""),
  );
}

/** The members of an object, or the elements of a list, that begins here; none of what is neither. */
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

/** Where the value that begins here is over. */
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

/** undefined of what is no text. */
function textOf(bytes: Buffer, { start, end }: { start: number; end: number }): string | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8", start, end));
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
