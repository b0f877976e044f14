/** Forms and base64 to the byte: what is signed is not always text. Pure. */

/**
 * The fields of an `application/x-www-form-urlencoded` body, as the URL Standard parses them, but for what it does to
 * bytes that are no UTF-8. Undefined when a field is there twice: which of them was meant is anybody's guess.
 */
export function fields(body: Uint8Array): Map<string, Buffer> | undefined {
  const found = new Map<string, Buffer>();
  // A character is a byte.
  for (const pair of Buffer.from(body).toString("latin1").split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const [name, value] = equals < 0 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
    const key = unescaped(name).toString();
    if (found.has(key)) return undefined;
    found.set(key, unescaped(value));
  }
  return found;
}

/** A percent sign without two digits stands for itself. */
function unescaped(text: string): Buffer {
  const bytes = text
    .replaceAll("+", " ")
    .replace(/%([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
  return Buffer.from(bytes, "latin1");
}

/** Undefined when it is not what base64 makes of those bytes: RFC 4648, section 4, with padding, and nothing else. */
export function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}
