import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { promisify } from "node:util";
import { requires } from "../../test/helpers/rkt.ts";
import { regionOf, signRequest } from "./aws-signature.ts";

const key = {
  accessKeyID: "AKIAIOSFODNN7EXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
  awsRegion: undefined,
};

// The examples of Amazon's own document.
for (const { query, signature } of [
  { query: "?lifecycle", signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
  { query: "?max-keys=2&prefix=J", signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
])
  test(`the published signature of ${query}`, () => {
    const url = new URL(`https://examplebucket.s3.amazonaws.com/${query}`);
    assert.deepEqual(signRequest(url, key, new Date("2013-05-24T00:00:00.123Z")), {
      "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "x-amz-date": "20130524T000000Z",
      authorization: `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=${signature}`,
    });
  });

// This curl takes the parameters as sorted already.
for (const path of ["/", "/bucket/a/b.aci", "/x?a=1&a-b=3&b=2", "/a%20b%2Bc/~d_e-f.aci", "/k?prefix=a%2Fb"])
  test(`curl signs ${path} alike`, async (t) => {
    if (!requires(t, "curl")) return;
    const seen: IncomingHttpHeaders[] = [];
    const server = createServer((request, response) => {
      seen.push(request.headers);
      response.end();
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => server.close());
    const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`);
    const emptyHash = signRequest(url, key, new Date())["x-amz-content-sha256"];
    await promisify(execFile)("curl", [
      ...["--silent", "--show-error", "--aws-sigv4", "aws:amz:eu-west-1:s3"],
      ...["--user", `${key.accessKeyID}:${key.secretAccessKey}`, "--header", `x-amz-content-sha256: ${emptyHash}`],
      url.href,
    ]);
    const time = String(seen[0]?.["x-amz-date"]);
    const [, y, mo, d, h, mi, s] = /^(....)(..)(..)T(..)(..)(..)Z$/.exec(time) ?? [];
    const ours = signRequest(url, { ...key, awsRegion: "eu-west-1" }, new Date(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`));
    const parts = (header: string | undefined) => (header ?? "").split(/,\s*/);
    assert.deepEqual(parts(ours["authorization"]), parts(seen[0]?.authorization));
  });

test("the region of a host", () => {
  const cases: Record<string, string> = {
    "s3.amazonaws.com": "us-east-1",
    "bucket.s3.amazonaws.com": "us-east-1",
    "bucket.s3-external-1.amazonaws.com": "us-east-1",
    "s3-eu-west-1.amazonaws.com": "eu-west-1",
    "my.bucket.s3.ap-southeast-2.amazonaws.com": "ap-southeast-2",
    "bucket.s3.dualstack.us-gov-west-1.amazonaws.com": "us-gov-west-1",
    "b.s3.cn-north-1.amazonaws.com.cn": "cn-north-1",
    "storage.example.com": "us-east-1",
  };
  for (const [host, region] of Object.entries(cases)) assert.equal(regionOf(host), region, host);
});
