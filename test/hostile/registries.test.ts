/** Registries that lie: what rkt makes of them, and that nothing of it stays. */

import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { dir, file } from "../fixtures/oci-images.ts";
import { serve, type TestServer } from "../helpers/http-server.ts";
import { ociImage, type OciImage, sha256 } from "../helpers/oci.ts";
import { finished, makeRkt, type Rkt, requires } from "../helpers/rkt.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => boolean;

const INDEX = "application/vnd.oci.image.index.v1+json";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

const image = (): OciImage => ociImage([[dir("a"), file("a/b", "lower ".repeat(20_000))], [file("c", "upper")]]);

/** A registry with one image, for which `first` may answer. */
async function registry(t: TestContext, first: (image: OciImage) => Answer): Promise<{ server: TestServer; name: string }> {
  const own = image();
  const lie = first(own);
  const blobs = new Map([own.config, ...own.layers.map(({ bytes }) => bytes)].map((bytes) => [sha256(bytes), bytes]));
  const server = await serve(t, (request, response) => {
    if (lie(request, response)) return;
    const [, kind, what = ""] = /^\/v2\/app\/(manifests|blobs)\/(.*)$/.exec(request.url ?? "") ?? [];
    const bytes = kind === "manifests" ? own.manifest : blobs.get(what);
    if (bytes === undefined) response.writeHead(404).end();
    else response.writeHead(200, kind === "manifests" ? { "content-type": MANIFEST } : {}).end(bytes);
  });
  return { server, name: `docker://127.0.0.1:${server.port}/app:1` };
}

function nothingStays(rkt: Rkt): void {
  for (const place of ["tmp", "layer/blob/sha256", "layer/tree", "blob/sha512"]) {
    const path = join(rkt.dir, "cas", place);
    assert.deepEqual(existsSync(path) ? readdirSync(path) : [], [], place);
  }
}

const to = (status: number, location: (server: string) => string): ((image: OciImage) => Answer) => {
  return () => (request, response) => {
    if (request.url?.includes("/blobs/") !== true) return false;
    response.writeHead(status, { location: location(request.headers.host ?? "") }).end();
    return true;
  };
};

const layer = (change: (bytes: Buffer) => Buffer): ((image: OciImage) => Answer) => {
  return ({ layers: [lowest] }) =>
    (request, response) => {
      if (lowest === undefined || request.url !== `/v2/app/blobs/${lowest.digest}`) return false;
      response.writeHead(200).end(change(lowest.bytes));
      return true;
    };
};

const top = (make: (image: OciImage) => unknown, type = MANIFEST): ((image: OciImage) => Answer) => {
  return (own) => (request, response) => {
    if (request.url !== "/v2/app/manifests/1") return false;
    const value = make(own);
    const bytes = Buffer.isBuffer(value) ? value : Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
    response.writeHead(200, { "content-type": type, "content-length": bytes.length }).end(bytes);
    return true;
  };
};

const entry = (over: object = {}) => ({ mediaType: INDEX, digest: `sha256:${"a".repeat(64)}`, size: 10, ...over });
const manifestOf = ({ manifest }: OciImage, over: object) => ({ ...JSON.parse(manifest.toString()), ...over });

const challenge = (header: (host: string) => string): ((image: OciImage) => Answer) => {
  return () => (request, response) => {
    response.writeHead(401, { "www-authenticate": header(request.headers.host ?? "") }).end();
    return true;
  };
};

