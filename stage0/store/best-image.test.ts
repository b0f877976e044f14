import assert from "node:assert/strict";
import { test } from "node:test";
import { bestOf, candidatesOf, passedOverHint } from "./best-image.ts";
import type { NamedExpectation } from "./expectation.ts";
import { hostLabels } from "./image-name.ts";
import type { StoredImage } from "./index-images.ts";
import type { Provenance } from "./provenance.ts";

const digits = (letter: string) => letter.repeat(128);

function image(letter: string, importedAt: number, provenance: Provenance, over: Partial<StoredImage> = {}): StoredImage {
  const id = `sha512-${digits(letter)}`;
  const labels = [{ name: "version", value: "1" }];
  return {
    ...{ id, key: id.slice(0, 71), name: "example.com/a", labels, size: 1, importedAt, lastUsedAt: 0, provenance },
    ...over,
  };
}

const elsewhere = [{ name: "arch", value: "s390x" }];
const images = {
  verified: image("a", 1, "verified"),
  given: image("b", 2, "given"),
  youngGiven: image("c", 5, "given"),
  none: image("d", 9, "none"),
  other: image("e", 9, "verified", { name: "example.com/b" }),
  second: image("f", 3, "none", { labels: [{ name: "version", value: "2" }] }),
  elsewhere: image("0", 9, "verified", { labels: elsewhere }),
  here: image("1", 1, "given", { labels: hostLabels() }),
};
type Name = keyof typeof images;

const SHA256 = `sha256-${"9".repeat(64)}`;
const cases: {
  name: string;
  of: Name[];
  expected?: Partial<NamedExpectation>;
  least?: Provenance;
  want: Name | undefined;
  hint?: string;
}[] = [
  { name: "the best vouched for, whatever came last", of: ["none", "youngGiven", "verified"], want: "verified" },
  { name: "of the same provenance, the one that came last", of: ["youngGiven", "given"], want: "youngGiven" },
  { name: "not of another name", of: ["other", "given"], want: "given" },
  { name: "not for another machine", of: ["elsewhere", "here"], want: "here" },
  {
    name: "for another machine, if that was asked for",
    of: ["elsewhere", "here"],
    expected: { asked: { name: "example.com/a", labels: elsewhere } },
    want: "elsewhere",
  },
  {
    name: "by its labels",
    of: ["none", "second"],
    expected: { asked: { name: "example.com/a", labels: [{ name: "version", value: "2" }] } },
    least: "none",
    want: "second",
  },
  {
    name: "none that nobody vouches for",
    of: ["none"],
    want: undefined,
    hint: `sha512-${"d".repeat(32)} has that name, but no trusted key has signed it: give its hash, or --insecure-options=image`,
  },
  {
    name: "for a stage1, none that is not verified",
    of: ["given"],
    least: "verified",
    want: undefined,
    hint: `sha512-${"b".repeat(32)} has that name, but no trusted key has signed it: give its hash or its file`,
  },
  { name: "any, if the caller demands nothing", of: ["none"], least: "none", want: "none" },
  { name: "by its ID, whoever vouches", of: ["none", "verified"], expected: { id: images.none.id }, want: "none" },
  { name: "by the beginning of its ID", of: ["none"], expected: { id: images.none.id.slice(0, 20) }, want: "none" },
  { name: "by its SHA-256", of: ["given", "none"], expected: { id: SHA256 }, want: "none" },
  { name: "not by the ID of an image with another name", of: ["other"], expected: { id: images.other.id }, want: undefined },
  { name: "none of none", of: [], want: undefined },
];

for (const { name, of, expected, least = "given", want, hint } of cases)
  test(`the image of a name: ${name}`, () => {
    const hashed: string[] = [];
    const sha256 = (key: string) => {
      hashed.push(key);
      return key === images.none.key ? SHA256 : `sha256-${"8".repeat(64)}`;
    };
    for (const order of [of, of.toReversed()]) {
      const all = { asked: { name: "example.com/a", labels: [] }, ...expected };
      const candidates = candidatesOf(
        order.map((one) => images[one]),
        all,
        sha256,
      );
      assert.equal(bestOf(candidates, all, least), want === undefined ? undefined : images[want]);
      assert.equal(passedOverHint(candidates, all, least), hint);
    }
    if (expected?.id !== SHA256) assert.deepEqual(hashed, [], "only a SHA-256 needs hashing");
  });
