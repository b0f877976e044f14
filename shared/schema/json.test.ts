import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_DEPTH, MAX_MANIFEST_BYTES, MAX_PARTS, parseJson } from "./json.ts";
import { ManifestError } from "./manifest-error.ts";

function messageOf(input: string | Uint8Array): string | undefined {
  try {
    parseJson(input, "doc");
    return undefined;
  } catch (error) {
    assert.ok(error instanceof ManifestError);
    assert.equal(error.code, "manifest-invalid");
    return error.message;
  }
}

const readable = [
  "null",
  " true ",
  "false",
  "0",
  "-0",
  "-12.5e-3",
  "1E4",
  "9007199254740991",
  '""',
  '"\\u00e9\\n\\t\\/\\\\\\"\\b\\f\\r"',
  '"\\ud83d\\ude00 😀 \u2028 \u007f"',
  "[]",
  "[ ]",
  '[1, "a", [null], {}]',
  "{}",
  '{ "a" : 1 , "b\\"" : { "" : [ ] } }',
  '\r\n\t{"a":\n1}\n',
];
for (const text of readable) {
  test(`reads what JSON.parse reads: ${JSON.stringify(text)}`, () => {
    assert.equal(JSON.stringify(parseJson(text, "doc")), JSON.stringify(JSON.parse(text)));
  });
}

const syntaxErrors: [string, string][] = [
  ["", "doc: line 1, column 1: expected a value, got the end"],
  ["  \n ", "doc: line 2, column 2: expected a value, got the end"],
  ["x", 'doc: line 1, column 1: expected a value, got "x"'],
  ["\ufeff{}", 'doc: line 1, column 1: expected a value, got "\ufeff"'],
  ["nul", 'doc: line 1, column 1: expected a value, got "n"'],
  ["{} {}", 'doc: line 1, column 4: expected the end, got "{"'],
  ["01", 'doc: line 1, column 2: expected the end, got "1"'],
  ["1.", 'doc: line 1, column 2: expected the end, got "."'],
  ["+1", 'doc: line 1, column 1: expected a value, got "+"'],
  ["[1,]", 'doc: line 1, column 4: expected a value, got "]"'],
  ["[1 2]", 'doc: line 1, column 4: expected "," or "]", got "2"'],
  ["[1", 'doc: line 1, column 3: expected "," or "]", got the end'],
  ['{"a":1,}', 'doc: line 1, column 8: expected a name in double quotes, got "}"'],
  ["{a:1}", 'doc: line 1, column 2: expected a name in double quotes, got "a"'],
  ["{'a':1}", 'doc: line 1, column 2: expected a name in double quotes, got "\'"'],
  ['{"a" 1}', 'doc: line 1, column 6: expected ":", got "1"'],
  ['{"a":1 "b":2}', 'doc: line 1, column 8: expected "," or "}", got "\\""'],
  ['{\n  "é😀": tru\n}', 'doc: line 2, column 9: expected a value, got "t"'],
  ['{\n  "a": "b\n"}', 'doc: line 2, column 10: expected an escape in place of a control character, got "\\n"'],
  ['"abc', "doc: line 1, column 5: expected the closing quote, got the end"],
  ['"abc\\"', "doc: line 1, column 7: expected the closing quote, got the end"],
  [
    '"a\\x41"',
    'doc: line 1, column 4: expected an escape (\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u and four hex digits), got "x"',
  ],
  [
    '"\\u12g4"',
    'doc: line 1, column 3: expected an escape (\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u and four hex digits), got "u"',
  ],
  ["[1, /* two */ 2]", 'doc: line 1, column 5: expected a value, got "/"'],
  ["[NaN]", 'doc: line 1, column 2: expected a value, got "N"'],
];
for (const [text, message] of syntaxErrors) {
  test(`syntax: ${JSON.stringify(text)}`, () => {
    assert.throws(() => JSON.parse(text), SyntaxError);
    assert.equal(messageOf(text), message);
  });
}

const depth = (n: number): string => "[".repeat(n) + "]".repeat(n);

