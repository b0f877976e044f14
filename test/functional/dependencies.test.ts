/**
 * Images by name and what they depend on, from a registry with meta tags and
 * https at the address of its name: any of 127.0.0.0/8 is a host of our own.
 */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, globSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { type Entry, gzipped, makeAci, manifest } from "../fixtures/aci.ts";
import { random, rounds, seed } from "../faults/random.ts";
import { makeGpg } from "../fixtures/gpg.ts";
import { answerFile, makeCa, serve, type TestServer } from "../helpers/http-server.ts";
import { finished, makeRkt, type Result, type Rkt, requires } from "../helpers/rkt.ts";

const gpg = makeGpg();
const signer = gpg.newKey("Registry");

interface Image {
  version?: string;
  dependencies?: object[];
  pathWhitelist?: string[];
  app?: object;
  entries?: Entry[];
}

interface Registry {
  rkt: Rkt;
  server: TestServer;
  /** The host that its images' names begin with. */
  host: string;
  /** Environment in which its certificate is trusted. */
  env: Record<string, string>;
  run(...args: string[]): Promise<Result>;
  start(...args: string[]): ChildProcess;
  /** The images that were downloaded since the last call; asking whether one has changed is none. */
  downloads(): string[];
}

const imageId = (aci: Buffer): string => `sha512-${createHash("sha512").update(gunzipSync(aci)).digest("hex")}`;

let lastHost = 0;

/** `images` by name below the host; those that need others' IDs are made from what was made before them. */
async function registry(
  t: TestContext,
  images: (host: string, made: (name: string) => Buffer) => Record<string, () => Image>,
  { trusted = true } = {},
): Promise<Registry> {
  const host = `127.${100 + (process.pid % 100)}.${(process.pid >> 7) % 250}.${++lastHost}`;
  const files = new Map<string, Buffer>();
  const describe = images(host, (name) => files.get(name) ?? assert.fail(`${name} is made later`));
  for (const [name, image] of Object.entries(describe)) {
    const { version = "latest", entries = [], ...rest } = image();
    const labels = [
      { name: "version", value: version },
      { name: "os", value: "linux" },
      { name: "arch", value: "amd64" },
    ];
    const text = manifest({ name: `${host}/${name.split(":")[0]}`, labels, ...rest });
    files.set(name, gzipped(makeAci(entries, text)));
  }
  const ca = makeCa(t, `IP:${host}`);
  const server = await serve(
    t,
    (request, response) => {
      const url = new URL(request.url ?? "", `https://${host}`);
      if (url.search === "?ac-discovery=1") {
        response.end(
          `<!DOCTYPE html><html><head><title>Images</title>
           <meta name="ac-discovery" content="${host} https://${host}/files/{name}/{version}/{os}-{arch}.{ext}">
           <meta name="ac-discovery-pubkeys" content="${host} https://${host}/keys.asc"></head><p>Hello`,
        );
        return;
      }
      if (url.pathname === "/keys.asc") return void response.end(gpg.export(signer));
      const [, name, version, signature] =
        /^\/files\/[^/]+\/(.+)\/([^/]+)\/linux-amd64\.aci(\.asc)?$/.exec(url.pathname) ?? [];
      const file = files.get(`${name}:${version}`) ?? (version === "latest" ? files.get(name ?? "") : undefined);
      if (file === undefined) response.writeHead(404).end();
      else if (signature !== undefined) response.end(gpg.sign(file, [signer]));
      else answerFile(request, response, { body: file, etag: `"${imageId(file).slice(7, 30)}"` });
    },
    { tls: ca, host, port: 443 },
  );
  const rkt = makeRkt(t);
  const env = { SSL_CERT_FILE: ca.file };
  const config = [`--local-config=${join(rkt.scratch, "config")}`, `--system-config=${join(rkt.scratch, "none")}`];
  const start = (...args: string[]) => rkt.start([...config, ...args], { env: { ...process.env, ...env } });
  const run = (...args: string[]) => finished(start(...args));
  if (trusted) {
    const done = await run("trust", "--skip-fingerprint-review", `--prefix=${host}`);
    assert.equal(done.status, 0, done.stderr);
  }
  const downloads = () =>
    server.seen
      .splice(0)
      .filter(({ headers }) => headers["if-none-match"] === undefined)
      .flatMap(({ url }) => /^\/files\/[^/]+\/(.*)\/linux-amd64\.aci$/.exec(url)?.[1] ?? []);
  return { rkt, server, host, env, start, run, downloads };
}

const file = (name: string, data: string): Entry => ({ name: `rootfs/${name}`, data });

/** Entries of an image that can run a shell. */
function shell(): Entry[] {
  return [
    { name: "rootfs/bin", type: "5" },
    { name: "rootfs/bin/busybox", data: readFileSync("/bin/busybox"), mode: 0o755 },
    { name: "rootfs/bin/sh", type: "1", link: "rootfs/bin/busybox" },
  ];
}

