/** Downloads from a real web server: its ETags, ranges, conditions, redirects and broken connections. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Validators, validators } from "./caching.ts";
import { download } from "./download.ts";
import { type HttpOptions, openHttp } from "./http.ts";
import { makeCa } from "../../test/helpers/http-server.ts";
import { requires } from "../../test/helpers/rkt.ts";

const size = 8 << 20;

interface Nginx {
  base: string;
  port: number;
  /** What it serves. */
  root: string;
  file: Buffer;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Serves a directory with `x.aci` in it; `tls` with a certificate of a CA nobody knows. */
async function startNginx(t: TestContext, options: { tls?: boolean; location?: string } = {}): Promise<Nginx> {
  const dir = mkdtempSync(join(tmpdir(), "rkt-nginx-"));
  const port = await freePort();
  const root = join(dir, "root");
  mkdirSync(root);
  const file = randomBytes(size);
  writeFileSync(join(root, "x.aci"), file);
  let tls = "";
  if (options.tls === true) {
    const ca = makeCa(t);
    writeFileSync(join(dir, "cert.pem"), ca.cert);
    writeFileSync(join(dir, "key.pem"), ca.key);
    tls = `ssl_certificate ${dir}/cert.pem; ssl_certificate_key ${dir}/key.pem;`;
  }
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((n) => `${n}_temp_path ${dir}/${n};`);
  writeFileSync(
    join(dir, "nginx.conf"),
    `daemon off; master_process off; pid ${dir}/pid; error_log ${dir}/error.log;
     events {}
     http {
       access_log off; ${temporary.join(" ")}
       server {
         listen 127.0.0.1:${port}${options.tls === true ? " ssl" : ""}; ${tls}
         root ${root};
         ${options.location ?? ""}
       }
     }`,
  );
  const nginx: ChildProcess = spawn("nginx", ["-p", dir, "-c", join(dir, "nginx.conf")], { stdio: "inherit" });
  t.after(async () => {
    const ended = new Promise((resolve) => nginx.once("exit", resolve));
    if (nginx.exitCode === null && nginx.kill()) await ended;
    rmSync(dir, { recursive: true });
  });
  await listening(port, nginx);
  return { base: `${options.tls === true ? "https" : "http"}://127.0.0.1:${port}`, port, root, file };
}

async function listening(port: number, server: ChildProcess): Promise<void> {
  while (server.exitCode === null) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => socket.destroy());
      socket.on("error", () => {}).on("close", (failed) => resolve(!failed));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`nginx ended with ${server.exitCode}`);
}

async function get(t: TestContext, url: string, known?: Validators, options: HttpOptions = {}) {
  const http = openHttp({ env: {}, retry: { attempts: 3, firstPause: 1 }, ...options });
  t.after(() => http.close());
  let hash = createHash("sha256");
  let begins = 0;
  let received = 0;
  const result = await download(http, new URL(url), {
    known,
    begin() {
      hash = createHash("sha256");
      begins++;
    },
    write(chunk) {
      received += chunk.length;
      hash.update(chunk);
    },
  });
  return { result, digest: hash.digest("hex"), begins, received };
}

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

/** A wire to `port` that is cut after so many bytes from the server, once for each of `cuts`. */
async function cutWire(t: TestContext, port: number, cuts: number[]): Promise<number> {
  const sockets = new Set<Socket>();
  const wire = createServer((client) => {
    const server = connect(port, "127.0.0.1");
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    }
    client.pipe(server);
    let left = cuts.shift() ?? Number.POSITIVE_INFINITY;
    server.on("data", (chunk: Buffer) => {
      if (!client.write(chunk.subarray(0, Math.min(left, chunk.length)))) {
        server.pause();
        client.once("drain", () => server.resume());
      }
      left -= chunk.length;
      if (left <= 0) {
        server.destroy();
        client.end(() => client.destroy());
      }
    });
    server.on("close", () => client.end());
  });
  await new Promise<void>((resolve) => wire.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => wire.close(resolve));
  });
  const address = wire.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

