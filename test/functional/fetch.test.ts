/** Images over HTTP, signed by gpg, to an app that runs. */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { join } from "node:path";
import { pipeline, Readable } from "node:stream";
import { describe, test, type TestContext } from "node:test";
import { gunzipSync } from "node:zlib";
import { gzipped, makeAci, manifest } from "../fixtures/aci.ts";
import { makeGpg } from "../fixtures/gpg.ts";
import { answerFile, makeCa, serve, type TestServer } from "../helpers/http-server.ts";
import {
  exampleAci,
  eventually,
  finished,
  makeRkt,
  type Rkt,
  requires,
  type Result,
  rktBinary,
  scratchFile,
} from "../helpers/rkt.ts";

const gpg = makeGpg();
const signer = gpg.newKey("Signer");
const stranger = gpg.newKey("Stranger");

interface Site {
  rkt: Rkt;
  server: TestServer;
  /** Runs rkt with a keystore of the test's own. */
  run(args: readonly string[]): Promise<Result>;
  trust(args: readonly string[], fingerprint: string): Promise<void>;
}

type Files = Record<string, Buffer | (() => Buffer)>;

/** A web server of files with ETags, and an rkt that trusts nobody yet. */
async function site(t: TestContext, files: Files): Promise<Site> {
  const server = await serve(t, (request, response) => {
    const found = files[request.url ?? ""];
    const body = typeof found === "function" ? found() : found;
    if (body === undefined) response.writeHead(404).end();
    else answerFile(request, response, { body, etag: `"${createHash("sha256").update(body).digest("hex")}"` });
  });
  const rkt = makeRkt(t, { empty: true });
  const config = join(rkt.scratch, "config");
  const options = [`--local-config=${config}`, `--system-config=${join(rkt.scratch, "none")}`];
  const run = (args: readonly string[]) =>
    finished(rkt.start([...options, ...args], { stdio: ["ignore", "pipe", "pipe"] }));
  return {
    rkt,
    server,
    run,
    async trust(args, fingerprint) {
      const path = join(rkt.scratch, `${fingerprint}.asc`);
      writeFileSync(path, gpg.export(fingerprint));
      const done = await run(["trust", "--skip-fingerprint-review", ...args, path]);
      assert.equal(done.status, 0, done.stderr);
    },
  };
}

const ids = (rkt: Rkt): string[] => {
  const blobs = join(rkt.dir, "cas/blob/sha512");
  return existsSync(blobs) ? readdirSync(blobs).flatMap((group) => readdirSync(join(blobs, group))) : [];
};

const busybox = readFileSync(exampleAci("busybox"));

test("a signed image by its URL: fetched, verified, stored; the second time costs one request and no body", async (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  const { rkt, server, run, trust } = await site(t, {
    "/busybox.aci": busybox,
    "/busybox.aci.asc": gpg.sign(busybox, [signer]),
  });
  const url = `${server.base}/busybox.aci`;
  await trust(["--prefix=example.com/busybox"], signer);
  const first = await run(["fetch", url]);
  assert.equal(first.status, 0, first.stderr);
  assert.match(first.stdout, /^sha512-[0-9a-f]{32}\n$/);
  assert.match(first.stderr, new RegExp(`^rkt: fetching image from ${url}\n`));
  assert.match(first.stderr, /^rkt: signature verified:\n {2}Signer <Signer@example\.com>$/m);
  const unpacked = createHash("sha512").update(gunzipSync(busybox)).digest("hex");
  assert.equal(first.stdout, `sha512-${unpacked.slice(0, 32)}\n`);

  const before = server.seen.length;
  const second = await run(["fetch", "--full", url]);
  assert.equal(second.stdout, `sha512-${unpacked.slice(0, 64)}\n`);
  const requests = server.seen.slice(before);
  assert.deepEqual(
    requests.map(({ url, headers }) => [url, typeof headers["if-none-match"]]),
    [["/busybox.aci", "string"]],
  );

  const app = await run(["run", url, "--exec=/bin/echo", "--", "hello"]);
  assert.deepEqual([app.status, app.stdout, app.stderr], [0, "hello\n", ""]);
  assert.equal(server.seen.length, before + 1, "an image in the store is not asked for");
  assert.equal(ids(rkt).length, 2, "the image, and the stage1's");
});

