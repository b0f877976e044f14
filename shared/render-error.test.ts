import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";
import { RktError, usageError } from "./errors.ts";
import { ManifestError } from "./schema/manifest-error.ts";
import { errorFacts, renderError } from "./render-error.ts";

const errno = (): unknown => {
  try {
    readFileSync("/nonexistent/x");
  } catch (error) {
    return error;
  }
  return undefined;
};
const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC", syscall: "write" });

const cases: { name: string; error: unknown; text: string; status: number }[] = [
  {
    name: "a usage error",
    error: usageError("unknown option --x", "did you mean --y?"),
    text: "rkt: run: unknown option --x\nhint: did you mean --y?\n",
    status: 2,
  },
  {
    name: "a failure without a hint",
    error: new RktError("no-such-image", "no image sha512-aa"),
    text: "rkt: run: no image sha512-aa\n",
    status: 254,
  },
  {
    name: "the root cause, not what lies between",
    error: new RktError("extract-failed", "cannot extract image sha512-aa", {
      cause: new RktError("write-failed", "between", { cause: errno() }),
    }),
    text: "rkt: run: cannot extract image sha512-aa: open /nonexistent/x: ENOENT\n",
    status: 254,
  },
  {
    name: "the root cause once",
    error: new RktError("write-failed", "cannot read it: open /nonexistent/x: ENOENT", { cause: errno() }),
    text: "rkt: run: cannot read it: open /nonexistent/x: ENOENT\n",
    status: 254,
  },
  {
    name: "the hint of a cause, when the outermost error has none",
    error: new RktError("import-failed", "a", { cause: new RktError("write-failed", "b", { hint: "do c" }) }),
    text: "rkt: run: a: b\nhint: do c\n",
    status: 254,
  },
  {
    name: "an errno nobody wrapped",
    error: errno(),
    text: "rkt: run: open /nonexistent/x: ENOENT\n",
    status: 254,
  },
  {
    name: "a full disk",
    error: new RktError("import-failed", "cannot import x.aci", { cause: full }),
    text: "rkt: run: cannot import x.aci: write: ENOSPC\nhint: the file system is full: free some space, or give another one with --dir\n",
    status: 254,
  },
  {
    name: "control characters and credentials",
    error: new RktError("usage", "cannot fetch https://u:secret@h/\u001b[31m\u202egpj.aci\n", {
      hint: "see http://t:oken@h\u0007",
    }),
    text: "rkt: run: cannot fetch https://***@h/\\x1b[31m\\u202egpj.aci\\n\nhint: see http://***@h\\x07\n",
    status: 254,
  },
  { name: "a text", error: "thrown\u001b", text: "rkt: run: internal error: thrown\\x1b\n", status: 254 },
];

for (const { name, error, text, status } of cases)
  test(`error: ${name}`, () =>
    assert.deepEqual(renderError(error, { who: "rkt: run", debug: false }), { text, status }));

test("error: before there is a command", () => {
  const { text } = renderError(usageError("there is no command"), { who: "rkt", debug: false });
  assert.equal(text, "rkt: there is no command\n");
});

test("error: one of rkt's own defects shows its stack", () => {
  const { text, status } = renderError(new TypeError("x is not\n a function"), { who: "rkt: run", debug: false });
  assert.match(text, /^rkt: run: internal error: TypeError: x is not\\n a function\n {4}at .*render-error\.test\.ts/);
  assert.equal(status, 254);
});

test("error: --debug shows every cause, and every finding", () => {
  const error = new RktError("import-failed", "outer", {
    hint: "h",
    cause: new AggregateError([new ManifestError("m: a", "m: b"), errno()], "several"),
  });
  const { text } = renderError(error, { who: "rkt: run", debug: true });
  const withoutFrames = text.replace(/^ *at .*\n/gm, "");
  assert.notEqual(withoutFrames, text);
  assert.equal(
    withoutFrames,
    `rkt: run: outer: m: a
hint: h
RktError [import-failed]: outer
  caused by:
  AggregateError: several
    caused by:
    ManifestError [manifest-invalid]: m: a
      - m: a
      - m: b
    caused by:
    Error [ENOENT]: ENOENT: no such file or directory, open '/nonexistent/x'
`,
  );
});

test("error: for a program, without what a terminal obeys and without credentials", () => {
  const cause = new RktError("http-status", "get https://me:secret@h/x: \u001b[31m404", { hint: "look again" });
  const error = new RktError("image-not-found", "image x cannot be found", { cause });
  const message = "get https://***@h/x: \\x1b[31m404";
  assert.deepEqual(errorFacts(error), {
    code: "image-not-found",
    message: `image x cannot be found: ${message}`,
    hint: "look again",
    causes: [{ code: "http-status", message }],
  });
  const defect = errorFacts(new TypeError("x is not a function"));
  assert.deepEqual(defect, { code: "internal", message: "x is not a function", hint: undefined, causes: [] });
});
