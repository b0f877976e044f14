/** A registry's protocol, against servers of our own: what goes where, and what is said when it goes wrong. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { makeCa, type Seen, serve, type TestServer } from "../../test/helpers/http-server.ts";
import type { InsecureOption } from "../config/insecure-options.ts";
import type { RegistryLogin } from "../config/registry-login.ts";
import { MEDIA_TYPES } from "../oci/index.ts";
import { parseRegistryReference } from "../oci/reference.ts";
import { openHttp } from "./http.ts";
import { openRegistry } from "./registry.ts";
import type { RegistryEndpoint } from "./registry-access.ts";

const digestOf = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const descriptorOf = (bytes: Uint8Array, mediaType: string = MEDIA_TYPES.ociManifest) => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});

const MANIFEST = Buffer.from(JSON.stringify({ schemaVersion: 2, config: {}, layers: [] }));
const LAYER = Buffer.from("a layer's bytes ".repeat(5000));

type Handler = (request: IncomingMessage, response: ServerResponse) => boolean;

/** A registry with one image `app`, which the handler may answer for first. */
async function registryServer(t: TestContext, first: Handler = () => false, options = {}): Promise<TestServer> {
  return await serve(
    t,
    (request, response) => {
      if (first(request, response) === true) return;
      const url = request.url ?? "";
      const error = (status: number, code: string, message: string) =>
        void response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify({ errors: [{ code, message }] }));
      const type = { "content-type": MEDIA_TYPES.ociManifest, "docker-content-digest": digestOf(MANIFEST) };
      if (["/v2/app/manifests/1", `/v2/app/manifests/${digestOf(MANIFEST)}`].includes(url))
        response.writeHead(200, { ...type, "content-length": MANIFEST.length }).end(request.method === "HEAD" ? "" : MANIFEST);
      else if (url === `/v2/app/blobs/${digestOf(LAYER)}`) response.writeHead(200).end(LAYER);
      else if (url.startsWith("/v2/app/tags/list"))
        response.writeHead(200).end(JSON.stringify({ name: "app", tags: ["1", "1.24", "1.25", "latest", "x\u001b"] }));
      else if (url.startsWith("/v2/app/")) error(404, "MANIFEST_UNKNOWN", "manifest unknown");
      else error(404, "NAME_UNKNOWN", "repository name not known to registry");
    },
    options,
  );
}

interface Opening {
  insecure?: InsecureOption[];
  login?: (host: string) => RegistryLogin | undefined;
  mirrors?: TestServer[];
  insecureEndpoint?: boolean;
  tag?: string;
  repository?: string;
}

function open(t: TestContext, server: { port: number }, opening: Opening = {}) {
  const { insecure = ["http"], login, mirrors = [], insecureEndpoint = false, tag = "1", repository = "app" } = opening;
  const options = new Set(insecure);
  const http = openHttp({
    env: {},
    anyCertificate: options.has("tls"),
    plainHttp: options.has("http"),
    retry: { attempts: 3, firstPause: 1, longestPause: 2 },
  });
  t.after(() => http.close());
  const at = (port: number, mirror: boolean): RegistryEndpoint => ({
    host: `127.0.0.1:${port}`,
    repository,
    insecure: insecureEndpoint,
    mirror,
  });
  const said: string[] = [];
  const registry = openRegistry(parseRegistryReference(`docker://127.0.0.1:${server.port}/${repository}:${tag}`), {
    http,
    insecure: options,
    reporter: { line: (text) => void said.push(text), transfer: () => ({ begin() {}, advance() {}, end() {} }) },
    access: {
      endpoints: () => [...mirrors.map(({ port }) => at(port, true)), at(server.port, false)],
      lookaside: () => new URL("file:///none"),
      credentials: async (host) => login?.(host),
    },
  });
  return Object.assign(registry, { said });
}

async function layerBytes(registry: ReturnType<typeof open>, layer: Buffer = LAYER): Promise<Buffer> {
  let parts: Buffer[] = [];
  const sink = {
    async begin() {
      parts = [];
    },
    async write(chunk: Uint8Array) {
      parts.push(Buffer.from(chunk));
    },
  };
  await registry.layer(descriptorOf(layer), sink, undefined);
  return Buffer.concat(parts);
}

const paths = (seen: readonly Seen[]) => seen.map(({ method, url }) => `${method} ${url}`);