const refusals: { name: string; signature?: (image: Buffer) => Buffer; trusted?: string[]; message: RegExp }[] = [
  { name: "no signature", trusted: ["--root"], message: /the image is not signed: .*404.*\nhint: --signature/ },
  { name: "nobody trusted", signature: (image) => gpg.sign(image, [signer]), message: /\nhint: .*rkt trust/ },
  {
    name: "another's signature",
    signature: (image) => gpg.sign(image, [stranger]),
    trusted: ["--root"],
    message: /\nhint: .*rkt trust/,
  },
  {
    name: "a key for another prefix",
    signature: (image) => gpg.sign(image, [signer]),
    trusted: ["--prefix=example.com/busy"],
    message: /example\.com\/busybox/,
  },
  {
    name: "the signature of another file",
    signature: () => gpg.sign(Buffer.from("other"), [signer]),
    trusted: ["--root"],
    message: /signature/,
  },
  {
    name: "garbage for a signature",
    signature: () => Buffer.from("garbage"),
    trusted: ["--root"],
    message: /signature/,
  },
];
for (const c of refusals)
  for (const command of ["fetch", "run"])
    test(`rkt ${command} refuses: ${c.name}`, async (t) => {
      if (!requires(t, "root", "build", "gpg")) return;
      const files: Files = { "/busybox.aci": busybox };
      if (c.signature !== undefined) files["/busybox.aci.asc"] = c.signature(busybox);
      const { rkt, server, run, trust } = await site(t, files);
      if (c.trusted !== undefined) await trust(c.trusted, signer);
      const done = await run([command, `${server.base}/busybox.aci`]);
      assert.equal(done.status, 254, done.stderr);
      assert.match(done.stderr, c.message);
      assert.equal(done.stdout, "");
      assert.deepEqual(ids(rkt), []);
      assert.deepEqual(readdirSync(join(rkt.dir, "cas/tmp")), []);
      assert.deepEqual(rkt.containers(), []);

      const anyway = await run(["--insecure-options=image", "fetch", `${server.base}/busybox.aci`]);
      assert.equal(anyway.status, 0, anyway.stderr);
      assert.match(anyway.stderr, /^rkt: warning: the image's signature is not checked$/m);
    });

test("a local file with a signature beside it must be what was signed, one without is the person's own", async (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  const { rkt, run, trust } = await site(t, {});
  const path = join(rkt.scratch, "b.aci");
  writeFileSync(path, busybox);
  const unsigned = await run(["run", path, "--exec=/bin/true"]);
  assert.deepEqual([unsigned.status, unsigned.stderr], [0, ""]);

  writeFileSync(`${path}.asc`, gpg.sign(busybox, [stranger]));
  const wrong = await run(["run", path, "--exec=/bin/true"]);
  assert.equal(wrong.status, 254, wrong.stderr);
  await trust(["--root"], stranger);
  const right = await run(["run", path, "--exec=/bin/true"]);
  assert.equal(right.status, 0, right.stderr);
  assert.match(right.stderr, /^rkt: signature verified:$/m);
  const known = await run(["run", path, "--exec=/bin/true"]);
  assert.deepEqual([known.status, known.stderr], [0, ""], "what was verified once costs a look at the file");
});

test("credentials go to their host alone and are never said", async (t) => {
  if (!requires(t, "root", "build")) return;
  const token = "s3cr3t-t0ken";
  const granted = new Map([
    ["oauth", { credentials: { token }, header: `Bearer ${token}` }],
    [
      "basic",
      {
        credentials: { user: "me", password: token },
        header: `Basic ${Buffer.from(`me:${token}`).toString("base64")}`,
      },
    ],
  ]);
  for (const [type, { credentials, header }] of granted) {
    const open = await serve(t, (_, response) => response.end(good));
    const server = await serve(t, (request, response) => {
      if (request.headers.authorization !== header) response.writeHead(401).end();
      else if (request.url === "/moved.aci") response.writeHead(302, { location: `${open.base}/x.aci` }).end();
      else answerFile(request, response, { body: good });
    });
    const rkt = makeRkt(t, { empty: true });
    const fetch = (...args: string[]) =>
      finished(
        rkt.start([`--local-config=${rkt.scratch}`, "--debug", "--insecure-options=image,http", "fetch", ...args]),
      );
    const denied = await fetch(`${server.base}/x.aci`);
    assert.equal(denied.status, 254);
    assert.match(denied.stderr, /: 401 Unauthorized\nhint: credentials for 127\.0\.0\.1:\d+ go into .*auth\.d/);
    mkdirSync(join(rkt.scratch, "auth.d"));
    const domains = [new URL(server.base).host];
    const file = { rktKind: "auth", rktVersion: "v1", domains, type, credentials };
    writeFileSync(join(rkt.scratch, "auth.d/x.json"), JSON.stringify(file), { mode: 0o600 });
    for (const path of ["x.aci", "moved.aci"]) {
      const { stdout, stderr } = await fetch(`${server.base}/${path}`);
      assert.match(stdout, /^sha512-/, stderr);
      assert.ok(!stderr.includes(token) && !stderr.includes(header.slice(7)), stderr);
    }
    assert.deepEqual([...new Set(open.seen.map(({ headers }) => headers.authorization))], [undefined]);
  }
});

test("bars on a terminal, lines elsewhere, nothing with --quiet; --signature names the file", async (t) => {
  if (!requires(t, "root", "build", "gpg", "script")) return;
  const { rkt, server, run, trust } = await site(t, { "/b.aci": busybox, "/b.aci.asc": gpg.sign(busybox, [signer]) });
  await trust(["--root"], signer);
  const url = `${server.base}/b.aci`;
  const fetch = ["fetch", "--no-store", url];

  const quiet = await run(["--quiet", ...fetch]);
  assert.deepEqual([quiet.status, quiet.stderr], [0, ""]);
  rkt.ok(["image", "rm", "example.com/busybox"]);
  const lines = await run(fetch);
  assert.match(
    lines.stderr,
    /^Downloading aci: 1\.\d\d MB\/1\.\d\d MB\nDownloading signature from .*\.asc\nDownloading signature: /m,
  );
  rkt.ok(["image", "rm", "example.com/busybox"]);
  const words = [rktBinary, `--dir=${rkt.dir}`, `--local-config=${join(rkt.scratch, "config")}`, ...fetch];
  const typed = await finished(
    spawn("script", ["-qec", words.join(" "), "/dev/null"], { stdio: ["ignore", "pipe", "pipe"] }),
  );
  assert.match(typed.stdout, /Downloading aci: \[=+>? *\] 1\.\d\d MB\/1\.\d\d MB/);
  assert.match(typed.stdout, /rkt: signature verified:\r\n {2}Signer /);

  const other = await site(t, { "/b.aci": busybox });
  await other.trust(["--root"], signer);
  const named = scratchFile(other.rkt, "signature", gpg.sign(busybox, [signer]));
  const done = await other.run(["fetch", `--signature=${named}`, `${other.server.base}/b.aci`]);
  assert.equal(done.status, 0, done.stderr);
  assert.deepEqual(
    other.server.seen.map((request) => request.url),
    ["/b.aci"],
  );
});

test("a proxy that the environment names", async (t) => {
  if (!requires(t, "root", "build")) return;
  const asked: string[] = [];
  const proxy = await serve(t, (request, response) => {
    asked.push(request.url ?? "");
    response.end(good);
  });
  const rkt = makeRkt(t, { empty: true });
  const fetch = (environment: Record<string, string>) =>
    finished(
      rkt.start(["--insecure-options=image", "fetch", "http://images.invalid/x.aci"], {
        env: { ...process.env, http_proxy: proxy.base, ...environment },
      }),
    );
  const done = await fetch({});
  assert.equal(done.status, 0, done.stderr);
  assert.deepEqual(asked, ["http://images.invalid/x.aci"]);
  assert.equal((await fetch({ no_proxy: ".invalid,images.invalid" })).status, 254);
  assert.equal(asked.length, 1);
});

test("pull policies: never, new, update", async (t) => {
  if (!requires(t, "root", "build")) return;
  const image = (text: string) =>
    gzipped(makeAci([{ name: "rootfs/what", data: text }], manifest({ name: "example.com/what" })));
  let now = image("one");
  const { server, run } = await site(t, { "/what.aci": () => now });
  const url = `${server.base}/what.aci`;
  const fetch = async (policy: string) => await run(["--insecure-options=image", "fetch", policy, url]);
  const never = await fetch("--pull-policy=never");
  assert.equal(never.status, 254);
  assert.match(never.stderr, /is not in the store\nhint: --pull-policy=new/);
  const one = (await fetch("--pull-policy=new")).stdout;
  now = image("two");
  for (const policy of ["--pull-policy=new", "--pull-policy=never", "--store-only"])
    assert.equal((await fetch(policy)).stdout, one, policy);
  const two = (await fetch("--pull-policy=update")).stdout;
  assert.notEqual(two, one);
  now = image("three");
  assert.notEqual((await fetch("--no-store")).stdout, two);
});

for (const signal of ["SIGINT", "SIGKILL"] as const)
  test(`a fetch ended by ${signal}: the store as before, and nothing left after the next`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const image = gzipped(makeAci([{ name: "rootfs/big", data: "x".repeat(1_000_000) }]));
    const half = image.subarray(0, image.length / 2);
    const server = await serve(t, (_, response) => {
      response.writeHead(200, { "content-length": image.length });
      response.write(half);
    });
    const rkt = makeRkt(t, { empty: true });
    const child = rkt.start(["--insecure-options=image", "fetch", `${server.base}/x.aci`], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    const done = finished(child);
    const tmp = join(rkt.dir, "cas/tmp");
    await eventually("half of the image", () => (existsSync(tmp) && readdirSync(tmp).length > 0 ? true : undefined));
    child.kill(signal);
    const { status, stderr } = await done;
    if (signal === "SIGINT") {
      assert.equal(status, 130);
      assert.match(stderr, /ended by SIGINT/);
      assert.deepEqual(readdirSync(tmp), []);
    }
    assert.deepEqual(ids(rkt), []);
    rkt.ok(["fetch", exampleAci("busybox")]);
    assert.deepEqual(readdirSync(tmp), []);
    assert.equal(ids(rkt).length, 1);
  });

// --- what a server may answer -------------------------------------------------------------

const good = gzipped(makeAci([{ name: "rootfs/x", data: randomBytes(200_000) }]));

interface Fault {
  name: string;
  answer: RequestListener;
  status?: number;
  message: RegExp;
  /** Requests it takes. */
  requests?: number;
}

const page: RequestListener = (_, response) => response.writeHead(200).end("<!doctype html><p>Log in");
const always =
  (status: number): RequestListener =>
  (_, response) =>
    response.writeHead(status).end();
const redirect =
  (location: string): RequestListener =>
  (_, response) =>
    response.writeHead(302, { location }).end();

/** gzip's header (RFC 1952), and a block of the type that there is not (RFC 1951): what follows is never looked at. */
const GZIP_START = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xff]);