const names = (rkt: Rkt): string[] => {
  const images = JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout) as { name: string }[];
  return images.map(({ name }) => name.replace(/^[\d.]+\//, "")).sort();
};

test("an image by name: what it depends on comes with it, signed, each once, and it runs on them", async (t) => {
  if (!requires(t, "root", "build", "overlay", "gpg", "openssl", "busybox")) return;
  const { rkt, host, run, downloads } = await registry(t, (host, made) => ({
    base: () => ({
      entries: [...shell(), file("etc/motd", "base"), file("etc/base", "base"), file("secret", "base")],
    }),
    "layer:1.0": () => ({
      version: "1.0",
      dependencies: [{ imageName: `${host}/base`, imageID: imageId(made("base")), size: made("base").length }],
      entries: [file("etc/motd", "layer"), file("etc/layer", "layer")],
    }),
    other: () => ({ dependencies: [{ imageName: `${host}/base` }], entries: [file("etc/other", "other")] }),
    app: () => ({
      dependencies: [
        { imageName: `${host}/layer`, labels: [{ name: "version", value: "1.0" }] },
        { imageName: `${host}/other` },
      ],
      pathWhitelist: ["/bin/busybox", "/bin/sh", "/etc/motd", "/etc/layer", "/etc/other", "/etc/app"],
      entries: [file("etc/app", "app")],
      app: { exec: ["/bin/sh", "-c", "/bin/busybox ls -A /etc; /bin/busybox cat /etc/motd"], user: "0", group: "0" },
    }),
  }));
  const fetched = await run("fetch", `${host}/app`);
  assert.equal(fetched.status, 0, fetched.stderr);
  assert.deepEqual(names(rkt), ["app", "base", "layer", "other"]);
  assert.deepEqual(downloads().sort(), ["app/latest", "base/latest", "layer/1.0", "other/latest"]);
  assert.equal(fetched.stderr.match(/^rkt: signature verified:$/gm)?.length, 4);

  const target = join(rkt.scratch, "rendered");
  rkt.ok(["image", "render", "--rootfs-only", `${host}/app`, target]);
  assert.deepEqual(readdirSync(target).sort(), ["bin", "etc"]);
  assert.deepEqual(readdirSync(join(target, "etc")).sort(), ["app", "layer", "motd", "other"]);
  // Other comes after layer, and brings base's again: later over earlier.
  assert.equal(readFileSync(join(target, "etc/motd"), "utf8"), "base");

  const ran = await run("run", `${host}/app`);
  assert.equal(ran.status, 0, ran.stderr);
  // These files are rkt's own doing.
  const seen = ran.stdout.split("\n").filter((line) => !["hostname", "hosts", "machine-id", "mtab", "resolv.conf"].includes(line));
  assert.deepEqual(seen, ["app", "layer", "motd", "other", "base"]);
  assert.deepEqual(downloads(), [], "a name in the store is not asked for");
  rkt.ok(["image", "verify"]);
});

const broken: { name: string; dependency: (host: string) => object; message: RegExp }[] = [
  {
    name: "that is nowhere",
    dependency: (host) => ({ imageName: `${host}/none` }),
    message: /dependency of image \S+\/app: image \S+\/none cannot be found: .*404/,
  },
  {
    name: "with another ID",
    dependency: (host) => ({ imageName: `${host}/base`, imageID: `sha512-${"0".repeat(128)}` }),
    message: /is not the one asked for: its ID is sha512-/,
  },
  {
    name: "with another label",
    dependency: (host) => ({ imageName: `${host}/base`, labels: [{ name: "flavor", value: "mint" }] }),
    message: /its manifest has no label flavor/,
  },
  {
    name: "of another size",
    dependency: (host) => ({ imageName: `${host}/base`, size: 7 }),
    message: /the image that asks for it says 7/,
  },
  {
    name: "on itself, by way of another",
    dependency: (host) => ({ imageName: `${host}/back` }),
    message: /\/app depends on itself: \S+\/app → \S+\/back → \S+\/app/,
  },
];

for (const { name, dependency, message } of broken)
  test(`a dependency ${name}: refused, no container, and the store as before`, async (t) => {
    if (!requires(t, "root", "build", "gpg", "openssl")) return;
    const { rkt, host, run } = await registry(t, (host) => ({
      base: () => ({}),
      back: () => ({ dependencies: [{ imageName: `${host}/app` }] }),
      before: () => ({}),
      beside: () => ({}),
      app: () => ({
        dependencies: [...["before", "beside"].map((name) => ({ imageName: `${host}/${name}` })), dependency(host)],
      }),
    }));
    assert.equal((await run("fetch", `${host}/before`)).status, 0);
    for (const command of ["fetch", "run"]) {
      const done = await run(command, `${host}/app`);
      assert.equal(done.status, 254, done.stderr);
      assert.match(done.stderr, message);
    }
    assert.deepEqual(names(rkt), ["before"]);
    assert.equal(globSync("cas/blob/sha512/*/*", { cwd: rkt.dir }).length, 1);
    assert.deepEqual(rkt.containers(), []);
    assert.deepEqual(readdirSync(join(rkt.dir, "cas/tmp")), []);
    assert.deepEqual(existsSync(join(rkt.dir, "cas/tree")) ? readdirSync(join(rkt.dir, "cas/tree")) : [], []);
  });

test("a fetch ended at any moment: the image and all it depends on, or nothing; the next one has it all", async (t) => {
  if (!requires(t, "root", "build", "gpg", "openssl")) return;
  const big = [file("big", "some text ".repeat(100_000))];
  const { rkt, host, run, start } = await registry(t, (host) => ({
    base: () => ({ entries: big }),
    layer: () => ({ entries: big, dependencies: [{ imageName: `${host}/base` }] }),
    app: () => ({ dependencies: ["layer", "base"].map((name) => ({ imageName: `${host}/${name}` })) }),
  }));
  const fetch = ["fetch", "--pull-policy=new", `${host}/app`];
  const begin = Date.now();
  assert.equal((await run(...fetch)).status, 0);
  const duration = Date.now() - begin;
  const all = ["app", "base", "layer"];
  const next = random(0);
  for (let round = 0; round < rounds(6); round++) {
    if (names(rkt).length > 0) rkt.ok(["image", "rm", ...all.map((name) => `${host}/${name}`)]);
    const child = start(...fetch);
    const done = finished(child);
    const delay = next() * duration * 1.1;
    await new Promise((resolve) => setTimeout(resolve, delay));
    child.kill(round % 2 === 0 ? "SIGKILL" : "SIGINT");
    const { stderr } = await done;
    const what = `seed ${seed}, round ${round}, ended after ${delay.toFixed(1)} of ${duration} ms\n${stderr}`;
    assert.doesNotMatch(stderr, /internal error/, what);
    assert.ok(
      [[], all].some((images) => images.join() === names(rkt).join()),
      `${names(rkt)}: ${what}`,
    );
    const again = await run(...fetch);
    assert.equal(again.status, 0, `${what}${again.stderr}`);
    assert.deepEqual(names(rkt), all, what);
    assert.deepEqual(readdirSync(join(rkt.dir, "cas/tmp")), [], what);
  }
  rkt.ok(["image", "verify"]);
});

test("a dependency whose signer nobody trusts is refused as any image", async (t) => {
  if (!requires(t, "root", "build", "gpg", "openssl")) return;
  const { rkt, host, run } = await registry(
    t,
    (host) => ({
      base: () => ({}),
      app: () => ({ dependencies: [{ imageName: `${host}/base` }] }),
    }),
    { trusted: false },
  );
  assert.equal((await run("trust", "--skip-fingerprint-review", `--prefix=${host}/app`)).status, 0);
  const done = await run("fetch", `${host}/app`);
  assert.equal(done.status, 254);
  assert.match(done.stderr, /dependency of image \S+\/app: .*\/base.*\nhint: .*rkt trust/s);
  assert.deepEqual(names(rkt), []);
});

test("a local file brings what it depends on from the network", async (t) => {
  if (!requires(t, "root", "build", "gpg", "openssl")) return;
  const { rkt, host, run, downloads } = await registry(t, () => ({ base: () => ({ entries: [file("a", "a")] }) }));
  const path = join(rkt.scratch, "local.aci");
  writeFileSync(path, makeAci([], manifest({ dependencies: [{ imageName: `${host}/base` }] })));
  const never = await run("fetch", "--pull-policy=never", path);
  assert.equal(never.status, 254);
  assert.match(never.stderr, /dependency of image example\.com\/test: image \S+\/base is not in the store/);
  assert.deepEqual(names(rkt), []);
  const done = await run("fetch", path);
  assert.equal(done.status, 0, done.stderr);
  assert.deepEqual(downloads(), ["base/latest"]);
});

test("actool discovers on that registry what rkt fetches from it", async (t) => {
  if (!requires(t, "root", "build", "gpg", "openssl", "actool")) return;
  const { host, run, env, downloads } = await registry(t, () => ({ "app:2.0": () => ({ version: "2.0" }) }));
  const actool = spawn("actool", ["discover", "--json", `${host}/app:2.0`], { env: { ...process.env, ...env } });
  const found = await finished(actool);
  assert.equal(found.status, 0, found.stderr);
  const { ACIEndpoints: endpoints } = JSON.parse(found.stdout.slice(found.stdout.indexOf("{")));
  const fetched = await run("fetch", `${host}/app:2.0,os=linux,arch=amd64`);
  assert.equal(fetched.status, 0, fetched.stderr);
  const [, url] = /^rkt: fetching image from (\S+)$/m.exec(fetched.stderr) ?? [];
  assert.equal(url, endpoints[0].ACI);
  assert.deepEqual(downloads(), ["app/2.0"]);
});