test("a tag, a digest, a layer; a second look at a tag is one request", async (t) => {
  const server = await registryServer(t);
  const registry = open(t, server);
  const found = await registry.document("1");
  assert.deepEqual(found, { descriptor: descriptorOf(MANIFEST), bytes: MANIFEST });
  assert.deepEqual(await registry.document(digestOf(MANIFEST)), found);
  assert.deepEqual(Buffer.from(await registry.read(descriptorOf(MANIFEST))), MANIFEST);
  assert.ok((await layerBytes(registry)).equals(LAYER));
  // The first answer was to https, which nobody speaks there.
  server.seen.length = 0;
  assert.equal(await registry.document("1", digestOf(MANIFEST)), "unchanged");
  assert.deepEqual(paths(server.seen), ["HEAD /v2/app/manifests/1"]);
  assert.notEqual(await registry.document("1", `sha256:${"0".repeat(64)}`), "unchanged");
});

test("plain http is asked only where it is allowed", async (t) => {
  const server = await registryServer(t);
  await assert.rejects(open(t, server, { insecure: [] }).document("1"), { code: /tls-failure|unreachable|not-http/ });
  assert.deepEqual(server.seen, []);
  assert.ok(await open(t, server, { insecure: [], insecureEndpoint: true }).document("1"));
});

// --- tokens ---------------------------------------------------------------------------------

interface Realm {
  server: TestServer;
  /** Makes a registry ask for this realm's tokens. */
  challenge: Handler;
}

/** A token server that gives tokens for exactly what is asked for, to the password it knows or to all. */
async function realmServer(t: TestContext, password?: string, options = {}): Promise<Realm> {
  const tokens = new Set<string>();
  const server = await serve(
    t,
    (request, response) => {
      const url = new URL(request.url ?? "", "http://x");
      const basic = password === undefined ? undefined : `Basic ${Buffer.from(`me:${password}`).toString("base64")}`;
      if (request.method === "POST") {
        let body = "";
        request.on("data", (chunk) => {
          body += chunk;
        });
        request.on("end", () => {
          const form = new URLSearchParams(body);
          const right =
            form.get("grant_type") === "refresh_token" &&
            form.get("refresh_token") === password &&
            form.get("scope") === "repository:app:pull" &&
            form.get("service") === "the registry";
          tokens.add("refreshed");
          response.writeHead(right ? 200 : 401).end(JSON.stringify({ access_token: "refreshed" }));
        });
        return;
      }
      const asked = url.searchParams.get("service") === "the registry" && url.searchParams.get("scope") === "repository:app:pull";
      if (!asked) return void response.writeHead(400).end();
      if (basic !== undefined && request.headers.authorization !== basic) return void response.writeHead(401).end();
      const token = `token-${tokens.size}`;
      tokens.add(token);
      response.writeHead(200).end(JSON.stringify({ token, expires_in: 60 }));
    },
    options,
  );
  return {
    server,
    challenge(request, response) {
      if (tokens.has((request.headers.authorization ?? "").replace("Bearer ", ""))) return false;
      const challenge = `Bearer realm="${server.base}/token?x=1",service="the registry",scope="repository:app:pull"`;
      response.writeHead(401, { "www-authenticate": challenge }).end(JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "authentication required" }] }));
      return true;
    },
  };
}

test("a token for everybody, asked for once", async (t) => {
  const realm = await realmServer(t);
  const server = await registryServer(t, realm.challenge);
  const registry = open(t, server);
  await registry.document("1");
  await Promise.all([layerBytes(registry), layerBytes(registry), layerBytes(registry)]);
  assert.deepEqual(paths(realm.server.seen), ["GET /token?x=1&service=the+registry&scope=repository%3Aapp%3Apull"]);
  assert.equal(realm.server.seen[0]?.headers.authorization, undefined);
});

test("a token that has ended is asked for again", async (t) => {
  const realm = await realmServer(t);
  let refused = 0;
  const server = await registryServer(t, (request, response) => {
    if (request.headers.authorization === "Bearer token-0" && request.url?.includes("/blobs/")) {
      refused++;
      return realm.challenge({ headers: {} } as IncomingMessage, response);
    }
    return realm.challenge(request, response);
  });
  const registry = open(t, server);
  await registry.document("1");
  assert.ok((await layerBytes(registry)).equals(LAYER));
  assert.equal(refused, 1);
  assert.equal(realm.server.seen.length, 2);
});

