/**
 * Parses JSON (RFC 8259) that is not trusted. `JSON.parse` accepts texts that different readers understand differently.
 * This parser refuses these, and names the JSON path: a name that is given twice, integers that a double cannot hold,
 * halves of surrogate pairs, U+0000. It limits the size, the depth and the number of parts.
 *
 * Objects in the result have no prototype, so that `__proto__` and `constructor` are ordinary names.
 */

import { joinPath, ManifestError, problem, quote, type Step } from "./manifest-error.ts";
import type { Json } from "./types.ts";

/** A manifest that lists every file of a large image in its pathWhitelist stays below this. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
export const MAX_DEPTH = 64;
/** Objects and lists in one document: these, not texts, need much more memory than their JSON. */
export const MAX_PARTS = 10_000;

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const CONTROL = /[\u0000-\u001f]/;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** `object` names the document in errors, which are ManifestErrors. Bytes must be UTF-8. */
export function parseJson(input: string | Uint8Array, object: string): Json {
  const text = decode(input, object);
  const path: Step[] = [];
  let at = 0;
  let parts = 0;

  function refuse(rule: string): never {
    throw new ManifestError(problem(object, joinPath("", path), rule));
  }

  function syntax(expected: string): never {
    const point = text.codePointAt(at);
    const got = point === undefined ? "the end" : quote(String.fromCodePoint(point));
    throw new ManifestError(problem(object, position(text, at), `expected ${expected}, got ${got}`));
  }

  function skipSpace(): void {
    SPACE.lastIndex = at;
    SPACE.test(text);
    at = SPACE.lastIndex;
  }

  function value(): Json {
    switch (text.charCodeAt(at)) {
      case OPEN_BRACE:
        return members();
      case OPEN_BRACKET:
        return elements();
      case QUOTE:
        return string();
      case 0x74:
        return word("true", true);
      case 0x66:
        return word("false", false);
      case 0x6e:
        return word("null", null);
      default:
        return number();
    }
  }

  function enter(): void {
    if (path.length >= MAX_DEPTH) refuse(`must not be nested deeper than ${MAX_DEPTH} levels`);
    if (++parts > MAX_PARTS) refuse(`must not be the ${parts}th object or list: ${MAX_PARTS} are allowed`);
    at++;
    skipSpace();
  }

  function members(): Json {
    enter();
    const result: { [name: string]: Json } = Object.create(null);
    if (text.charCodeAt(at) === CLOSE_BRACE) {
      at++;
      return result;
    }
    for (;;) {
      if (text.charCodeAt(at) !== QUOTE) syntax("a name in double quotes");
      const name = string();
      path.push(name);
      if (name in result) refuse("is given twice");
      skipSpace();
      if (text.charCodeAt(at) !== COLON) syntax('":"');
      at++;
      skipSpace();
      result[name] = value();
      path.pop();
      skipSpace();
      const next = text.charCodeAt(at);
      if (next !== COMMA && next !== CLOSE_BRACE) syntax('"," or "}"');
      at++;
      if (next === CLOSE_BRACE) return result;
      skipSpace();
    }
  }

  function elements(): Json {
    enter();
    const result: Json[] = [];
    if (text.charCodeAt(at) === CLOSE_BRACKET) {
      at++;
      return result;
    }
    for (;;) {
      path.push(result.length);
      result.push(value());
      path.pop();
      skipSpace();
      const next = text.charCodeAt(at);
      if (next !== COMMA && next !== CLOSE_BRACKET) syntax('"," or "]"');
      at++;
      if (next === CLOSE_BRACKET) return result;
      skipSpace();
    }
  }

  function string(): string {
    const start = at;
    const end = text.indexOf('"', start + 1);
    const plain = text.slice(start + 1, end === -1 ? text.length : end);
    if (end === -1 || plain.includes("\\") || CONTROL.test(plain)) return escapedString(start);
    at = end + 1;
    return plain;
  }

  /** Reads a string with escapes. Reports the place in one that is malformed. */
  function escapedString(start: number): string {
    at = start + 1;
    for (;;) {
      const c = text.charCodeAt(at);
      if (c === QUOTE) break;
      if (c === BACKSLASH) {
        ESCAPE.lastIndex = at;
        if (!ESCAPE.test(text)) {
          at++;
          syntax('an escape (\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u and four hex digits)');
        }
        at = ESCAPE.lastIndex;
      } else if (c >= 0x20) at++;
      else if (at < text.length) syntax("an escape in place of a control character");
      else syntax("the closing quote");
    }
    at++;
    const result: string = JSON.parse(text.slice(start, at));
    if (!result.isWellFormed()) refuse("must not contain half of a surrogate pair");
    if (result.includes("\0")) refuse("must not contain U+0000");
    return result;
  }

  function number(): number {
    NUMBER.lastIndex = at;
    const match = NUMBER.exec(text);
    if (match === null) syntax("a value");
    const [literal, fraction, exponent] = match;
    const result = Number(literal);
    const exact =
      fraction === undefined && exponent === undefined ? Number.isSafeInteger(result) : Number.isFinite(result);
    if (!exact) refuse(`is a number too large to be exact: ${quote(literal)}`);
    at = NUMBER.lastIndex;
    return result || 0; // -0 is 0
  }

  function word<T>(spelling: string, meaning: T): T {
    if (!text.startsWith(spelling, at)) syntax("a value");
    at += spelling.length;
    return meaning;
  }

  skipSpace();
  const result = value();
  skipSpace();
  if (at < text.length) syntax("the end");
  return result;
}

function decode(input: string | Uint8Array, object: string): string {
  const bytes = typeof input === "string" ? Buffer.byteLength(input) : input.length;
  if (bytes > MAX_MANIFEST_BYTES) {
    throw new ManifestError(problem(object, "", `must not be larger than ${MAX_MANIFEST_BYTES} bytes, got ${bytes}`));
  }
  if (typeof input === "string") {
    if (input.isWellFormed()) return input;
  } else {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(input);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }
  throw new ManifestError(problem(object, "", "must be UTF-8 text"));
}

/** Lines and columns count from 1; a column is a character. */
function position(text: string, at: number): string {
  const before = text.slice(0, at);
  const line = before.slice(before.lastIndexOf("\n") + 1);
  return `line ${before.split("\n").length}, column ${Array.from(line).length + 1}`;
}