const faults: Fault[] = [
  { name: "404", answer: always(404), message: /: 404 /, requests: 1 },
  { name: "401", answer: always(401), message: /: 401 .*\nhint: .*auth\.d/s, requests: 1 },
  { name: "403", answer: always(403), message: /: 403 /, requests: 1 },
  { name: "500 every time", answer: always(500), message: /trying again in .*: 500 /s, requests: 5 },
  { name: "a web page", answer: page, message: /it is an HTML or XML page, not an image/, requests: 1 },
  { name: "an unasked 304", answer: always(304), message: /304/, requests: 1 },
  {
    name: "a body that always ends too early",
    answer: (_, response) => {
      response.writeHead(200, { "content-length": good.length });
      response.write(good.subarray(0, 1000), () => response.destroy());
    },
    message: /trying again in /,
    requests: 5,
  },
  {
    name: "more than the announced length",
    answer: (request, response) => {
      request.socket.end(
        Buffer.concat([Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\nconnection: close\r\n\r\n"), good]),
      );
      response.detachSocket(request.socket);
    },
    message: /cannot import http:\S+: .*(?:damaged|incomplete)|content-length|not HTTP/i,
  },
  {
    name: "half an image, as if it were all",
    answer: (_, response) => response.end(good.subarray(0, good.length / 2)),
    message: /cannot import .*its gzip data are damaged: .*\nhint: .*get it again/,
    requests: 1,
  },
  {
    name: "noise",
    answer: (_, response) => response.end(Buffer.concat([GZIP_START, randomBytes(5000)])),
    message: /its gzip data are damaged/,
  },
  {
    name: "a decompression bomb",
    answer: (_, response) => response.end(bomb()),
    message: /it decompresses to more than 200 times its size\nhint: .*bomb/,
  },
  {
    name: "a redirect to file:",
    answer: redirect("file:///etc/passwd"),
    message: /redirects to a file: URL/,
    requests: 1,
  },
  { name: "a redirect to itself", answer: redirect("/x.aci"), message: /redirect/, requests: 11 },
  {
    name: "something that is no HTTP",
    answer: (request) => request.socket.end("SSH-2.0-OpenSSH_9.2\r\n"),
    message: /the answer is not HTTP/,
  },
];

/** An image whose one file is 128 MiB of zeros. */
function bomb(): Buffer {
  const head = makeAci([{ name: "rootfs/zeros", size: 128 * 1024 * 1024 }]).subarray(0, -1024);
  return gzipped(Buffer.concat([head, Buffer.alloc(128 * 1024 * 1024 + 1024)]));
}

describe("a server that answers with", { concurrency: 8 }, () => {
  for (const { name, answer, message, requests } of faults)
    test(`${name}: an error, and the store as before`, async (t) => {
      if (!requires(t, "root", "build")) return;
      const rkt = makeRkt(t, { empty: true });
      rkt.ok(["fetch", exampleAci("busybox")]);
      const before = rkt.ok(["image", "list", "--full"]).stdout.replace(/\S+Z/g, "");
      const server = await serve(t, answer);
      const url = `${server.base}/x.aci`;
      const done = await finished(rkt.start(["--insecure-options=image", "fetch", url]));
      assert.equal(done.status, 254, done.stderr);
      assert.equal(done.stdout, "");
      assert.match(done.stderr, message);
      const [error = "", hint = ""] = done.stderr.trimEnd().split("\n").slice(-2);
      assert.ok(error.startsWith("rkt: fetch: ") && error.includes(url), `the URL is named:\n${done.stderr}`);
      assert.match(hint, /^hint: ./);
      if (requests !== undefined) assert.equal(server.seen.length, requests);
      assert.equal(rkt.ok(["image", "list", "--full"]).stdout.replace(/\S+Z/g, ""), before);
      assert.deepEqual(readdirSync(join(rkt.dir, "cas/tmp")), []);
      assert.equal(ids(rkt).length, 1);
    });
});

test("what looks like a bomb is let in by whoever knows better, up to his own limit", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t, { empty: true });
  const path = scratchFile(rkt, "zeros.aci", bomb());
  const server = await serve(t, (_, response) => response.end(readFileSync(path)));
  const url = `${server.base}/zeros.aci`;
  rkt.fails(["fetch", "--max-image-size=100Mi", path], 254, /it decompresses to more than 104857600 bytes/);
  rkt.fails(["fetch", "--max-image-size=much", path], 2, /--max-image-size "much": must be an amount of bytes/);
  const done = await finished(rkt.start(["--insecure-options=image", "fetch", "--max-image-size=129Mi", url]));
  assert.equal(done.status, 0, done.stderr);
  assert.equal(rkt.ok(["fetch", "--max-image-size=129Mi", path]).stdout, done.stdout);
});