test("a password goes to the realm by https, and to the registry only as a token", async (t) => {
  const ca = makeCa(t);
  const realm = await realmServer(t, "secret", { tls: ca });
  const server = await registryServer(t, realm.challenge, { tls: ca });
  const login = () => ({ user: "me", password: "secret", origin: "/auth.json" });
  assert.ok(await open(t, server, { insecure: ["tls"], login }).document("1"));
  assert.ok(server.seen.every(({ headers }) => !headers.authorization?.startsWith("Basic")));

  await assert.rejects(open(t, server, { insecure: ["tls"], login: () => ({ ...login(), password: "wrong" }) }).document("1"), {
    code: "wrong-credentials",
    message: /does not take the password of user "me" \(401\)/,
    hint: /from \/auth\.json/,
  });
  const identity = () => ({ identityToken: "secret", origin: "/auth.json" });
  assert.ok(await open(t, server, { insecure: ["tls"], login: identity }).document("1"));
  await assert.rejects(open(t, server, { insecure: ["tls"] }).document("1"), {
    code: "registry-denied",
    message: /has no 127\.0\.0\.1:\d+\/app, or it is not for everybody \(401\)/,
    hint: /podman login/,
  });
});

test("a realm by http gets nothing, not even a question", async (t) => {
  const ca = makeCa(t);
  const realm = await realmServer(t, "secret");
  const server = await registryServer(t, realm.challenge, { tls: ca });
  const login = () => ({ user: "me", password: "secret", origin: "/auth.json" });
  await assert.rejects(open(t, server, { insecure: ["tls"], login }).document("1"), {
    code: "bad-realm",
    message: /by http, where anybody may listen/,
  });
  assert.deepEqual(realm.server.seen, []);
});

test("a password goes to no other host by http, also where http is allowed", async (t) => {
  const realm = await realmServer(t, "secret");
  const { port } = realm.server;
  const server = await registryServer(t, (_, response) => {
    const challenge = `Bearer realm="http://localhost:${port}/token",service="the registry",scope="repository:app:pull"`;
    response.writeHead(401, { "www-authenticate": challenge }).end();
    return true;
  });
  const logins = [{ user: "me", password: "secret" }, { identityToken: "secret" }];
  for (const login of logins)
    await assert.rejects(open(t, server, { login: () => ({ ...login, origin: "/auth.json" }) as RegistryLogin }).document("1"), {
      code: "registry-denied",
      message: /localhost:\d+ gives none to strangers \(401\)/,
      hint: /\/auth\.json was not told to localhost:\d+, which is reached by http and is another host/,
    });
  assert.ok(realm.server.seen.length >= logins.length);
  for (const { method, headers } of realm.server.seen) assert.deepEqual([method, headers.authorization], ["GET", undefined]);
});

test("a registry that speaks https gets no password by http at its own host", async (t) => {
  const ca = makeCa(t);
  const realm = await realmServer(t, "secret");
  const server = await registryServer(t, realm.challenge, { tls: ca });
  const login = () => ({ user: "me", password: "secret", origin: "/auth.json" });
  await assert.rejects(open(t, server, { insecure: ["http", "tls"], login }).document("1"), { code: "registry-denied" });
  assert.ok(realm.server.seen.length > 0);
  assert.ok(realm.server.seen.every(({ headers }) => headers.authorization === undefined));
});

test("of a registry that neither https nor http reaches, both failures are told", async (t) => {
  const server = await registryServer(t, (_, response) => {
    response.socket?.end("no HTTP at all\r\n\r\n");
    return true;
  });
  await assert.rejects(open(t, server).document("1"), {
    code: "tls-failure",
    message: /: TLS: .*; and by http: the answer is not HTTP$/,
    hint: /^is the port right\?/,
  });
  const closed = await registryServer(t);
  closed.server.close();
  await once(closed.server, "close");
  await assert.rejects(open(t, closed).document("1"), { code: "unreachable", message: /: connection refused$/ });
});

for (const [name, realm] of [
  ["a file", "file:///etc/shadow"],
  ["no URL", "//"],
  ["nothing", ""],
  ["another scheme", "gopher://127.0.0.1/x"],
  ["a long one", `https://example.com/${"a".repeat(3000)}`],
] as const)
  test(`a realm that is ${name}`, async (t) => {
    const server = await registryServer(t, (_, response) => {
      response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}"` }).end();
      return true;
    });
    await assert.rejects(open(t, server).document("1"), { code: "bad-realm" });
  });

