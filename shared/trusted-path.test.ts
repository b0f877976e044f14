import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { distrustAbove, distrustOf, type TrustOptions } from "./trusted-path.ts";

const skip = process.geteuid?.() !== 0 ? "not root" : false;

/** `a/b/c` in a directory of root's. */
function scratch(t: TestContext): (name: string) => string {
  const directory = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), "rkt-trust-")));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  fs.mkdirSync(join(directory, "a/b"), { recursive: true });
  fs.writeFileSync(join(directory, "a/b/c"), "");
  return (name) => join(directory, name);
}

const OTHERS = "can be written to by others than root";

const cases: {
  name: string;
  spoil(at: (name: string) => string): void;
  path?: string;
  options?: TrustOptions;
  found?: { at: string; why: string };
}[] = [
  { name: "all is root's, below a sticky directory", spoil: () => {} },
  {
    name: "a directory of another user's",
    spoil: (at) => fs.chownSync(at("a"), 1000, 0),
    found: { at: "a", why: "belongs to user 1000" },
  },
  { name: "one that all may write to", spoil: (at) => fs.chmodSync(at("a/b"), 0o757), found: { at: "a/b", why: OTHERS } },
  { name: "one that a group may write to", spoil: (at) => fs.chmodSync(at("a"), 0o775), found: { at: "a", why: OTHERS } },
  { name: "the same, where groups are meant to", spoil: (at) => fs.chmodSync(at("a"), 0o2775), options: { groups: true } },
  { name: "a sticky one", spoil: (at) => fs.chmodSync(at("a"), 0o1777) },
  {
    name: "a sticky one of another user's",
    spoil: (at) => {
      fs.chmodSync(at("a"), 0o1777);
      fs.chownSync(at("a"), 1000, 0);
    },
    found: { at: "a", why: "belongs to user 1000" },
  },
  { name: "the end itself is not looked at", spoil: (at) => fs.chownSync(at("a/b/c"), 1000, 0) },
  { name: "what is not there yet", spoil: () => {}, path: "a/none/x" },
  { name: "below a file", spoil: () => {}, path: "a/b/c/x" },
  {
    name: "a link that leads through another's directory and back",
    spoil: (at) => {
      fs.mkdirSync(at("theirs"));
      fs.chownSync(at("theirs"), 1000, 0);
      fs.symlinkSync(at("a/b"), at("theirs/x"));
      fs.symlinkSync("theirs/x", at("link"));
    },
    path: "link/c",
    found: { at: "theirs", why: "belongs to user 1000" },
  },
  {
    name: "the last link, to below another's directory",
    spoil: (at) => {
      fs.chownSync(at("a"), 1000, 0);
      fs.symlinkSync("a/b", at("link"));
    },
    path: "link",
    found: { at: "a", why: "belongs to user 1000" },
  },
  {
    name: "a link of another user's in a sticky directory",
    spoil: (at) => {
      fs.symlinkSync("a", at("link"));
      fs.lchownSync(at("link"), 1000, 0);
    },
    path: "link/b/c",
    found: { at: "link", why: "belongs to user 1000" },
  },
  { name: "a link with .., absolute ones", spoil: (at) => fs.symlinkSync(`${at("a")}/../a/./b`, at("link")), path: "link/c" },
  { name: "links in a circle", spoil: (at) => fs.symlinkSync("link", at("link")), path: "link/c" },
];

for (const c of cases)
  test(`trust in a path: ${c.name}`, { skip }, (t) => {
    const at = scratch(t);
    c.spoil(at);
    const found = distrustAbove(at(c.path ?? "a/b/c"), c.options);
    assert.deepEqual(found, c.found === undefined ? undefined : { path: at(c.found.at), why: c.found.why });
  });

test("trust in a file", { skip }, (t) => {
  const at = scratch(t);
  const why = (options?: TrustOptions) => distrustOf(fs.statSync(at("a")), options);
  assert.equal(why(), undefined);
  fs.chmodSync(at("a"), 0o1775);
  assert.equal(why(), OTHERS);
  assert.equal(why({ groups: true }), undefined);
  fs.chmodSync(at("a"), 0o1777);
  assert.equal(why({ groups: true }), OTHERS);
  fs.chownSync(at("a"), 1000, 0);
  assert.equal(why(), "belongs to user 1000");
});