test("https with a certificate that nobody knows, and a port where nobody listens", async (t) => {
  if (!requires(t, "root", "build", "openssl")) return;
  const ca = makeCa(t);
  const server = await serve(t, (_, response) => response.end(good), { tls: ca });
  const rkt = makeRkt(t, { empty: true });
  const fetch = (insecure: string, base: string, env = {}) =>
    finished(
      rkt.start([`--insecure-options=${insecure}`, "fetch", `${base}/x.aci`], { env: { ...process.env, ...env } }),
    );
  const unknown = await fetch("image", server.base);
  assert.equal(unknown.status, 254);
  assert.match(unknown.stderr, /TLS: .*certificate\nhint: .*\/etc\/ssl\/certs.*SSL_CERT_FILE.*--insecure-options=tls/);
  assert.doesNotMatch(unknown.stderr, /node/i);
  assert.deepEqual(ids(rkt), []);
  const known = await fetch("image", server.base, { SSL_CERT_FILE: ca.file });
  assert.equal(known.status, 0, known.stderr);
  const any = await fetch("image,tls", server.base.replace("127.0.0.1", "localhost"));
  assert.equal(any.status, 0, any.stderr);
  assert.match(any.stderr, /^rkt: warning: the server's certificate is not checked$/m);

  const closed = await serve(t, () => {});
  await new Promise((resolve) => closed.server.close(resolve));
  const nobody = await fetch("image", closed.base);
  assert.equal(nobody.status, 254);
  assert.match(nobody.stderr, /get \S+\/x\.aci: connection refused.*\nhint: .*port/);
  const nowhere = await fetch("image", "https://nothing.invalid");
  assert.equal(nowhere.status, 254);
  assert.match(nowhere.stderr, /get https:\S+\/x\.aci: (no such host|the name service does not answer).*\nhint: /);
});

test("a file that no image can be called is taken; a name that nobody knows is told from a file", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t, { empty: true });
  const id = rkt.ok(["fetch", exampleAci("busybox")]).stdout;
  copyFileSync(exampleAci("busybox"), join(rkt.scratch, "BusyBox.img"));
  assert.equal(rkt.ok(["fetch", "BusyBox.img"]).stdout, id);
  rkt.ok(["run", "BusyBox.img", "--exec=/bin/true"]);
  scratchFile(rkt, "README.txt", "Read me.\n");
  rkt.fails(["run", "README.txt"], 254, /cannot import README\.txt: it is not a tar archive/);
  rkt.fails(["run", "CHANGES.txt"], 2, /image name "CHANGES\.txt": .*\nhint: the image may be called changes\.txt/);

  // An address of this machine that nobody listens at.
  const host = "127.213.7.11";
  rkt.fails(
    ["fetch", `${host}/app`],
    254,
    /image \S+ cannot be found: https:\S+: connection refused; .*\nhint: .*name/,
  );
  scratchFile(rkt, host, "");
  rkt.fails(["fetch", host], 254, new RegExp(`cannot be found: .*\nhint: .* \\./${host}$`, "m"));
});

