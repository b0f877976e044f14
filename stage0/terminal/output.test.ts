import assert from "node:assert/strict";
import { test } from "node:test";
import { printable, withoutCredentials } from "../../shared/errors.ts";
import { jsonText } from "./output.ts";

/** What a terminal obeys: C0 less the newline, DEL and C1, bidirectional controls, line and paragraph separators. */
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

test("no character that a terminal obeys is in JSON or in a message, and JSON says the same", () => {
  for (let code = 0; code <= 0xffff; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const text = `a${String.fromCharCode(code)}b`;
    const json = jsonText({ [text]: text });
    assert.doesNotMatch(json, OBEYED, code.toString(16));
    assert.deepEqual(JSON.parse(json), { [text]: text });
    assert.doesNotMatch(printable(text), OBEYED, code.toString(16));
  }
  assert.equal(jsonText({ a: ["\u009b31m"] }, false), '{"a":["\\u009b31m"]}\n');
  assert.equal(jsonText(["\u009b31m\u202eé🚀"]), '[\n  "\\u009b31m\\u202eé🚀"\n]\n');
  assert.equal(printable("é\u200dü\u200e"), "é\u200dü\\u200e");
  const megabyte = "a".repeat(2 ** 20);
  assert.equal(printable(`${megabyte}\x01`), `${megabyte}\\x01`);
  assert.equal(printable(`${megabyte}+x://me:secret@host`), `${megabyte}+x://***@host`);
});

for (const { url, shown } of [
  { url: "https://user:se@cret@bad host/", shown: "https://***@bad host/" },
  { url: "https://a@b@c@host/p@th?q=me@x", shown: "https://***@host/p@th?q=me@x" },
  { url: "get https://u:p@h/ and http://v:q@r@i: no", shown: "get https://***@h/ and http://***@i: no" },
  { url: "https://u:pa#s?s@host/", shown: "https://***@host/" },
  { url: "https://host/a@b", shown: "https://host/a@b" },
  { url: 'image name "http:me:pw@host/x"', shown: 'image name "http:***@host/x"' },
  { url: "HTTPS:/me:pw@host/x", shown: "HTTPS:/***@host/x" },
  { url: "https:\\\\me:pw@host/x", shown: "https:\\\\***@host/x" },
])
  test(`printable hides credentials up to the last @ before the path: ${url}`, () => {
    assert.equal(printable(url), shown);
  });

for (const { url, shown } of [
  { url: "https://user:se cr/et@bad host/", shown: "https://***@bad host/" },
  { url: "https://user:one@two\n@[bad/x", shown: "https://***@[bad/x" },
  { url: "http:me:pw@[bad/x", shown: "http:***@[bad/x" },
  { url: "https://[bad/x", shown: "https://[bad/x" },
])
  test(`nothing of a malformed URL's password remains: ${JSON.stringify(url)}`, () => {
    assert.equal(withoutCredentials(url), shown);
  });
