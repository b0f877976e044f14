/** Parses forms and base64 to bytes, because the content of a signature need not be text. Pure. */

/**
 * The fields of an `application/x-www-form-urlencoded` body, as in the URL Standard, except that bytes that are not
 * UTF-8 stay as they are. Undefined if a field is there twice, because it is unclear which is meant.
 */
export function formFields(body: Uint8Array): Map<string, Buffer> | undefined {
  const found = new Map<string, Buffer>();
  // latin1: each character is a byte.
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

/**
 * Decodes base64 (RFC 4648, section 4, with padding). Undefined for any text that is not exactly the encoding of its
 * bytes.
 */
export function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}