test("max-age: within it no request; then one that costs no body; a lie about the ETag does not pass the signature", async (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  let body = good;
  let maxAge = 1000;
  const server = await serve(t, (request, response) => {
    if (request.url?.endsWith(".asc")) response.end(gpg.sign(good, [signer]));
    else answerFile(request, response, { body, etag: '"constant"', headers: { "cache-control": `max-age=${maxAge}` } });
  });
  const { run, trust } = await site(t, {});
  await trust(["--root"], signer);
  const url = `${server.base}/x.aci`;
  const requests = async (...options: string[]) => {
    server.seen.splice(0);
    const done = await run(["fetch", ...options, url]);
    return { ...done, paths: server.seen.map((seen) => seen.url) };
  };
  const first = await requests();
  assert.deepEqual([first.status, first.paths.sort()], [0, ["/x.aci", "/x.aci.asc"]], first.stderr);
  assert.deepEqual((await requests()).paths, [], "within max-age nobody is asked");
  const other = await finished(makeRkt(t, { empty: true }).start(["--insecure-options=image", "fetch", url]));
  assert.equal(other.status, 0, "another store has its own memory");

  maxAge = 0;
  const { run: runAgain, trust: trustAgain } = await site(t, {});
  await trustAgain(["--root"], signer);
  assert.equal((await runAgain(["fetch", url])).status, 0);
  server.seen.splice(0);
  const unchanged = await runAgain(["fetch", url]);
  assert.deepEqual([unchanged.status, unchanged.stdout], [0, first.stdout]);
  assert.deepEqual(
    server.seen.map((seen) => [seen.url, seen.headers["if-none-match"]]),
    [["/x.aci", '"constant"']],
  );

  body = gzipped(makeAci([{ name: "rootfs/other", data: "other" }]));
  const { run: runElsewhere, trust: trustElsewhere } = await site(t, {});
  await trustElsewhere(["--root"], signer);
  const lie = await runElsewhere(["fetch", url]);
  assert.equal(lie.status, 254);
  assert.match(lie.stderr, /signature/);
});

