import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";
import { RktError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import type { NameValue } from "../../shared/schema/types.ts";
import { answerFile, type FileAnswer, serve } from "../../test/helpers/http-server.ts";
import type { InsecureOption } from "../config/insecure-options.ts";
import { openStore, type RemoteRecord, type Store, type StoredImage } from "../store/store.ts";
import { type FetchRequest, fetchImage, fetchImages } from "./fetch.ts";
import type { FetchContext } from "./fetch-context.ts";
import type { SignatureCheck } from "../trust/signature-check.ts";
import { openHttp } from "./http.ts";
import { parseImageReference } from "./sources.ts";
import { openReporter } from "../terminal/progress.ts";

// --- doubles: signatures that are a hash and the names they are good for -------------------------------

const sign = (bytes: Buffer, prefix = "") =>
  Buffer.from(`${createHash("sha256").update(bytes).digest("hex")} ${prefix}`);

function beginVerification(): SignatureCheck {
  const hash = createHash("sha256");
  return {
    update: (chunk) => void hash.update(chunk),
    async finish(signature, imageName) {
      const [digest, prefix = ""] = Buffer.from(signature).toString().split(" ");
      if (digest !== hash.digest("hex")) throw new RktError("signature-malformed", "the signature is of something else");
      if (!imageName.startsWith(prefix)) throw new RktError("signature-untrusted", `the key is not trusted for ${imageName}`);
      return { identities: ["CoreOS ACI Builder <release@coreos.com>"] };
    },
  };
}

interface AciOptions {
  labels?: NameValue[];
  dependencies?: object[];
  /** Of random bytes in it. */
  size?: number;
}

function makeAci(
  t: TestContext,
  name: string,
  { labels = [], dependencies = [], size = 1000 }: AciOptions = {},
): Buffer {
  const dir = mkdtempSync(join(tmpdir(), "rkt-aci-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const manifest = { acKind: "ImageManifest", acVersion: "0.8.11", name, labels, dependencies };
  writeFileSync(join(dir, "manifest"), JSON.stringify(manifest));
  mkdirSync(join(dir, "rootfs"));
  writeFileSync(join(dir, "rootfs/random"), randomBytes(size));
  return execFileSync("tar", ["-czf", "-", "-C", dir, "manifest", "rootfs"], { maxBuffer: 1 << 26 });
}

const imageId = (aci: Buffer) => `sha512-${createHash("sha512").update(gunzipSync(aci)).digest("hex")}`;

// --- a fetch and its surroundings -----------------------------------------------------------------------

interface Setup {
  store: Store;
  context: FetchContext;
  /** What was said, line by line. */
  said(): string[];
  fetch(image: string, change?: Partial<FetchContext>, signature?: string): Promise<StoredImage>;
}

function setup(t: TestContext, insecure: InsecureOption[] = []): Setup {
  const dir = mkdtempSync(join(tmpdir(), "rkt-store-"));
  const store = openStore(dir);
  t.after(() => {
    store.close();
    const { tmp } = dataLayout(dir);
    const left = existsSync(tmp) ? readdirSync(tmp) : [];
    rmSync(dir, { recursive: true });
    assert.deepEqual(left, [], "a temporary file was left behind");
  });
  let text = "";
  const stream = {
    write(more: string) {
      text += more;
    },
  };
  const http = openHttp({
    env: {},
    anyCertificate: insecure.includes("tls"),
    plainHttp: insecure.includes("http"),
    retry: { attempts: 3, firstPause: 1, longestPause: 2 },
  });
  t.after(() => http.close());
  const context: FetchContext = {
    store,
    http,
    insecure: new Set(insecure),
    pullPolicy: "update",
    reporter: openReporter({ stream }),
    registries: () => Promise.reject(new Error("no registry is asked")),
    verifyKeyPair() {
      throw new Error("no registry is asked");
    },
    beginVerification,
  };
  const said = () => {
    const lines = text.split("\n").slice(0, -1);
    text = "";
    return lines;
  };
  const request = (image: string, signature?: string): FetchRequest => ({
    image: parseImageReference(image),
    signature,
  });
  return {
    store,
    context,
    said,
    fetch: (image, change, signature) => fetchImage(request(image, signature), { ...context, ...change }),
  };
}

function empty(store: Store): void {
  for (const { key } of store.list()) store.remove(key);
}

/** A server of files by path; `undefined` and absent are 404, a number is a status. */
function site(t: TestContext, files: Record<string, FileAnswer | Buffer | number | undefined>) {
  return serve(t, (request, response) => {
    const file = files[(request.url ?? "").split("?")[0] ?? ""];
    if (file === undefined || typeof file === "number") response.writeHead(file ?? 404).end("<!doctype html>no");
    else answerFile(request, response, Buffer.isBuffer(file) ? { body: file } : file);
  });
}

const paths = (server: Awaited<ReturnType<typeof site>>) => server.seen.splice(0).map((s) => s.url);

// --- one URL ----------------------------------------------------------------------------------------------

test("a signed image by URL: the seed's words, the ID, and a record", async (t) => {
  const aci = makeAci(t, "coreos.com/etcd", { size: 1_000_000 });
  const server = await site(t, {
    "/etcd.aci": { body: aci, etag: '"1"', headers: { "cache-control": "max-age=60" } },
    "/etcd.aci.asc": sign(aci),
  });
  const { fetch, said, store } = setup(t);
  const url = `${server.base}/etcd.aci`;
  const image = await fetch(url);
  assert.equal(image.id, imageId(aci));
  assert.equal(image.name, "coreos.com/etcd");
  assert.deepEqual(said(), [
    `rkt: fetching image from ${url}`,
    "Downloading aci: 1.00 MB/1.00 MB",
    `Downloading signature from ${url}.asc`,
    "Downloading signature: 65 B/65 B",
    "rkt: signature verified:",
    "  CoreOS ACI Builder <release@coreos.com>",
  ]);
  const { downloadedAt, ...record } = store.remote(url) as RemoteRecord;
  assert.deepEqual(record, {
    url,
    key: image.key,
    signatureUrl: `${url}.asc`,
    etag: '"1"',
    lastModified: undefined,
    maxAge: 60,
  });
  assert.ok(Math.abs(Date.now() - downloadedAt) < 60_000);
});

test("the signature is looked for beside the image: .aci.asc, then the seed's .sig", async (t) => {
  const aci = makeAci(t, "a.b/c");
  const server = await site(t, {
    "/c.aci": aci,
    "/c.sig": sign(aci),
    "/d": aci,
    "/d.aci.asc": sign(aci),
    "/e.aci": aci,
  });
  const { fetch, store } = setup(t);
  await fetch(`${server.base}/c.aci?x=1`);
  assert.deepEqual(paths(server), ["/c.aci?x=1", "/c.aci.asc?x=1", "/c.sig?x=1"]);
  assert.equal(store.remote(`${server.base}/c.aci?x=1`)?.signatureUrl, `${server.base}/c.sig?x=1`);
  await fetch(`${server.base}/d`);
  await assert.rejects(fetch(`${server.base}/e.aci`), {
    code: "no-signature",
    message:
      `the image is not signed: get ${server.base}/e.aci.asc: 404 Not Found; ` +
      `get ${server.base}/e.sig: 404 Not Found`,
    hint: /--signature .* --insecure-options=image/,
  });
  assert.equal(store.list().length, 1);
});

test("a missing signature ends the download of a big image", async (t) => {
  const closed = Promise.withResolvers<void>();
  const server = await serve(t, (request, response) => {
    if (request.url !== "/x.aci") return void response.writeHead(404).end();
    response.writeHead(200, { "content-length": String(1 << 30) }).write(makeAci(t, "a.b/c"));
    response.on("close", closed.resolve);
  });
  const { fetch } = setup(t);
  await assert.rejects(fetch(`${server.base}/x.aci`), { code: "no-signature" });
  await closed.promise;
});

const forgeries: { name: string; signature: (aci: Buffer) => Buffer; code: string }[] = [
  { name: "of another file", signature: () => sign(Buffer.from("x")), code: "signature-malformed" },
  { name: "that is garbage", signature: () => randomBytes(500), code: "signature-malformed" },
  { name: "that is empty", signature: () => Buffer.alloc(0), code: "signature-malformed" },
  { name: "of the uncompressed image", signature: (aci) => sign(gunzipSync(aci)), code: "signature-malformed" },
  { name: "by a key of another prefix", signature: (aci) => sign(aci, "other.com"), code: "signature-untrusted" },
  { name: "that is a web page", signature: () => Buffer.from("<!DOCTYPE html><p>not here"), code: "no-signature" },
  { name: "that is endless", signature: () => Buffer.alloc(1 << 20, "x"), code: "too-big" },
];

for (const c of forgeries) {
  test(`a signature ${c.name}: nothing is indexed`, async (t) => {
    const aci = makeAci(t, "a.b/c");
    const server = await site(t, { "/x.aci": aci, "/x.aci.asc": c.signature(aci) });
    const { fetch, store } = setup(t);
    await assert.rejects(fetch(`${server.base}/x.aci`), { code: c.code });
    assert.equal(store.list().length, 0);
  });
}

test("a signature that the server defers (202) is fetched after the image, once", async (t) => {
  const aci = makeAci(t, "a.b/c");
  const order: string[] = [];
  let ready = 1;
  const server = await serve(t, (request, response) => {
    if (request.url === "/x.aci") {
      response.on("finish", () => order.push("image"));
      // Not through before the signature was asked for.
      response.flushHeaders();
      const finish = () => (order.length > 0 ? response.end(aci) : void setImmediate(finish));
      finish();
      return;
    }
    order.push("signature");
    if (ready-- > 0) response.writeHead(202).end();
    else response.end(sign(aci));
  });
  const { fetch, store } = setup(t);
  await fetch(`${server.base}/x.aci`);
  assert.deepEqual(order, ["signature", "image", "signature"]);
  empty(store);
  ready = 5;
  order.length = 0;
  await assert.rejects(fetch(`${server.base}/x.aci`), {
    code: "signature-deferred",
    message: `get ${server.base}/x.aci.asc, ${server.base}/x.sig: the signature is not ready, though the image is`,
  });
  assert.deepEqual(order, ["signature", "image", "signature"]);
});

test("--signature: the person's file, read before anything is fetched, and never with signatures off", async (t) => {
  const aci = makeAci(t, "a.b/c");
  const server = await site(t, { "/x.aci": aci, "/x.aci.asc": Buffer.from("garbage") });
  const dir = mkdtempSync(join(tmpdir(), "rkt-sig-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "x.asc");
  const { fetch, store, context } = setup(t);
  await assert.rejects(fetch(`${server.base}/x.aci`, {}, file), {
    code: "no-signature",
    message: `cannot read the signature: open ${file}: ENOENT`,
  });
  assert.deepEqual(paths(server), []);
  writeFileSync(file, sign(aci));
  await fetch(`${server.base}/x.aci`, {}, file);
  assert.deepEqual(paths(server), ["/x.aci"]);
  assert.equal(store.remote(`${server.base}/x.aci`)?.signatureUrl, pathToFileURL(file).href);
  // Another signature is another demand: the store's copy does not answer it.
  writeFileSync(file, "garbage");
  await assert.rejects(fetch(`${server.base}/x.aci`, { pullPolicy: "new" }, file), { code: "signature-malformed" });
  await assert.rejects(fetch(`${server.base}/x.aci`, { insecure: new Set(["image"]) }, file), { code: "usage" });
  assert.equal(context.insecure.size, 0);
});

const pages: [name: string, type: string, body: string][] = [
  ["HTML", "text/html; charset=utf-8", "\n <p>Please log in"],
  ["HTML of no type", "application/octet-stream", "<!DOCTYPE html><title>x"],
  ["a storage service's XML", "application/xml", '<?xml version="1.0"?><Error>'],
];

for (const [name, type, body] of pages) {
  test(`${name} instead of an image`, async (t) => {
    const server = await site(t, { "/x.aci": { body: Buffer.from(body), headers: { "content-type": type } } });
    const { fetch } = setup(t, ["image"]);
    await assert.rejects(fetch(`${server.base}/x.aci`), {
      code: "not-an-image",
      message: `cannot import ${server.base}/x.aci: it is an HTML or XML page, not an image`,
    });
  });
}

test("an image that is served as HTML is still an image", async (t) => {
  const aci = makeAci(t, "a.b/c");
  const server = await site(t, { "/x.aci": { body: aci, headers: { "content-type": "text/html" } } });
  assert.equal((await setup(t, ["image"]).fetch(`${server.base}/x.aci`)).id, imageId(aci));
});

for (const status of [401, 403, 404, 500]) {
  test(`status ${status} of the image`, async (t) => {
    const server = await site(t, { "/x.aci": status });
    const { fetch, store } = setup(t);
    await assert.rejects(fetch(`${server.base}/x.aci`), {
      code: "http-status",
      message: new RegExp(`/x.aci: ${status} `),
    });
    assert.equal(store.list().length, 0);
  });
}

for (const quarter of [1, 2, 3]) {
  for (const ranges of [true, false]) {
    test(`broken after ${quarter}/4, ranges ${ranges}: image and signature check see every byte once`, async (t) => {
      const aci = makeAci(t, "a.b/c", { size: 1 << 20 });
      const breaks = [Math.floor((aci.length * quarter) / 4)];
      const server = await site(t, { "/x.aci": { body: aci, etag: '"1"', ranges, breaks }, "/x.aci.asc": sign(aci) });
      const { fetch } = setup(t);
      assert.equal((await fetch(`${server.base}/x.aci`)).id, imageId(aci));
      // The signature is not asked for again.
      assert.deepEqual(paths(server).sort(), ["/x.aci", "/x.aci", "/x.aci.asc"]);
    });
  }
}

test("a damaged image, and one that the server resumes with other bytes", async (t) => {
  const aci = makeAci(t, "a.b/c", { size: 1 << 20 });
  const other = makeAci(t, "a.b/c", { size: 1 << 20 });
  const lying = await serve(t, (request, response) => {
    if (request.url !== "/x.aci") response.end(sign(aci));
    else if (request.headers.range === undefined)
      answerFile(request, response, { body: aci, etag: '"1"', breaks: [5000] });
    else
      answerFile(request, response, {
        body: Buffer.concat([aci.subarray(0, 5000), other]).subarray(0, aci.length),
        etag: '"1"',
      });
  });
  const { fetch, store } = setup(t);
  await assert.rejects(fetch(`${lying.base}/x.aci`), (error: RktError) => /^bad-/.test(error.code));
  const damaged = await site(t, { "/x.aci": aci.subarray(0, 1000), "/x.aci.asc": sign(aci.subarray(0, 1000)) });
  await assert.rejects(fetch(`${damaged.base}/x.aci`), { code: "bad-compression" });
  assert.equal(store.list().length, 0);
});

test("an abort at any moment leaves nothing", async (t) => {
  const aci = makeAci(t, "a.b/c");
  const reason = new Error("SIGINT");
  const moments = ["/x.aci", "body", "/x.aci.asc"];
  for (const moment of moments) {
    const controller = new AbortController();
    const server = await serve(t, (request, response) => {
      if (request.url === moment) return void controller.abort(reason);
      if (request.url === "/x.aci" && moment === "body") {
        response.writeHead(200, { "content-length": String(aci.length) }).write(aci.subarray(0, 100));
        setTimeout(() => controller.abort(reason), 10);
      } else {
        response.end(request.url === "/x.aci" ? aci : sign(aci));
      }
    });
    const { fetch, store } = setup(t);
    await assert.rejects(fetch(`${server.base}/x.aci`, { signal: controller.signal }), reason);
    assert.equal(store.list().length, 0, moment);
  }
});

test("warnings for what is off", async (t) => {
  const aci = makeAci(t, "a.b/c");
  const server = await site(t, { "/x.aci": aci });
  const { fetch, said, store } = setup(t, ["image", "tls"]);
  await fetch(`${server.base}/x.aci`);
  assert.deepEqual(said().slice(0, 2), [
    `rkt: fetching image from ${server.base}/x.aci`,
    "rkt: warning: the image's signature is not checked",
  ]);
  assert.deepEqual(paths(server), ["/x.aci"]);
  assert.equal(store.remote(`${server.base}/x.aci`)?.signatureUrl, undefined);
});

test("credentials in a URL reach neither the screen nor the record", async (t) => {
  const aci = makeAci(t, "a.b/c");
  const server = await site(t, { "/x.aci": aci, "/x.aci.asc": sign(aci) });
  const { fetch, said, store } = setup(t);
  await fetch(`${server.base.replace("//", "//me:sesame@")}/x.aci`);
  await assert.rejects(
    fetch(`${server.base.replace("//", "//me:sesame@")}/y.aci`),
    (e: RktError) => !/sesame/.test(e.message),
  );
  const text = [...said(), JSON.stringify(store.remote(`${server.base}/x.aci`))].join("\n");
  assert.doesNotMatch(text, /sesame/);
  assert.equal(server.seen[0]?.headers.authorization, `Basic ${Buffer.from("me:sesame").toString("base64")}`);
  assert.equal(server.seen[1]?.headers.authorization, `Basic ${Buffer.from("me:sesame").toString("base64")}`);
});

// --- the second time ------------------------------------------------------------------------------------

test("a second fetch: nothing within max-age, then one conditional request, and the record is renewed", async (t) => {
  const aci = makeAci(t, "a.b/c");
  const headers: Record<string, string> = { "cache-control": "max-age=60" };
  const server = await site(t, { "/x.aci": { body: aci, etag: '"1"', headers }, "/x.aci.asc": sign(aci) });
  const { fetch, store } = setup(t);
  const url = `${server.base}/x.aci`;
  const image = await fetch(url);
  assert.deepEqual(paths(server), ["/x.aci", "/x.aci.asc"]);

  assert.equal((await fetch(url)).key, image.key);
  assert.deepEqual(paths(server), []);

  const age = (seconds: number) => {
    const record = store.remote(url) as RemoteRecord;
    store.updateRemote({ ...record, downloadedAt: Date.now() - seconds * 1000 });
  };
  age(61);
  headers["cache-control"] = "max-age=600";
  assert.equal((await fetch(url)).key, image.key);
  assert.deepEqual(
    server.seen.splice(0).map((s) => [s.url, s.headers["if-none-match"]]),
    [["/x.aci", '"1"']],
  );
  assert.equal(store.remote(url)?.maxAge, 600);
  age(500);
  await fetch(url);
  assert.deepEqual(paths(server), []);
});

test("a server without ETags: asked whether the image was modified since", async (t) => {
  const [old, young] = [makeAci(t, "a.b/c"), makeAci(t, "a.b/c")];
  const [yesterday, today] = [86_400_000, 5000].map((age) => new Date(Date.now() - age).toUTCString());
  const files: Record<string, FileAnswer | Buffer> = {};
  const serveImage = (body: Buffer, lastModified: string | undefined) =>
    Object.assign(files, { "/x.aci": { body, lastModified }, "/x.aci.asc": sign(body) });
  const server = await site(t, files);
  const asked = () => server.seen.splice(0).map((s) => [s.url, s.headers["if-modified-since"]]);
  const { fetch } = setup(t);
  const url = `${server.base}/x.aci`;

  serveImage(old, yesterday);
  await fetch(url);
  asked();
  assert.equal((await fetch(url)).id, imageId(old));
  assert.deepEqual(asked(), [["/x.aci", yesterday]], "304: nothing but the question");

  serveImage(young, today);
  assert.equal((await fetch(url)).id, imageId(young));
  assert.deepEqual(asked(), [
    ["/x.aci", yesterday],
    ["/x.aci.asc", undefined],
  ]);
  assert.equal((await fetch(url)).id, imageId(young));
  assert.deepEqual(asked(), [["/x.aci", today]]);
});

test("a newer image replaces the record; the old one stays in the store", async (t) => {
  const [old, young] = [makeAci(t, "a.b/c"), makeAci(t, "a.b/c")];
  const files: Record<string, FileAnswer | Buffer> = { "/x.aci": { body: old, etag: '"1"' }, "/x.aci.asc": sign(old) };
  const server = await site(t, files);
  const { fetch, store } = setup(t);
  await fetch(`${server.base}/x.aci`);
  Object.assign(files, { "/x.aci": { body: young, etag: '"2"' }, "/x.aci.asc": sign(young) });
  assert.equal((await fetch(`${server.base}/x.aci`, { pullPolicy: "new" })).id, imageId(old));
  const image = await fetch(`${server.base}/x.aci`);
  assert.equal(image.id, imageId(young));
  assert.equal(store.remote(`${server.base}/x.aci`)?.key, image.key);
  assert.equal(store.list().length, 2);
});

test("an image that came unverified, or has left the store, is fetched whole", async (t) => {
  const aci = makeAci(t, "a.b/c");
  const answer = { body: aci, etag: '"1"', headers: { "cache-control": "max-age=3600" } };
  const server = await site(t, { "/x.aci": answer, "/x.aci.asc": sign(aci) });
  const { fetch, store } = setup(t);
  const url = `${server.base}/x.aci`;
  const insecure = { insecure: new Set<InsecureOption>(["image"]) };
  await fetch(url, insecure);
  assert.deepEqual(paths(server), ["/x.aci"]);
  await fetch(url, insecure);
  assert.deepEqual(paths(server), []);

  await assert.rejects(fetch(url, { pullPolicy: "never" }), {
    code: "no-such-image",
    message: `image ${url} is not in the store with a verified signature`,
  });
  await fetch(url, { pullPolicy: "new" });
  assert.deepEqual(server.seen[0]?.headers["if-none-match"], undefined);
  assert.deepEqual(paths(server), ["/x.aci", "/x.aci.asc"]);

  empty(store);
  await fetch(url);
  assert.deepEqual(server.seen[0]?.headers["if-none-match"], undefined);
  assert.deepEqual(paths(server), ["/x.aci", "/x.aci.asc"]);
});

test("--pull-policy=never asks nobody", async (t) => {
  const aci = makeAci(t, "a.b/c");
  const server = await site(t, { "/x.aci": aci, "/x.aci.asc": sign(aci) });
  const { fetch } = setup(t);
  for (const image of [`${server.base}/x.aci`, "127.0.0.1/c"]) {
    await assert.rejects(fetch(image, { pullPolicy: "never", discoveryPort: server.port }), {
      code: "no-such-image",
      message: `image ${image} is not in the store`,
    });
  }
  assert.deepEqual(paths(server), []);
});

// --- names --------------------------------------------------------------------------------------------------

/** A host that answers discovery (plain http) and serves images and signatures by `{name}-{version}`. */
function registry(t: TestContext, images: Record<string, Buffer>, template = "{name}-{version}.{ext}") {
  const server = serve(t, (request, response) => {
    const url = new URL(request.url ?? "", "http://x");
    if (url.search === "?ac-discovery=1") {
      const base = `http://${request.headers.host}`;
      response.end(`<meta name="ac-discovery" content="127.0.0.1 ${base}/${template}">`);
      return;
    }
    const aci = images[url.pathname.slice(1).replace(/(\.asc)$/, "")];
    if (aci === undefined) response.writeHead(404).end();
    else if (url.pathname.endsWith(".asc")) response.end(sign(aci, "127.0.0.1/"));
    else answerFile(request, response, { body: aci, etag: '"1"' });
  });
  return server;
}

test("an image by name: discovered, verified, and it must be the one asked for", async (t) => {
  const version = (value: string) => ({ labels: [{ name: "version", value }] });
  const good = makeAci(t, "127.0.0.1/good", version("1.0"));
  const server = await registry(t, {
    "127.0.0.1/good-1.0.aci": good,
    "127.0.0.1/good-latest.aci": good,
    "127.0.0.1/other-latest.aci": good,
    "127.0.0.1/good-2.0.aci": good,
    "127.0.0.1/good-3.0.aci": makeAci(t, "127.0.0.1/good"),
  });
  const { fetch, store, said } = setup(t, ["http"]);
  const local = { discoveryPort: server.port };
  assert.equal((await fetch("127.0.0.1/good:1.0", local)).id, imageId(good));
  const base = `http://127.0.0.1:${server.port}`;
  assert.deepEqual(said().slice(0, 2), [
    `rkt: warning: image discovery over plain http: ${base}/good?ac-discovery=1`,
    `rkt: fetching image from ${base}/127.0.0.1/good-1.0.aci`,
  ]);
  assert.equal((await fetch("127.0.0.1/good", local)).id, imageId(good));
  const wrong: [name: string, why: string][] = [
    ["127.0.0.1/other", "its manifest's name is 127.0.0.1/good"],
    ["127.0.0.1/good:2.0", `its manifest's label version is "1.0"`],
    ["127.0.0.1/good:3.0", "its manifest has no label version"],
  ];
  for (const [name, why] of wrong) {
    const url = `${base}/${name.replace(":", "-")}${name.includes(":") ? "" : "-latest"}.aci`;
    await assert.rejects(fetch(name, local), {
      code: "wrong-image",
      message: `the image at ${url} is not the one asked for: ${why}`,
    });
  }
  assert.equal(store.list().length, 1);
});

test("a name that is in the store: not asked for again with new, revalidated with update", async (t) => {
  const aci = makeAci(t, "127.0.0.1/c");
  const server = await registry(t, { "127.0.0.1/c-latest.aci": aci });
  const { fetch } = setup(t, ["http"]);
  const local = { discoveryPort: server.port };
  const image = await fetch("127.0.0.1/c", local);
  paths(server);
  assert.equal((await fetch("127.0.0.1/c", { ...local, pullPolicy: "new" })).key, image.key);
  assert.deepEqual(paths(server), []);
  assert.equal((await fetch("127.0.0.1/c", local)).key, image.key);
  assert.deepEqual(paths(server), ["/c?ac-discovery=1", "/127.0.0.1/c-latest.aci"]);
});

test("of what only a signed image may be, signatures count even when they are turned off: by name, and what it depends on", async (t) => {
  const unsigned = makeAci(t, "127.0.0.1/init");
  const dependent = makeAci(t, "a.b/dependent", { dependencies: [{ imageName: "127.0.0.1/init" }] });
  const server = await serve(t, (request, response) => {
    const base = `http://${request.headers.host}`;
    if (request.url === "/dependent.aci") answerFile(request, response, { body: dependent });
    else if (request.url === "/127.0.0.1/init-latest.aci") answerFile(request, response, { body: unsigned });
    else if (request.url?.endsWith("?ac-discovery=1") === true)
      response.end(`<meta name="ac-discovery" content="127.0.0.1 ${base}/{name}-{version}.{ext}">`);
    else response.writeHead(404).end();
  });
  const { fetch, store } = setup(t, ["http", "image"]);
  const strict = { discoveryPort: server.port, least: "verified" } as const;
  const notSigned = { message: /init-latest\.aci: the image is not signed: / };
  for (const pullPolicy of ["new", "update"] as const) {
    await assert.rejects(fetch("127.0.0.1/init", { ...strict, pullPolicy }), notSigned);
    await assert.rejects(fetch(`${server.base}/dependent.aci`, { ...strict, pullPolicy }), notSigned);
  }
  assert.deepEqual(
    store.list().filter(({ name }) => name.endsWith("init")),
    [],
  );
  // Of an app it is as asked for.
  const loose = await fetch("127.0.0.1/init", { discoveryPort: server.port });
  assert.equal(loose.provenance, "none");
  await assert.rejects(fetch("127.0.0.1/init", { ...strict, pullPolicy: "new" }), notSigned);
});

test("a name that cannot be found: everything that was tried", async (t) => {
  const server = await registry(t, {});
  const { fetch } = setup(t, ["http"]);
  await assert.rejects(fetch("127.0.0.1/c:1", { discoveryPort: server.port }), (error: RktError) => {
    assert.equal(error.code, "image-not-found");
    assert.match(
      error.message,
      /^image 127\.0\.0\.1\/c:1 cannot be found: https:.*TLS.*; http:.*\/c-1\.aci: 404 Not Found$/,
    );
    return true;
  });
});

test("the newest image of a name in the store is taken; one for another machine is not", async (t) => {
  const { fetch, store } = setup(t, ["image"]);
  const dir = mkdtempSync(join(tmpdir(), "rkt-images-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const foreign = [
    { name: "os", value: "linux" },
    { name: "arch", value: "s390x" },
  ];
  const images = [makeAci(t, "a.b/c"), makeAci(t, "a.b/c"), makeAci(t, "a.b/c", { labels: foreign })];
  for (const [i, aci] of images.entries()) {
    writeFileSync(join(dir, `${i}.aci`), aci);
    const now = Date.now();
    while (Date.now() === now);
    await fetch(join(dir, `${i}.aci`));
  }
  assert.equal(store.list().length, 3);
  assert.equal((await fetch("a.b/c", { pullPolicy: "never" })).id, imageId(images[1] as Buffer));
  assert.equal((await fetch("a.b/c,os=linux,arch=s390x", { pullPolicy: "never" })).id, imageId(images[2] as Buffer));
});

// --- hashes and files ---------------------------------------------------------------------------------------

test("a hash is looked up and never fetched", async (t) => {
  await assert.rejects(setup(t).fetch("sha512-00"), { code: "no-such-image" });
});

test("a local file: verified when it has a signature beside it, taken as it is when not", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "rkt-local-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "x.aci");
  const aci = makeAci(t, "a.b/c", { size: 1 << 20 });
  writeFileSync(file, aci);
  const { fetch, said, store } = setup(t);
  assert.equal((await fetch(file)).id, imageId(aci));
  assert.deepEqual(said(), []);

  for (const signature of ["x.aci.asc", "x.sig"]) {
    const path = join(dir, signature);
    empty(store);
    writeFileSync(path, "garbage");
    await assert.rejects(fetch(file), { code: "signature-malformed" });
    assert.equal(store.list().length, 0);
    writeFileSync(path, sign(aci));
    assert.equal((await fetch(pathToFileURL(file).href)).id, imageId(aci));
    assert.deepEqual(said(), ["rkt: signature verified:", "  CoreOS ACI Builder <release@coreos.com>"]);
    // Known by now; but not when either file changes.
    await fetch(file);
    assert.deepEqual(said(), []);
    utimesSync(file, 1, 1);
    await fetch(file);
    assert.equal(said().length, 2);
    writeFileSync(path, sign(aci, "other.com"));
    await assert.rejects(fetch(file), { code: "signature-untrusted" });
    await fetch(file, { insecure: new Set(["image"]) });
    rmSync(path);
  }

  const elsewhere = join(dir, "signature");
  writeFileSync(elsewhere, sign(aci));
  assert.equal((await fetch(file, {}, elsewhere)).id, imageId(aci));
  await assert.rejects(fetch(join(dir, "none.aci"), {}, elsewhere), { code: "no-such-file" });
  await assert.rejects(fetch(dir, {}, elsewhere), { message: `image ${dir} is no regular file` });
});

// --- several -------------------------------------------------------------------------------------------------

test("several images at once, in the order asked for, at most four downloads at a time", async (t) => {
  const images = new Map<string, Buffer>();
  for (let i = 0; i < 9; i++) images.set(`/${i}.aci`, makeAci(t, `a.b/c${i}`));
  let running = 0;
  let most = 0;
  const { promise: four, resolve } = Promise.withResolvers<void>();
  const server = await serve(t, async (request, response) => {
    most = Math.max(most, ++running);
    if (running === 4) resolve();
    // Nothing is answered before four have asked, and then late enough for a fifth to ask if it would.
    await four;
    await sleep(20);
    running--;
    response.end(images.get(request.url ?? ""));
  });
  const { context } = setup(t, ["image"]);
  const requests = [...images.keys()].map((path) => ({ image: parseImageReference(server.base + path) }));
  const got = await fetchImages(requests, context);
  assert.deepEqual(
    got.map((image) => image.name),
    Array.from({ length: 9 }, (_, i) => `a.b/c${i}`),
  );
  assert.equal(most, 4);
});

test("the first failure ends the other downloads", async (t) => {
  const server = await serve(t, (request, response) => {
    if (request.url === "/bad.aci") response.writeHead(404).end();
    else response.writeHead(200, { "content-length": "1000" }).write("x");
  });
  const { context, store } = setup(t, ["image"]);
  const requests = ["slow", "bad", "slow2"].map((name) => ({
    image: parseImageReference(`${server.base}/${name}.aci`),
  }));
  await assert.rejects(fetchImages(requests, context), { message: `get ${server.base}/bad.aci: 404 Not Found` });
  assert.equal(store.list().length, 0);
});

test("two fetches of one URL at once both succeed", async (t) => {
  const aci = makeAci(t, "a.b/c", { size: 1 << 20 });
  const server = await site(t, { "/x.aci": { body: aci, etag: '"1"' }, "/x.aci.asc": sign(aci) });
  const { fetch } = setup(t);
  const images = await Promise.all([fetch(`${server.base}/x.aci`), fetch(`${server.base}/x.aci`)]);
  assert.deepEqual(
    images.map((image) => image.id),
    [imageId(aci), imageId(aci)],
  );
});

// --- dependencies -------------------------------------------------------------------------------------------

test("dependencies are fetched with their own, each once", async (t) => {
  const base = makeAci(t, "127.0.0.1/base");
  const depends = (...names: string[]) => ({
    dependencies: names.map((imageName) => ({ imageName: `127.0.0.1/${imageName}` })),
  });
  const server = await registry(t, {
    "127.0.0.1/app-latest.aci": makeAci(t, "127.0.0.1/app", depends("left", "right")),
    "127.0.0.1/left-latest.aci": makeAci(t, "127.0.0.1/left", depends("base")),
    "127.0.0.1/right-latest.aci": makeAci(t, "127.0.0.1/right", {
      dependencies: [{ imageName: "127.0.0.1/base", imageID: imageId(base), size: base.length }],
    }),
    "127.0.0.1/base-latest.aci": base,
  });
  const { fetch, store } = setup(t, ["http"]);
  const image = await fetch("127.0.0.1/app", { discoveryPort: server.port, pullPolicy: "new" });
  assert.equal(image.name, "127.0.0.1/app");
  assert.deepEqual(
    store.list().map((i) => i.name),
    ["127.0.0.1/app", "127.0.0.1/base", "127.0.0.1/left", "127.0.0.1/right"],
  );
  assert.deepEqual(paths(server).filter((path) => path.endsWith("base-latest.aci")).length, 1);
});

const badDependencies: { name: string; dependency: object; code: string; message: RegExp }[] = [
  {
    name: "that is not there",
    dependency: { imageName: "127.0.0.1/none" },
    code: "image-not-found",
    message: /^dependency of image 127\.0\.0\.1\/app: image 127\.0\.0\.1\/none cannot be found: /,
  },
  {
    name: "of another ID",
    dependency: { imageName: "127.0.0.1/base", imageID: `sha512-${"0".repeat(128)}` },
    code: "wrong-image",
    message: /: its ID is sha512-/,
  },
  {
    name: "of another label",
    dependency: { imageName: "127.0.0.1/base", labels: [{ name: "os", value: "freebsd" }] },
    code: "wrong-image",
    message: /its manifest has no label os$/,
  },
  {
    name: "of another size",
    dependency: { imageName: "127.0.0.1/base", size: 7 },
    code: "image-not-found",
    message: /bytes, and the image that asks for it says 7$/,
  },
  {
    name: "on itself",
    dependency: { imageName: "127.0.0.1/app" },
    code: "dependency-cycle",
    message: /^image 127\.0\.0\.1\/app depends on itself: 127\.0\.0\.1\/app → 127\.0\.0\.1\/app$/,
  },
  {
    name: "on what depends on it",
    dependency: { imageName: "127.0.0.1/back" },
    code: "dependency-cycle",
    message: /: 127\.0\.0\.1\/app → 127\.0\.0\.1\/back → 127\.0\.0\.1\/app$/,
  },
];

for (const c of badDependencies) {
  test(`a dependency ${c.name}`, async (t) => {
    const server = await registry(t, {
      "127.0.0.1/app-latest.aci": makeAci(t, "127.0.0.1/app", { dependencies: [c.dependency] }),
      "127.0.0.1/back-latest.aci": makeAci(t, "127.0.0.1/back", { dependencies: [{ imageName: "127.0.0.1/app" }] }),
      "127.0.0.1/base-latest.aci": makeAci(t, "127.0.0.1/base"),
    });
    const { fetch } = setup(t, ["http"]);
    await assert.rejects(fetch("127.0.0.1/app", { discoveryPort: server.port }), { code: c.code, message: c.message });
  });
}
