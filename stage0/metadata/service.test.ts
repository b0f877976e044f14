import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { hostPath } from "../../shared/layout.ts";
import { parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import { openIdentity } from "./identity.ts";
import { answer, type Identity, type MetadataRequest, type Pod, type Pods } from "./service.ts";

const ID = `sha512-${"a".repeat(128)}`;
const imageText = ` {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/db",
  "app": {"exec": ["/db"], "user": "0", "group": "0"},
  "annotations": [{"name": "kept", "value": "by the image"}, {"name": "changed", "value": "by the image"}]}`;
const image = parseImageManifest(imageText);
const pod: Pod = {
  uuid: "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
  manifest: parsePodManifest(
    JSON.stringify({
      acKind: "PodManifest",
      acVersion: "0.8.11",
      apps: [
        {
          name: "main",
          image: { name: "example.com/db", id: ID },
          annotations: [
            { name: "changed", value: "by the pod" },
            { name: "added", value: "by the pod" },
          ],
        },
      ],
      volumes: [{ name: "data", kind: "host", source: "/srv", readOnly: true }],
      annotations: [{ name: "ip-address", value: "10.1.2.3" }],
    }),
  ),
  imageManifest: () => image,
  imageManifestText: () => imageText,
};
const TOKEN = "f00d";
const pods: Pods = {
  byToken: (token) => (token === TOKEN ? pod : undefined),
  byAddress: (address) => (address === "172.16.0.2" ? pod : undefined),
};
const identity: Identity = {
  sign: (uuid, content) => Buffer.from(`${uuid}:${content}`).toString("base64"),
  verify: (uuid, content, signature) => identity.sign(uuid, content) === signature,
};
const ASCII = "text/plain; charset=us-ascii";

function ask(path: string, over: Partial<MetadataRequest> = {}): { status: number; type: string; body: string } {
  return answer(
    {
      method: "GET",
      path,
      flavor: "AppContainer",
      contentType: undefined,
      body: "",
      source: "192.0.2.1",
      ...over,
    },
    pods,
    identity,
  );
}

const merged = [
  { name: "kept", value: "by the image" },
  { name: "changed", value: "by the pod" },
  { name: "added", value: "by the pod" },
];

const answers: [path: string, type: string, body: unknown][] = [
  ["pod/uuid", ASCII, pod.uuid],
  ["pod/annotations", "application/json", pod.manifest.annotations],
  ["apps/main/annotations", "application/json", merged],
  ["apps/main/image/id", ASCII, ID],
  // As the specification had it before 0.5.
  ["container/uid", ASCII, pod.uuid],
  ["container/annotations/", ASCII, "ip-address"],
  ["container/annotations/ip-address", "text/plain; charset=utf-8", "10.1.2.3"],
  ["apps/main/annotations/", ASCII, "kept\nchanged\nadded"],
  ["apps/example.com/db/annotations/changed", "text/plain; charset=utf-8", "by the pod"],
  ["apps/example.com/db/image/id", ASCII, ID],
];
for (const [path, type, body] of answers)
  test(`metadata: ${path}`, () => {
    const given = ask(`/${TOKEN}/acMetadata/v1/${path}`);
    assert.deepEqual([given.status, given.type], [200, type]);
    assert.deepEqual(type === "application/json" ? JSON.parse(given.body) : given.body, body);
  });

test("metadata: manifests are the specification's", () => {
  assert.deepEqual(parsePodManifest(ask(`/${TOKEN}/acMetadata/v1/pod/manifest`).body), pod.manifest);
  assert.equal(ask(`/${TOKEN}/acMetadata/v1/apps/main/image/manifest`).body, imageText);
  assert.deepEqual(JSON.parse(ask(`/${TOKEN}/acMetadata/v1/container/manifest`).body), {
    acVersion: "0.8.11",
    acKind: "ContainerRuntimeManifest",
    uuid: pod.uuid,
    apps: [
      {
        name: "example.com/db",
        imageID: ID,
        image: { name: "example.com/db", id: ID },
        isolators: [],
        annotations: pod.manifest.apps[0]?.annotations,
      },
    ],
    volumes: [{ kind: "host", source: "/srv", readOnly: true, fulfills: ["data"] }],
    isolators: [],
    annotations: [{ name: "ip-address", value: "10.1.2.3" }],
  });
});

test("metadata: without a token, by the address", () => {
  assert.equal(ask("/acMetadata/v1/pod/uuid", { source: "172.16.0.2" }).body, pod.uuid);
  assert.equal(ask("/acMetadata/v1/pod/uuid", { source: "172.16.0.3" }).status, 403);
});

const refused: [name: string, status: number, path: string, over?: Partial<MetadataRequest>][] = [
  ["no flavor", 403, `/${TOKEN}/acMetadata/v1/pod/uuid`, { flavor: undefined }],
  ["another flavor", 403, `/${TOKEN}/acMetadata/v1/pod/uuid`, { flavor: "Google" }],
  ["another token", 403, "/f00d1/acMetadata/v1/pod/uuid"],
  ["no token", 403, "/acMetadata/v1/pod/uuid"],
  ["an empty token", 403, "//acMetadata/v1/pod/uuid"],
  ["another version", 404, `/${TOKEN}/acMetadata/v2/pod/uuid`],
  ["nothing", 404, "/"],
  ["no entry", 404, `/${TOKEN}/acMetadata/v1`],
  ["an unknown entry", 404, `/${TOKEN}/acMetadata/v1/pod/constructor`],
  ["an unknown app", 404, `/${TOKEN}/acMetadata/v1/apps/other/image/id`],
  ["an unknown annotation", 404, `/${TOKEN}/acMetadata/v1/container/annotations/toString`],
  ["a broken escape", 400, `/${TOKEN}/acMetadata/v1/pod/%zz`],
  ["a write", 405, `/${TOKEN}/acMetadata/v1/pod/manifest`, { method: "PUT" }],
  ["to sign by GET", 405, `/${TOKEN}/acMetadata/v1/pod/hmac/sign`],
];
for (const [name, status, path, over] of refused)
  test(`metadata: refuses ${name}`, () => assert.equal(ask(path, over).status, status));

const form = (values: Record<string, string>): Partial<MetadataRequest> => ({
  method: "POST",
  contentType: "application/x-www-form-urlencoded; charset=utf-8",
  body: new URLSearchParams(values).toString(),
});

for (const [group, key] of [
  ["pod", "uuid"],
  ["container", "uid"],
] as const)
  test(`metadata: ${group}/hmac`, () => {
    const at = (action: string) => `/${TOKEN}/acMetadata/v1/${group}/hmac/${action}`;
    const content = "Ünïcode & = %\n";
    const signed = ask(at("sign"), form({ content }));
    assert.deepEqual([signed.status, signed.type], [200, ASCII]);
    const signature = signed.body;
    assert.equal(ask(at("verify"), form({ content, [key]: pod.uuid, signature })).status, 200);
    assert.equal(ask(at("verify"), form({ content: "other", [key]: pod.uuid, signature })).status, 403);
    assert.equal(ask(at("verify"), form({ [key]: pod.uuid, signature })).status, 403);
    assert.equal(ask(at("verify"), form({ content, [key]: pod.uuid })).status, 400);
    assert.equal(ask(at("sign"), form({})).status, 400);
  });

test("metadata: an object that is no form is signed so that it is verified without it, as in the first version", () => {
  const at = (action: string) => `/${TOKEN}/acMetadata/v1/container/hmac/${action}`;
  const { body: signature } = ask(at("sign"), { method: "POST", contentType: "text/plain", body: "anything" });
  const digest = createHash("sha512").update("anything").digest();
  assert.deepEqual(Buffer.from(signature, "base64").subarray(0, 64), digest);
  const verify = (uid: string, given: string) => ask(at("verify"), form({ uid, signature: given })).status;
  assert.equal(verify(pod.uuid, signature), 200);
  assert.equal(verify("6ba7b811-9dad-41d1-80b4-00c04fd430c8", signature), 403);
  const other = Buffer.from(signature, "base64");
  other[0] = (other[0] ?? 0) ^ 1;
  assert.equal(verify(pod.uuid, other.toString("base64")), 403);
  assert.equal(verify(pod.uuid, ""), 403);
  assert.equal(ask(at("verify"), { method: "POST", body: "anything" }).status, 400);
});

test("metadata: the first version's flavor", () => {
  assert.equal(ask(`/${TOKEN}/acMetadata/v1/container/uid`, { flavor: "AppContainer header" }).body, pod.uuid);
});

test("identity: HMAC-SHA512 by a key per container, which outlives the service", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "rkt-identity-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = hostPath(join(dir, "metadata", "hmac-key"));
  const first = openIdentity(path);
  const signature = first.sign(pod.uuid, "hello");
  assert.equal(Buffer.from(signature, "base64").length, 64);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const again = openIdentity(path);
  assert.ok(again.verify(pod.uuid, "hello", signature));
  assert.ok(again.verify(pod.uuid.toUpperCase(), "hello", signature));
  assert.ok(!again.verify("6ba7b811-9dad-41d1-80b4-00c04fd430c8", "hello", signature));
  assert.ok(!again.verify(pod.uuid, "hello!", signature));
  assert.ok(!again.verify(pod.uuid, "hello", ""));
  writeFileSync(path, "short");
  assert.throws(() => openIdentity(path), { code: "bad-key" });
});