test("a download that breaks goes on where it broke; one whose file changes meanwhile starts again", async (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  const breaks = [50_000, 120_000];
  const server = await serve(t, (request, response) => {
    if (request.url?.endsWith(".asc")) response.end(gpg.sign(good, [signer]));
    else answerFile(request, response, { body: good, etag: '"1"', breaks });
  });
  const { run, trust } = await site(t, {});
  await trust(["--root"], signer);
  const done = await run(["fetch", `${server.base}/x.aci`]);
  assert.equal(done.status, 0, done.stderr);
  assert.match(done.stderr, /trying again in 1 s/);
  const requests = server.seen.filter((seen) => seen.url === "/x.aci").map(({ headers }) => headers);
  assert.deepEqual(
    requests.map((headers) => headers["if-range"]),
    [undefined, '"1"', '"1"'],
  );
  // It goes on after the last byte it got: all that was sent, or less where the break overtook the reading.
  const starts = requests.map(({ range }) => Number(/^bytes=(\d+)-$/.exec(range ?? "bytes=0-")?.[1]));
  const [none = NaN, first = NaN, second = NaN] = starts;
  assert.ok(none === 0 && first > 0 && first <= 50_000 && second >= first && second <= 120_000, `${starts}`);

  let round = 0;
  const next = gzipped(makeAci([{ name: "rootfs/next", data: randomBytes(100_000) }]));
  const changing = await serve(t, (request, response) => {
    round++;
    if (round === 1) answerFile(request, response, { body: good, etag: '"1"', breaks: [50_000] });
    else answerFile(request, response, { body: next, etag: '"2"' });
  });
  const rkt = makeRkt(t, { empty: true });
  const changed = await finished(rkt.start(["--insecure-options=image", "fetch", "--full", `${changing.base}/x.aci`]));
  assert.equal(changed.status, 0, changed.stderr);
  const digest = createHash("sha512").update(gunzipSync(next)).digest("hex");
  assert.equal(changed.stdout, `sha512-${digest.slice(0, 64)}\n`);
});