test("a token that is none", async (t) => {
  for (const answer of ["", "[]", "{}", '{"token":1}', '{"token":"a\\nb"}', '{"token":""}', "<html>"]) {
    const server = await registryServer(t, (request, response) => {
      if (request.url?.startsWith("/token")) response.writeHead(200).end(answer);
      else response.writeHead(401, { "www-authenticate": `Bearer realm="http://${request.headers.host}/token"` }).end();
      return true;
    });
    await assert.rejects(open(t, server).document("1"), { code: "bad-realm" });
  }
});

// --- passwords --------------------------------------------------------------------------------

const basicChallenge: Handler = (request, response) => {
  const right = `Basic ${Buffer.from("me:secret").toString("base64")}`;
  if (request.headers.authorization === right) return false;
  response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
  return true;
};

test("basic authentication: right, wrong, none", async (t) => {
  const server = await registryServer(t, basicChallenge);
  const login = (password: string) => () => ({ user: "me", password, origin: "/home/config.json" });
  assert.ok(await open(t, server, { login: login("secret") }).document("1"));
  await assert.rejects(open(t, server, { login: login("wrong") }).document("1"), {
    code: "wrong-credentials",
    hint: /\/home\/config\.json/,
  });
  await assert.rejects(open(t, server).document("1"), { code: "registry-denied", message: /401/ });
  // It is not sent before it is asked for.
  assert.equal(server.seen[0]?.headers.authorization, undefined);
});