test("nginx: a file, the 304 of its ETag, and the new file after a change", async (t) => {
  if (!requires(t, "nginx")) return;
  const { base, file, root } = await startNginx(t);
  const first = await get(t, `${base}/x.aci`);
  assert.equal(first.digest, sha256(file));
  const { etag } = first.result.headers;
  assert.match(etag ?? "", /^"/);
  const again = await get(t, `${base}/x.aci`, { etag });
  assert.deepEqual([again.result.changed, again.begins, again.received], [false, 0, 0]);
  const other = randomBytes(1000);
  writeFileSync(join(root, "x.aci"), other);
  const changed = await get(t, `${base}/x.aci`, { etag });
  assert.deepEqual([changed.result.changed, changed.digest], [true, sha256(other)]);
});

test("nginx without ETags: the 304 of its date, the new file after a change, and a broken download resumed", async (t) => {
  if (!requires(t, "nginx")) return;
  const { base, port, file, root } = await startNginx(t, { location: "etag off;" });
  const path = join(root, "x.aci");
  utimesSync(path, 1_000_000_000, 1_000_000_000);
  const first = await get(t, `${base}/x.aci`);
  assert.deepEqual([first.digest, first.result.headers["etag"]], [sha256(file), undefined]);
  const known = validators(first.result.headers);
  assert.deepEqual(known, { lastModified: "Sun, 09 Sep 2001 01:46:40 GMT" });
  const again = await get(t, `${base}/x.aci`, known);
  assert.deepEqual([again.result.changed, again.begins, again.received], [false, 0, 0]);

  const wire = await cutWire(t, port, [size / 2]);
  const resumed = await get(t, `http://127.0.0.1:${wire}/x.aci`);
  assert.deepEqual([resumed.digest, resumed.begins, resumed.received], [sha256(file), 1, size]);

  const other = randomBytes(1000);
  writeFileSync(path, other);
  const changed = await get(t, `${base}/x.aci`, known);
  assert.deepEqual([changed.result.changed, changed.digest], [true, sha256(other)]);
});

for (const cuts of [[size / 4], [size / 2], [(size * 3) / 4], [size / 4, size / 4, size / 4]]) {
  test(`nginx behind a wire that is cut after ${cuts}: resumed, no byte twice`, async (t) => {
    if (!requires(t, "nginx")) return;
    const { port, file } = await startNginx(t);
    const wire = await cutWire(t, port, [...cuts]);
    const { digest, begins, received } = await get(t, `http://127.0.0.1:${wire}/x.aci`);
    assert.equal(digest, sha256(file));
    assert.deepEqual([begins, received], [1, size]);
  });
}

test("nginx, the file replaced while the wire is cut: started again", async (t) => {
  if (!requires(t, "nginx")) return;
  const { port, root } = await startNginx(t);
  const other = randomBytes(size);
  const wire = await cutWire(t, port, [size / 2]);
  // nginx makes its ETag of the size and the second of the last change.
  utimesSync(join(root, "x.aci"), 1, 1);
  const onRetry = () => writeFileSync(join(root, "x.aci"), other);
  const { digest, begins } = await get(t, `http://127.0.0.1:${wire}/x.aci`, undefined, { onRetry });
  assert.equal(digest, sha256(other));
  assert.equal(begins, 2);
});

test("nginx without ranges: started again", async (t) => {
  if (!requires(t, "nginx")) return;
  const { port, file } = await startNginx(t, { location: "max_ranges 0;" });
  const wire = await cutWire(t, port, [size / 2]);
  const { digest, begins } = await get(t, `http://127.0.0.1:${wire}/x.aci`);
  assert.equal(digest, sha256(file));
  assert.equal(begins, 2);
});

test("nginx compressing on the fly is asked not to", async (t) => {
  if (!requires(t, "nginx")) return;
  const { base, file } = await startNginx(t, { location: "gzip on; gzip_types *; gzip_min_length 1;" });
  assert.equal((await get(t, `${base}/x.aci`)).digest, sha256(file));
});

test("nginx over TLS, and its redirects", async (t) => {
  if (!requires(t, "nginx", "openssl")) return;
  const { base, file } = await startNginx(t, {
    tls: true,
    location: "location = /old.aci { return 301 /x.aci; } location = /loop { return 302 /loop; }",
  });
  await assert.rejects(get(t, `${base}/x.aci`), { code: "tls-failure" });
  const insecure = { anyCertificate: true };
  assert.equal((await get(t, `${base}/old.aci`, undefined, insecure)).digest, sha256(file));
  await assert.rejects(get(t, `${base}/loop`, undefined, insecure), { code: "too-many-redirects" });
  await assert.rejects(get(t, `${base}/none`, undefined, insecure), { code: "http-status", status: 404 });
});