test("several images at once, in the order asked for; all of them from one redirecting server", async (t) => {
  if (!requires(t, "root", "build")) return;
  const images = ["a", "b", "c", "d", "e", "f"].map((name) =>
    gzipped(makeAci([], manifest({ name: `example.com/${name}` }))),
  );
  let open = 0;
  let most = 0;
  const server = await serve(t, (request, response) => {
    const [, kind, index] = /^\/(new|old)\/(\d)/.exec(request.url ?? "") ?? [];
    if (kind === "old") return void response.writeHead(307, { location: `/new/${index}.aci` }).end();
    most = Math.max(most, ++open);
    setTimeout(() => {
      open--;
      response.end(images[Number(index)]);
    }, 100);
  });
  const rkt = makeRkt(t, { empty: true });
  const urls = images.map((_, i) => `${server.base}/old/${i}.aci`);
  const done = await finished(rkt.start(["--insecure-options=image", "fetch", ...urls]));
  assert.equal(done.status, 0, done.stderr);
  const wanted = images.map((image) => `sha512-${createHash("sha512").update(gunzipSync(image)).digest("hex")}`);
  assert.deepEqual(
    done.stdout.trim().split("\n"),
    wanted.map((id) => id.slice(0, 39)),
  );
  assert.ok(most > 1 && most <= 4, `${most} at a time`);
});

