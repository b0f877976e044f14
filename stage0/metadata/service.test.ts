import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { EARLY_IMAGE_ANNOTATION, IMAGE_SHA256_ANNOTATION } from "../../shared/contract/annotations.ts";
import { hostPath } from "../../shared/contract/paths.ts";
import { parseImageManifest } from "../../shared/schema/image-manifest.ts";
import { parsePodManifest } from "../../shared/schema/pod-manifest.ts";
import { openIdentity } from "./identity.ts";
import { type Answer, answer, type MetadataRequest, type Pod, type Pods } from "./service.ts";

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
          app: { exec: ["/db"], user: "0", group: "0", mountPoints: [{ name: "data", path: "/data" }] },
          mounts: [{ volume: "data", path: "/data" }],
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
const key = hostPath(join(mkdtempSync(join(tmpdir(), "rkt-identity-")), "metadata", "hmac-key"));
after(() => rmSync(join(key, "../.."), { recursive: true }));
const identity = openIdentity(key);
const ASCII = "text/plain; charset=us-ascii";

const GET: Omit<MetadataRequest, "path"> = {
  method: "GET",
  flavor: "AppContainer",
  contentType: undefined,
  body: Buffer.alloc(0),
  source: "192.0.2.1",
};

function ask(path: string, over: Partial<MetadataRequest> = {}): Answer {
  const given = answer({ ...GET, path, ...over }, pods, identity);
  assert.ok(given);
  return given;
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
        mounts: [{ volume: "data", mountPoint: "data" }],
        isolators: [],
        annotations: pod.manifest.apps[0]?.annotations,
      },
    ],
    volumes: [{ name: "data", kind: "host", source: "/srv", readOnly: true, fulfills: ["data"] }],
    isolators: [],
    annotations: [{ name: "ip-address", value: "10.1.2.3" }],
  });
});

/** A container of images that were made then. */
function earlyPods(acVersion: string, more: { name: string; value: string }[] = []): Pods {
  const apps = pod.manifest.apps.map((app) => ({
    ...app,
    annotations: [...app.annotations, { name: EARLY_IMAGE_ANNOTATION, value: acVersion }, ...more],
  }));
  return { byToken: () => ({ ...pod, manifest: { ...pod.manifest, apps } }), byAddress: () => undefined };
}
const SHA256 = `sha256-${"5".repeat(64)}`;

test("metadata: before 0.2.0 an image's ID is a SHA-256, for who asks by the image's name", () => {
  const early = earlyPods("0.1.0", [{ name: IMAGE_SHA256_ANNOTATION, value: SHA256 }]);
  const get = (path: string) =>
    answer({ ...GET, path: `/${TOKEN}/acMetadata/v1/${path}` }, early, identity)?.body ?? "";
  const { apps, annotations } = JSON.parse(get("container/manifest"));
  assert.deepEqual([apps[0].imageID, apps[0].image.id, apps[0].app], [SHA256, SHA256, "example.com/db"]);
  assert.deepEqual(annotations, { "ip-address": "10.1.2.3" });
  assert.equal(get("apps/example.com/db/image/id"), SHA256);
  assert.equal(get("apps/main/image/id"), ID);
});