const lies: [name: string, first: (image: OciImage) => Answer, message: RegExp][] = [
  ["a layer of other bytes", layer((bytes) => Buffer.from(bytes.map((byte, i) => (i === 200 ? byte ^ 1 : byte)))), /damaged|digest/],
  ["a layer that is longer", layer((bytes) => Buffer.concat([bytes, Buffer.alloc(100)])), /bytes, and the image that asks for it says/],
  ["a layer that is shorter", layer((bytes) => bytes.subarray(0, -10)), /bytes, and the image that asks for it says/],
  ["a layer that is another archive", layer(() => image().layers[1]?.bytes ?? Buffer.alloc(0)), /bytes, and the image|digest/],
  ["a layer that is a page", layer(() => Buffer.from("<html>")), /bytes, and the image that asks for it says/],
  ["layers at a file", to(302, () => "file:///etc/shadow"), /redirects to a file: URL/],
  ["layers at another scheme", to(307, () => "gopher://127.0.0.1/x"), /redirects to a gopher: URL/],
  ["layers nowhere", to(302, () => "http://"), /malformed/],
  ["layers in a circle", to(307, (host) => `http://${host}/v2/app/blobs/x`), /more than 10 redirects/],
  ["a manifest without an end", top(() => Buffer.alloc(5 << 20, " ")), /more than 4194304 bytes/],
  ["no JSON", top(() => "<html>"), /expected a value/],
  ["a manifest twice", top(() => '{"schemaVersion":2,"schemaVersion":2}'), /is given twice/],
  ["schema 1", top(() => ({ schemaVersion: 1, fsLayers: [] })), /of Docker's schema 1/],
  ["an image and an index in one", top((own) => manifestOf(own, { manifests: [entry()] })), /manifests: must not be there|must not be in/],
  ["an index that says that it is an image", top(() => ({ schemaVersion: 2, manifests: [entry()] })), /must not be in an image's manifest/],
  ["types that disagree", top((own) => manifestOf(own, {}), INDEX), /mediaType: must be the/],
  ["a chart", top((own) => manifestOf(own, { config: { mediaType: "application/vnd.cncf.helm.config.v1+json", digest: entry().digest, size: 2 } })), /is of something else than an image/],
  ["an index of nothing", top(() => ({ schemaVersion: 2, mediaType: INDEX, manifests: [] }), INDEX), /is not for linux\/amd64/],
  ["an index of what is not there", top(() => ({ schemaVersion: 2, manifests: [entry()] }), INDEX), /404|other bytes|aaaa/],
  ["an index of attestations", top(() => ({ schemaVersion: 2, manifests: [entry({ platform: { os: "unknown", architecture: "unknown" } })] }), INDEX), /is not for linux\/amd64/],
  ["an index of 1001", top(() => ({ schemaVersion: 2, manifests: Array(1001).fill(entry()) }), INDEX), /at most 1000 entries/],
  ["a size that is none", top((own) => manifestOf(own, { layers: [{ ...own.layers[0], bytes: undefined, size: -1 }] })), /size: must be an integer/],
  ["a size beyond all bounds", top((own) => manifestOf(own, { layers: [{ mediaType: own.layers[0]?.mediaType, digest: own.layers[0]?.digest, size: 2 ** 52 }] })), /size: must be an integer/],
  ["a digest that is a path", top((own) => manifestOf(own, { layers: [{ mediaType: own.layers[0]?.mediaType, digest: "sha256:../../../../etc/passwd", size: 1 }] })), /digest: must be/],
  ["a digest of another kind", top((own) => manifestOf(own, { layers: [{ mediaType: own.layers[0]?.mediaType, digest: `md5:${"0".repeat(32)}`, size: 1 }] })), /digest: must be/],
  ["a layer of a strange type", top((own) => manifestOf(own, { layers: [{ ...entry(), mediaType: "text/x-shellscript" }] })), /mediaType: must be a tar archive/],
  ["a configuration of other bytes", (own) => (request, response) => {
    if (request.url !== `/v2/app/blobs/${sha256(own.config)}`) return false;
    response.writeHead(200).end(own.config.toString().replace("amd64", "arm64"));
    return true;
  }, /sends other bytes for sha256:/],
  ["fewer layers than diff IDs", top((own) => manifestOf(own, { layers: JSON.parse(own.manifest.toString()).layers.slice(1) })), /diff_ids|layers/],
  ["a realm in a file", challenge(() => 'Bearer realm="file:///etc/shadow"'), /for a token to a file: URL/],
  ["a realm that is no URL", challenge(() => 'Bearer realm="/token"'), /for a token to what is no URL/],
  ["a challenge that nobody knows", challenge(() => "Negotiate"), /asks for nothing that rkt can give/],
  ["no challenge at all", challenge(() => ""), /asks for nothing that rkt can give/],
  ["a challenge without an end", challenge(() => `Bearer realm="${"a".repeat(10_000)}"`), /asks for nothing that rkt can give/],
  ["a realm that is the registry, forever", challenge((host) => `Bearer realm="http://${host}/v2/"`), /401/],
  ["words for a terminal", () => (_, response) => {
    response.writeHead(403).end(JSON.stringify({ errors: [{ code: "DENIED", message: "\u001b[2J\u001b]0;x\u0007" }] }));
    return true;
  }, /forbids strangers to read [^\u001b]* \(403\): it says "(?!.*\u001b)/],
];

for (const [name, first, message] of lies)
  test(`a registry with ${name}`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const { name: text } = await registry(t, first);
    const result = await finished(rkt.start(["--insecure-options=http,image", "fetch", text]));
    assert.equal(result.status, 254, result.stderr);
    assert.match(result.stderr, message);
    nothingStays(rkt);
  });

test("an interrupted fetch leaves nothing, and a second one gets it all", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  let stall = true;
  const begun = Promise.withResolvers<void>();
  const { name } = await registry(t, ({ layers: [lowest] }) => (request, response) => {
    if (!stall || request.url !== `/v2/app/blobs/${lowest?.digest}`) return false;
    response.writeHead(200, { "content-length": lowest?.bytes.length });
    response.write(lowest?.bytes.subarray(0, 100), () => begun.resolve());
    return true;
  });
  const args = ["--insecure-options=http,image", "fetch", name];
  const child = rkt.start(args);
  const ended = finished(child);
  await begun.promise;
  child.kill("SIGTERM");
  const { status, stderr } = await ended;
  assert.equal(status, 128 + 15, stderr);
  nothingStays(rkt);
  stall = false;
  const again = await finished(rkt.start(args));
  assert.equal(again.status, 0, again.stderr);
});

test("a password is for its own host and port", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const elsewhere = await serve(t, (_, response) => void response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end());
  const right = `Basic ${Buffer.from("me:secret").toString("base64")}`;
  const { server, name } = await registry(t, () => (request, response) => {
    if (request.headers.authorization !== right) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
      return true;
    }
    if (request.url?.includes("/blobs/") !== true) return false;
    response.writeHead(307, { location: `${elsewhere.base}/x` }).end();
    return true;
  });
  const { machineOf } = await import("../helpers/container-config.ts");
  const machine = machineOf(rkt);
  machine.auth(`127.0.0.1:${server.port}`, "me", "secret");
  const result = await finished(rkt.start([...machine.options, "--insecure-options=http,image", "fetch", name]));
  assert.equal(result.status, 254, result.stderr);
  assert.ok(elsewhere.seen.length > 0);
  assert.ok(elsewhere.seen.every(({ headers }) => headers.authorization === undefined));
  assert.doesNotMatch(result.stderr, /secret/);
  nothingStays(rkt);
});