test("four big images at once, in memory that does not grow with them", async (t) => {
  if (!requires(t, "root", "build")) return;
  const size = 64 << 20;
  const chunk = randomBytes(1 << 20);
  const server = await serve(t, (request, response) => {
    const name = `example.com/big${/\d/.exec(request.url ?? "")?.[0]}`;
    const head = makeAci([{ name: "rootfs/big", size }], manifest({ name })).subarray(0, -1024);
    response.writeHead(200, { "content-length": head.length + size + 1024 });
    const body = function* () {
      yield head;
      for (let sent = 0; sent < size; sent += chunk.length) yield chunk;
      yield Buffer.alloc(1024);
    };
    pipeline(Readable.from(body()), response, () => {});
  });
  const rkt = makeRkt(t, { empty: true });
  const urls = [1, 2, 3, 4].map((i) => `${server.base}/${i}.aci`);
  const child = rkt.start(["--insecure-options=image", "fetch", ...urls]);
  let peak = 0;
  const timer = setInterval(() => {
    // Of a process that has ended there is nothing to read.
    const status = existsSync(`/proc/${child.pid}/status`) ? readFileSync(`/proc/${child.pid}/status`, "utf8") : "";
    peak = Math.max(peak, Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024);
  }, 10);
  const done = await finished(child);
  clearInterval(timer);
  assert.equal(done.status, 0, done.stderr);
  assert.equal(ids(rkt).length, 4);
  assert.ok(peak > 0 && peak < 260, `${peak} MiB for four images of 64`);
});

// --- other people's images ------------------------------------------------------------------

test("an image that actool built, and one of the first manifest version: fetched, and they run", async (t) => {
  if (!requires(t, "root", "build", "overlay", "actool", "tar")) return;
  const rkt = makeRkt(t, { empty: true });
  const layout = join(rkt.scratch, "layout");
  mkdirSync(layout);
  execFileSync("tar", ["-xzf", exampleAci("busybox"), "-C", layout]);
  const built = manifest({
    name: "example.com/actool",
    app: { exec: ["/bin/echo", "by actool"], user: "0", group: "0" },
  });
  writeFileSync(join(layout, "manifest"), built);
  execFileSync("actool", ["build", layout, join(rkt.scratch, "actool.aci")], { stdio: "pipe" });
  const old = {
    acKind: "AppManifest",
    acVersion: "0.1.0",
    name: "example.com/first",
    os: "linux",
    arch: "amd64",
    version: "0.1",
    exec: ["/bin/sh", "-c", "echo $GREETING"],
    environment: { GREETING: "from the first" },
  };
  writeFileSync(join(layout, "manifest"), JSON.stringify(old));
  execFileSync("tar", ["-czf", join(rkt.scratch, "first.aci"), "-C", layout, "manifest", "rootfs"]);
  const server = await serve(t, (request, response) =>
    response.end(readFileSync(join(rkt.scratch, request.url ?? ""))),
  );
  for (const [file, output] of [
    ["actool.aci", "by actool\n"],
    ["first.aci", "from the first\n"],
  ]) {
    const done = await finished(rkt.start(["--insecure-options=image", "run", `${server.base}/${file}`]));
    assert.deepEqual([done.status, done.stdout], [0, output], done.stderr);
  }
});

test("gc and another import in a PID namespace of their own leave a running download alone", async (t) => {
  if (!requires(t, "root", "build", "unshare")) return;
  const body = makeAci([{ name: "rootfs/x", data: randomBytes(3_000_000).toString("hex") }]);
  let finish = () => {};
  const server = await serve(t, (_, response) => {
    response.writeHead(200, { "content-length": body.length });
    response.write(body.subarray(0, 2_000_000));
    finish = () => response.end(body.subarray(2_000_000));
  });
  const rkt = makeRkt(t, { empty: true });
  const words = ["--insecure-options=image,http", "fetch", "--full", `${server.base}/x.aci`];
  const download = finished(rkt.start(words, { stdio: ["ignore", "pipe", "pipe"] }));
  const temporaries = join(rkt.dir, "cas/tmp");
  const [name = ""] = await eventually("a file that grows", () => {
    const names = existsSync(temporaries) ? readdirSync(temporaries) : [];
    return names.length > 0 ? names : undefined;
  });
  const aci = scratchFile(rkt, "y.aci", makeAci([]));
  for (const other of [["gc"], ["fetch", aci], ["image", "gc"]])
    execFileSync("unshare", ["--pid", "--fork", "--mount-proc", rktBinary, `--dir=${rkt.dir}`, ...other]);
  assert.deepEqual(readdirSync(temporaries), [name]);
  finish();
  const { status, stdout, stderr } = await download;
  assert.equal(status, 0, stderr);
  assert.deepEqual(readdirSync(temporaries), []);
  rkt.ok(["image", "verify", stdout.trim()]);
});