for (const [acVersion, app] of [
  ["0.3.0", "example.com/db"],
  ["0.4.0", undefined],
] as const)
  test(`metadata: a container manifest of ${acVersion}`, () => {
    const path = `/${TOKEN}/acMetadata/v1/container/manifest`;
    const manifest = JSON.parse(answer({ ...GET, path }, earlyPods(acVersion), identity)?.body ?? "");
    const [one] = manifest.apps;
    // From 0.4.0 on that would be an app section.
    assert.deepEqual([one.name, one.app, one.imageID], ["example.com/db", app, ID]);
    assert.deepEqual(manifest.volumes[0].name, "data");
    assert.deepEqual(manifest.annotations, [{ name: "ip-address", value: "10.1.2.3" }]);
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

for (const method of ["HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "POST", "GET"])
  for (const [entry, allow] of [
    ["pod/uuid", "GET"],
    ["container/annotations/", "GET"],
    ["apps/main/image/id", "GET"],
    ["pod/hmac/sign", "POST"],
    ["container/hmac/verify", "POST"],
  ])
    if (method !== allow)
      test(`metadata: ${method} of ${entry} is refused with what is taken`, () => {
        const { status, allow: taken } = ask(`/${TOKEN}/acMetadata/v1/${entry}`, { method });
        assert.equal(status, 405);
        assert.ok(taken?.split(", ").includes(allow ?? ""));
      });

/** Each reaches what it names to the letter, which is nothing. */
const crooked = [
  "pod%2fuuid",
  "pod/hmac%2fsign",
  "pod/./uuid",
  "pod//uuid",
  "/pod/uuid",
  "pod/uuid/",
  "pod/uuid/.",
  "pod/../container/uid",
  "pod/%2e%2e/container/uid",
  "pod/uuid%00",
  "pod/uuid%0d%0aX: y",
  "container/uid%2f",
  "container/annotations//ip-address",
  "container/annotations/./ip-address",
  "container/annotations/../uid",
  "container/annotations/ip-address/",
  "container/annotations/__proto__",
  "container%2fannotations/ip-address",
  "apps//image/id",
  "apps/main//image/id",
  "apps/./main/image/id",
  "apps/main/image%2fid",
  "apps/main%2fimage%2fid",
  "apps/main/../other/image/id",
  "apps/..%2fmain/image/id",
  "apps/main/annotations/../image/id",
  "apps/main/annotations/%2e%2e%2fimage%2fid",
  "apps/example.com/../main/image/id",
  "apps/main/image/manifest/../../../../../../etc/passwd",
  "../../etc/passwd",
];
for (const path of crooked)
  test(`metadata: ${path} is nothing`, () => assert.equal(ask(`/${TOKEN}/acMetadata/v1/${path}`).status, 404));
for (const path of ["acMetadata/v1/../v1/pod/uuid", "acMetadata%2fv1/pod/uuid", "/acMetadata/v1/pod/uuid", "..//pod"])
  test(`metadata: ${path} below a token is nothing`, () => assert.equal(ask(`/${TOKEN}/${path}`).status, 404));

test("metadata: an app's name may be escaped, as a client does that takes it for one segment", () => {
  assert.equal(ask(`/${TOKEN}/acMetadata/v1/apps/example.com%2Fdb/image/id`).body, ID);
});

test("metadata: a body is wanted only where it is used, of a container that is known", () => {
  const sign = (path: string, over: Partial<MetadataRequest> = {}) =>
    answer(
      {
        ...{ method: "POST", path, flavor: "AppContainer", source: "192.0.2.1", body: undefined },
        contentType: "application/x-www-form-urlencoded",
        ...over,
      },
      pods,
      identity,
    )?.status;
  const path = `/${TOKEN}/acMetadata/v1/pod/hmac/sign`;
  assert.equal(sign(path), undefined);
  assert.equal(sign(path, { flavor: undefined }), 403);
  assert.equal(sign(path.replace(TOKEN, "other")), 403);
  assert.equal(sign(path, { contentType: "multipart/form-data" }), 415);
  assert.equal(sign(`/${TOKEN}/acMetadata/v1/pod/uuid`), 405);
});

const form = (values: Record<string, string>): Partial<MetadataRequest> => ({
  method: "POST",
  contentType: "application/x-www-form-urlencoded; charset=utf-8",
  body: Buffer.from(new URLSearchParams(values).toString()),
});
const raw = (body: string | Buffer): Partial<MetadataRequest> => ({ ...form({}), body: Buffer.from(body) });

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
    // Without the content, by the first version's signatures only.
    const bare = ask(at("verify"), form({ [key]: pod.uuid, signature }));
    assert.equal(bare.status, group === "pod" ? 400 : 403);
    assert.equal(ask(at("verify"), form({ content, [key]: pod.uuid })).status, 400);
    assert.equal(ask(at("sign"), form({})).status, 400);
  });

test("metadata: an object that is no form is signed so that it is verified without it, as in the first version", () => {
  const at = (action: string) => `/${TOKEN}/acMetadata/v1/container/hmac/${action}`;
  const { body: signature } = ask(at("sign"), { ...raw("anything"), contentType: "text/plain" });
  const digest = createHash("sha512").update("anything").digest();
  assert.deepEqual(Buffer.from(signature, "base64").subarray(0, 64), digest);
  const verify = (uid: string, given: string) => ask(at("verify"), form({ uid, signature: given })).status;
  assert.equal(verify(pod.uuid, signature), 200);
  assert.equal(verify("6ba7b811-9dad-41d1-80b4-00c04fd430c8", signature), 403);
  const other = Buffer.from(signature, "base64");
  other[0] = (other[0] ?? 0) ^ 1;
  assert.equal(verify(pod.uuid, other.toString("base64")), 403);
  assert.equal(verify(pod.uuid, ""), 403);
  assert.equal(ask(at("verify"), { ...raw("anything"), contentType: undefined }).status, 415);
});

/** Contents that are the same text to who takes them for text. */
const alike: [name: string, one: Partial<MetadataRequest>, two: Partial<MetadataRequest>][] = [
  ["escaped bytes", raw("content=%ff"), raw("content=%fe")],
  ["bytes as they are", raw(Buffer.from("content=a\xff", "latin1")), raw(Buffer.from("content=a\xfe", "latin1"))],
  ["a byte and the character for none", raw("content=%ff"), raw("content=%ef%bf%bd")],
  ["a byte order mark", raw("content=%ef%bb%bfa"), raw("content=a")],
];
for (const [name, one, two] of alike)
  test(`metadata: signs bytes, not text: ${name}`, () => {
    const at = (action: string) => `/${TOKEN}/acMetadata/v1/pod/hmac/${action}`;
    const [first, second] = [ask(at("sign"), one), ask(at("sign"), two)];
    assert.deepEqual([first.status, second.status], [200, 200]);
    assert.notEqual(first.body, second.body);
    const proof = Buffer.from(`&uuid=${pod.uuid}&signature=${encodeURIComponent(first.body)}`);
    const verify = (content: Partial<MetadataRequest>) =>
      ask(at("verify"), raw(Buffer.concat([Buffer.from(content.body ?? []), proof]))).status;
    assert.deepEqual([verify(one), verify(two)], [200, 403]);
  });

test("metadata: one content, however it is escaped, has one signature", () => {
  const sign = (body: string | Buffer) => ask(`/${TOKEN}/acMetadata/v1/pod/hmac/sign`, raw(body)).body;
  const expected = identity.sign(pod.uuid, "content", Buffer.from("100% ü")).toString("base64");
  for (const body of ["content=100%+%c3%bc", "other=1&content=100%25%20%C3%BC&", "c%6fntent=100% ü"])
    assert.equal(sign(body), expected, body);
});

test("metadata: an object of the first version is signed to the byte", () => {
  const at = `/${TOKEN}/acMetadata/v1/container/hmac/sign`;
  const sign = (byte: number) => ask(at, { method: "POST", body: Buffer.from([byte]) }).body;
  assert.notEqual(sign(0xff), sign(0xfe));
  // Nor is it what is signed by a form.
  const digest = createHash("sha512")
    .update(Buffer.from([0xff]))
    .digest();
  const name = `sha512-${digest.toString("hex")}`;
  for (const content of [digest, Buffer.from(name)])
    assert.notDeepEqual(Buffer.from(sign(0xff), "base64").subarray(64), identity.sign(pod.uuid, "content", content));
});

for (const contentType of [undefined, "text/plain", "multipart/form-data; boundary=x", "application/json"])
  for (const action of ["sign", "verify"])
    test(`metadata: pod/hmac/${action} takes a form, not ${contentType}`, () => {
      const body = '--x\r\nContent-Disposition: form-data; name="content"\r\n\r\nhello\r\n--x--\r\n';
      const given = ask(`/${TOKEN}/acMetadata/v1/pod/hmac/${action}`, { ...raw(body), contentType });
      assert.deepEqual([given.status, given.body], [415, "this takes a form, application/x-www-form-urlencoded\n"]);
    });

test("metadata: nobody means the text of a multipart form", () => {
  const multipart = { ...raw("--x--"), contentType: "Multipart/Form-Data; boundary=x" };
  assert.equal(ask(`/${TOKEN}/acMetadata/v1/container/hmac/sign`, multipart).status, 415);
});

const notQuite: [name: string, change: (signature: string) => string][] = [
  ["words after it", (signature) => `${signature}!!garbage`],
  ["more after its end", (signature) => `${signature}AAAA`],
  ["a line end after it", (signature) => `${signature}\n`],
  ["a blank in it", (signature) => ` ${signature}`],
  ["no padding", (signature) => signature.replace(/=+$/, "")],
  ["the alphabet of URLs", (signature) => signature.replaceAll("+", "-").replaceAll("/", "_")],
  ["other bits where none count", (signature) => signature.replace(/[AQgw]==$/, (end) => `${next(end)}==`)],
];
/** A digit that decodes to the same byte. */
const next = (end: string): string => String.fromCharCode(end.charCodeAt(0) + 1);
for (const [name, change] of notQuite)
  test(`metadata: a signature with ${name} is none`, () => {
    const at = (action: string) => `/${TOKEN}/acMetadata/v1/pod/hmac/${action}`;
    // The first content whose signature has what there is to change.
    for (let i = 0; ; i++) {
      const content = `content ${i}`;
      const signature = ask(at("sign"), form({ content })).body;
      if (change(signature) === signature) continue;
      const verify = (given: string) => ask(at("verify"), form({ content, uuid: pod.uuid, signature: given })).status;
      assert.deepEqual([verify(signature), verify(change(signature))], [200, 403]);
      return;
    }
  });

test("metadata: a field that is there twice is meant by nobody", () => {
  const at = (action: string) => `/${TOKEN}/acMetadata/v1/pod/hmac/${action}`;
  assert.equal(ask(at("sign"), raw("content=a&content=b")).status, 400);
  assert.equal(ask(at("verify"), raw(`content=a&uuid=${pod.uuid}&signature=a&signature=b`)).status, 400);
});

test("metadata: the first version's flavor", () => {
  assert.equal(ask(`/${TOKEN}/acMetadata/v1/container/uid`, { flavor: "AppContainer header" }).body, pod.uuid);
});

test("identity: HMAC-SHA512 by a key per container, which outlives the service", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "rkt-identity-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = hostPath(join(dir, "metadata", "hmac-key"));
  const hello = Buffer.from("hello");
  const first = openIdentity(path);
  const signature = first.sign(pod.uuid, "content", hello);
  assert.equal(signature.length, 64);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const again = openIdentity(path);
  const good = (uuid: string, content: Buffer, given = signature) => again.verify(uuid, "content", content, given);
  assert.ok(good(pod.uuid, hello));
  assert.ok(good(pod.uuid.toUpperCase(), hello));
  assert.ok(!good("6ba7b811-9dad-41d1-80b4-00c04fd430c8", hello));
  assert.ok(!good(pod.uuid, Buffer.from("hello!")));
  assert.ok(!good(pod.uuid, hello, Buffer.alloc(0)));
  // Neither kind is made of the other, whatever one calls oneself.
  assert.ok(!again.verify(pod.uuid, "digest", hello, signature));
  const digest = first.sign(pod.uuid, "digest", hello);
  assert.ok(again.verify(pod.uuid, "digest", hello, digest));
  assert.ok(!good(`digest ${pod.uuid}`, hello, digest));
  writeFileSync(path, "short");
  assert.throws(() => openIdentity(path), { code: "bad-key" });
});