test("403 is another thing than 401, and the registry's words are bounded", async (t) => {
  const server = await registryServer(t, (_, response) => {
    response.writeHead(403).end(JSON.stringify({ errors: [{ code: "DENIED", message: `no ${"x".repeat(5000)}` }] }));
    return true;
  });
  await assert.rejects(open(t, server).document("1"), (error: Error & { code: string }) => {
    assert.equal(error.code, "registry-denied");
    assert.match(error.message, /forbids strangers to read .* \(403\): it says "no x+/);
    assert.ok(error.message.length < 500);
    return true;
  });
});

// --- where credentials do not go ------------------------------------------------------------------

test("a layer at another host is fetched without credentials", async (t) => {
  const elsewhere = await serve(t, (_, response) => void response.writeHead(200).end(LAYER));
  const server = await registryServer(t, (request, response) => {
    if (basicChallenge(request, response) === true) return true;
    if (request.url?.includes("/blobs/") !== true) return false;
    response.writeHead(307, { location: `${elsewhere.base}/signed?key=1` }).end();
    return true;
  });
  const registry = open(t, server, { login: () => ({ user: "me", password: "secret", origin: "x" }) });
  assert.ok((await layerBytes(registry)).equals(LAYER));
  assert.equal(elsewhere.seen.length, 1);
  assert.equal(elsewhere.seen[0]?.headers.authorization, undefined);
});

test("another host's 401 is no challenge: it gets no token and no password", async (t) => {
  const elsewhere = await serve(t, (_, response) => void response.writeHead(401, { "www-authenticate": "Basic realm=x" }).end());
  const server = await registryServer(t, (request, response) => {
    if (request.url?.includes("/blobs/") !== true) return false;
    response.writeHead(307, { location: `${elsewhere.base}/x` }).end();
    return true;
  });
  const registry = open(t, server, { login: () => ({ user: "me", password: "secret", origin: "x" }) });
  await assert.rejects(layerBytes(registry), { code: "http-status", status: 401 });
  assert.ok(elsewhere.seen.every(({ headers }) => headers.authorization === undefined));
});

test("a mirror gets its own credentials, and the registry is asked when it fails", async (t) => {
  const mirror = await registryServer(t, (_, response) => {
    response.writeHead(500).end();
    return true;
  });
  const denying = await registryServer(t, basicChallenge);
  const server = await registryServer(t, basicChallenge);
  const registry = open(t, server, {
    mirrors: [mirror, denying],
    login: (host) => (host.endsWith(`:${server.port}`) ? { user: "me", password: "secret", origin: "x" } : undefined),
  });
  assert.ok(await registry.document("1"));
  const { said } = registry;
  assert.equal(said.length, 2);
  assert.match(said[0] ?? "", /^rkt: mirror 127\.0\.0\.1:\d+: .*500/);
  assert.ok([...mirror.seen, ...denying.seen].every(({ headers }) => headers.authorization === undefined));
  const asked = mirror.seen.length;
  await layerBytes(registry);
  assert.equal(mirror.seen.length, asked, "what did not have the image is not asked for its layers");
});

// --- what goes wrong --------------------------------------------------------------------------------

test("a missing tag lists near ones; a missing repository and digest say so", async (t) => {
  const server = await registryServer(t);
  await assert.rejects(open(t, server, { tag: "1.2" }).document("1.2"), {
    code: "no-such-tag",
    message: /\/app has no tag 1\.2$/,
    hint: "it has 1.24, 1.25, 1, latest",
  });
  await assert.rejects(open(t, server, { repository: "none" }).document("1"), {
    code: "no-such-tag",
    message: /has no repository none$/,
  });
  const digest = `sha256:${"0".repeat(64)}`;
  await assert.rejects(open(t, server).document(digest), { code: "no-such-tag" });
  await assert.rejects(layerBytes(open(t, server), Buffer.from("another")), { code: "blob-missing" });
});

test("a list of tags without an end is left", async (t) => {
  const server = await registryServer(t, (request, response) => {
    if (request.url?.includes("/tags/") !== true) return false;
    const page = Number(new URL(request.url, "http://x").searchParams.get("last") ?? "0") + 1;
    response.writeHead(200, { link: `</v2/app/tags/list?n=1000&last=${page}>; rel="next"` });
    response.end(JSON.stringify({ tags: [`t${page}`] }));
    return true;
  });
  await assert.rejects(open(t, server).document("t"), { code: "no-such-tag", hint: "it has t1, t2, t3" });
});

test("429 is waited for, and told of when it takes too long", async (t) => {
  let limits = 1;
  const server = await registryServer(t, (_, response) => {
    if (limits-- <= 0) return false;
    response.writeHead(429, { "retry-after": "0" }).end();
    return true;
  });
  assert.ok(await open(t, server).document("1"));
  const limited = await registryServer(t, (_, response) => {
    response.writeHead(429, { "retry-after": "7200" });
    response.end(JSON.stringify({ errors: [{ code: "TOOMANYREQUESTS", message: "You have reached your pull rate limit" }] }));
    return true;
  });
  await assert.rejects(open(t, limited).document("1"), {
    code: "rate-limited",
    message: /takes no more requests for now \(429\): it says "You have reached your pull rate limit"/,
    hint: /^try again in 2h00m/,
  });
});

test("a layer that breaks is resumed from where it broke, without a validator", async (t) => {
  let broken = false;
  const server = await registryServer(t, (request, response) => {
    if (request.url?.includes("/blobs/") !== true) return false;
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (!broken) {
      broken = true;
      response.writeHead(200, { "content-length": LAYER.length });
      response.write(LAYER.subarray(0, 40_000), () => setTimeout(() => response.destroy(), 100));
    } else
      response.writeHead(206, { "content-range": `bytes ${from}-${LAYER.length - 1}/${LAYER.length}` }).end(LAYER.subarray(from));
    return true;
  });
  assert.ok((await layerBytes(open(t, server))).equals(LAYER));
  const ranges = server.seen.map(({ headers }) => headers.range).filter((range) => range !== undefined);
  assert.equal(ranges.length, 1);
  assert.match(ranges[0] ?? "", /^bytes=[1-9]\d*-$/);
});

for (const [name, body] of [
  ["longer", Buffer.concat([LAYER, Buffer.from("x")])],
  ["shorter", LAYER.subarray(1)],
] as const)
  for (const announced of [true, false])
    test(`a layer that is ${name} than its descriptor says${announced ? "" : ", by chunks"}`, async (t) => {
      const server = await registryServer(t, (request, response) => {
        if (request.url?.includes("/blobs/") !== true) return false;
        response.writeHead(200, announced ? { "content-length": body.length } : {}).end(body);
        return true;
      });
      await assert.rejects(layerBytes(open(t, server)), { code: "wrong-size" });
    });

test("documents with other bytes than their digests say", async (t) => {
  const other = Buffer.from(MANIFEST.toString().replace("layers", "lawyers"));
  const server = await registryServer(t, (request, response) => {
    if (request.url?.includes("sha256:") !== true) return false;
    response.writeHead(200, { "content-type": MEDIA_TYPES.ociManifest, "docker-content-digest": digestOf(MANIFEST) });
    response.end(other);
    return true;
  });
  const registry = open(t, server);
  await assert.rejects(registry.document(digestOf(MANIFEST)), { code: "wrong-digest" });
  await assert.rejects(registry.read(descriptorOf(MANIFEST)), { code: /wrong-digest|too-big/ });
  await assert.rejects(registry.blob(descriptorOf(other), 10), { code: "too-big" });
});
