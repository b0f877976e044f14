/** Images over HTTP, signed by gpg, to an app that runs. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { gzipped, makeAci, manifest } from "../fixtures/aci.ts";
import { makeGpg } from "../fixtures/gpg.ts";
import { answerFile, serve, type TestServer } from "../helpers/http-server.ts";
import { exampleAci, eventually, finished, makeRkt, type Rkt, requires, type Result } from "../helpers/rkt.ts";

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
  const rkt = makeRkt(t);
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
  const unpacked = createHash("sha512")
    .update((await import("node:zlib")).gunzipSync(busybox))
    .digest("hex");
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
    const rkt = makeRkt(t);
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
