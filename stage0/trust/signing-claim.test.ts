import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRegistryReference } from "../oci/reference.ts";
import { otherClaim, parseClaim, SIMPLE_SIGNING } from "./signing-claim.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const OTHER = `sha256:${"b".repeat(64)}`;

const claims: [claimed: string, asked: string, simple: RegExp | undefined, cosign: RegExp | undefined][] = [
  ["docker.io/library/nginx:1", "docker://nginx:1", undefined, undefined],
  ["nginx:1", "docker://nginx:1", undefined, undefined],
  ["index.docker.io/library/nginx:1", "docker://nginx:1", undefined, undefined],
  ["nginx:latest", "docker://nginx", undefined, undefined],
  ["localhost:5000/a/b:1", "docker://localhost:5000/a/b:1", undefined, undefined],
  [`nginx:1@${OTHER}`, "docker://nginx:1", undefined, undefined],
  ["nginx:2", "docker://nginx:1", /^it is of docker\.io\/library\/nginx:2$/, /nginx:2/],
  ["nginx", "docker://nginx:1", /^it is of no tag/, undefined],
  // Without a tag is not "latest".
  ["nginx", "docker://nginx", /^it is of no tag/, undefined],
  ["localhost:5000/a/b", "docker://localhost:5000/a/b:1", /^it is of no tag/, undefined],
  [`nginx@${DIGEST}`, "docker://nginx:1", /^it is of no tag/, undefined],
  ["me/nginx:1", "docker://nginx:1", /^it is of docker\.io\/me\/nginx:1$/, /me\/nginx/],
  ["quay.io/library/nginx:1", "docker://nginx:1", /quay\.io/, /quay\.io/],
  ["localhost:5001/a/b:1", "docker://localhost:5000/a/b:1", /5001/, /5001/],
  ["", "docker://nginx", /names no image/, /names no image/],
  ["Nginx:1", "docker://nginx:1", /names no image/, /names no image/],
  ["nginx:1\n", "docker://nginx:1", /names no image/, /names no image/],
];

for (const [reference, asked, simple, cosign] of claims)
  test(`a claim of ${JSON.stringify(reference)} for ${asked}`, () => {
    for (const [bare, expected] of [
      [false, simple],
      [true, cosign],
    ] as const) {
      const other = otherClaim({ reference, digest: DIGEST }, parseRegistryReference(asked), new Set([DIGEST]), { bare });
      if (expected === undefined) assert.equal(other, undefined);
      else assert.match(other ?? "", expected);
    }
  });

test("a claim of another digest", () => {
  const other = otherClaim({ reference: "nginx:1", digest: OTHER }, parseRegistryReference("docker://nginx:1"), new Set([DIGEST]), { bare: false });
  assert.match(other ?? "", /^it is of another image, sha256:b/);
});

test("the signed document, strictly read", () => {
  const document = (critical: object) => Buffer.from(JSON.stringify({ critical, optional: { creator: "x", timestamp: 1 } }));
  const critical = { identity: { "docker-reference": "a:1" }, image: { "docker-manifest-digest": DIGEST }, type: SIMPLE_SIGNING };
  assert.deepEqual(parseClaim(document(critical), SIMPLE_SIGNING), { reference: "a:1", digest: DIGEST });
  for (const change of [{ type: "x" }, { type: undefined }, { identity: {} }, { image: {} }, { image: { "docker-manifest-digest": "md5:1" } }])
    assert.throws(() => parseClaim(document({ ...critical, ...change }), SIMPLE_SIGNING), { code: "manifest-invalid" });
  assert.throws(() => parseClaim(Buffer.alloc(100_000, " "), SIMPLE_SIGNING), { code: "signature-malformed" });
});