// What JSON.parse reads, and one manifest must not say.
const refused: [string, string][] = [
  ['{"a":1,"a":1}', "doc: a: is given twice"],
  ['{"app":{"ports":[{},{"port":1,"name":"x","port":2}]}}', "doc: app.ports[1].port: is given twice"],
  ['{"a":1,"\\u0061":2}', "doc: a: is given twice"],
  ['{"__proto__":1,"__proto__":2}', "doc: __proto__: is given twice"],
  ['{"a b":{"c\\nd":{"x":1,"x":1}}}', 'doc: ["a b"]["c\\nd"].x: is given twice'],
  ['{"a":"\\ud800"}', "doc: a: must not contain half of a surrogate pair"],
  ['["\\udc00\\ud800"]', "doc: [0]: must not contain half of a surrogate pair"],
  ['{"a":["x\\u0000y"]}', "doc: a[0]: must not contain U+0000"],
  ['{"a":{"\\u0000":1}}', "doc: a: must not contain U+0000"],
  ['{"a":9007199254740993}', 'doc: a: is a number too large to be exact: "9007199254740993"'],
  ['{"a":-9007199254740992}', 'doc: a: is a number too large to be exact: "-9007199254740992"'],
  ['{"a":1e999}', 'doc: a: is a number too large to be exact: "1e999"'],
  [`{"a":${"9".repeat(100_000)}}`, `doc: a: is a number too large to be exact: "${"9".repeat(60)}"…`],
  [depth(MAX_DEPTH + 1), `doc: ${"[0]".repeat(MAX_DEPTH)}: must not be nested deeper than 64 levels`],
];
for (const [text, message] of refused) {
  test(`refused: ${text.slice(0, 60)}`, () => {
    JSON.parse(text);
    assert.equal(messageOf(text), message);
  });
}

test("a depth that would overflow the stack is refused like any other", () => {
  const message = messageOf(depth(1_000_000));
  assert.match(message ?? "", /must not be nested deeper than 64 levels$/);
  assert.equal(messageOf(depth(MAX_DEPTH)), undefined);
});

test("objects and lists are counted", () => {
  const lists = (n: number): string => `[${Array(n).fill("[]").join()}]`;
  const objects = (n: number): string => `{${Array.from({ length: n }, (_, i) => `"k${i}":{}`).join()}}`;
  assert.equal(messageOf(lists(MAX_PARTS - 1)), undefined);
  assert.equal(messageOf(lists(MAX_PARTS)), "doc: [9999]: must not be the 10001th object or list: 10000 are allowed");
  assert.equal(messageOf(objects(MAX_PARTS - 1)), undefined);
  assert.equal(messageOf(objects(MAX_PARTS)), "doc: k9999: must not be the 10001th object or list: 10000 are allowed");
});

test("size is counted in bytes", () => {
  const fits = `"${"é".repeat((MAX_MANIFEST_BYTES - 2) / 2)}"`;
  assert.equal(messageOf(fits), undefined);
  assert.equal(messageOf(Buffer.from(fits)), undefined);
  const over = `doc: must not be larger than ${MAX_MANIFEST_BYTES} bytes, got ${MAX_MANIFEST_BYTES + 1}`;
  assert.equal(messageOf(`${fits} `), over);
  assert.equal(messageOf(Buffer.from(`${fits} `)), over);
});

test("bytes are UTF-8 or refused", () => {
  assert.equal(parseJson(Buffer.from('"é"'), "doc"), "é");
  for (const bytes of [
    [0x22, 0xff, 0x22],
    [0x22, 0xed, 0xa0, 0x80, 0x22],
    [0x22, 0xc3],
    [0xff, 0xfe, 0x22, 0],
  ]) {
    assert.equal(messageOf(Uint8Array.from(bytes)), "doc: must be UTF-8 text");
  }
  assert.equal(messageOf('"\ud800"'), "doc: must be UTF-8 text");
});

test("no name reaches a prototype", () => {
  const read = parseJson('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":2}', "doc");
  assert.equal(Object.getPrototypeOf(read), null);
  assert.deepEqual(Object.keys(read as object), ["__proto__", "constructor", "toString"]);
  assert.equal("polluted" in {}, false);
  assert.equal(
    JSON.stringify(read),
    '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":2}',
  );
});

test("JSON.parse is the judge of 5000 mutilated documents", () => {
  const original = '{"a":[1,-2.5e+3,true,null,"x\\u00e9\\n\\\\"],"b":{"c":"","dd":[[],{}]}, "e" : false}';
  const alphabet = '{}[]",:\\u0019e-+. tfn\n\u0001é';
  let seed = 42;
  const random = (n: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % n;
  };
  for (let i = 0; i < 5000; i++) {
    let text = original;
    for (let k = random(3); k >= 0; k--) {
      const at = random(text.length);
      text = text.slice(0, at) + (alphabet[random(alphabet.length + 4)] ?? "") + text.slice(at + random(2));
    }
    let expected: string | undefined;
    try {
      expected = JSON.stringify(JSON.parse(text));
    } catch {}
    const message = messageOf(text);
    if (expected === undefined) {
      assert.match(
        message ?? "accepted",
        /line \d+, column \d+: expected|given twice|too large|surrogate|U\+0000/,
        text,
      );
    } else if (message === undefined) assert.equal(JSON.stringify(parseJson(text, "doc")), expected, text);
    else assert.match(message, /given twice|too large|surrogate|U\+0000/, text);
  }
});
