import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { serve } from "../../test/helpers/http-server.ts";

const module = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);

/** A process of its own, as a command is one: fetches argv[2] into the store argv[1], unverified. */
const program = `
  import { fetchImage } from ${module("./fetch.ts")};
  import { parseImageReference } from ${module("./sources.ts")};
  import { openFetch } from ${module("./open-fetch.ts")};
  import { openStore } from ${module("../store/store.ts")};
  const [dir, url] = process.argv.slice(1);
  const store = openStore(dir);
  const fetching = openFetch({ store, insecure: new Set(["image"]), pullPolicy: "new", quiet: false });
  try {
    await fetchImage({ image: parseImageReference(url) }, fetching.context);
    console.log("fetched");
  } catch (error) {
    console.log(error.code, error.exitCode, error.message);
  } finally {
    await fetching.close();
    store.close();
  }`;

function start(t: TestContext, dir: string, url: string): ChildProcess {
  const env = { PATH: process.env["PATH"] };
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", program, "--", dir, url], { env });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

/** Serves the beginning of something that may be an image, and says when it has; the rest never comes. */
async function unfinished(t: TestContext) {
  const sent = Promise.withResolvers<void>();
  const server = await serve(t, (_, response) => {
    response.writeHead(200, { "content-length": "1000000" });
    response.write(gzipSync(Buffer.alloc(1 << 16)), () => sent.resolve());
  });
  return { base: server.base, sent: sent.promise };
}

const storeDir = (t: TestContext) => {
  const dir = mkdtempSync(join(tmpdir(), "rkt-interrupt-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
};

async function waitFor<T>(look: () => T | undefined | false): Promise<T> {
  for (;;) {
    const found = look();
    if (found !== undefined && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const temporaries = (dir: string): string[] => {
  try {
    return readdirSync(dataLayout(dir).tmp);
  } catch {
    return [];
  }
};

for (const [signal, status] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const) {
  test(`${signal} in the middle of a download ends it in order`, async (t) => {
    const { base, sent } = await unfinished(t);
    const dir = storeDir(t);
    const child = start(t, dir, `${base}/x.aci`);
    await sent;
    await waitFor(() => temporaries(dir).length > 0);
    child.kill(signal);
    assert.ok(child.stdout !== null && child.stderr !== null);
    assert.equal(await text(child.stdout), `interrupted ${status} ended by ${signal}\n`);
    assert.deepEqual(temporaries(dir), []);
  });
}

test("SIGKILL leaves what the next fetch takes away", async (t) => {
  const { base, sent } = await unfinished(t);
  const dir = storeDir(t);
  const child = start(t, dir, `${base}/x.aci`);
  await sent;
  const left = await waitFor(() => temporaries(dir)[0]);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
  assert.deepEqual(temporaries(dir), [left]);

  const next = await unfinished(t);
  const second = start(t, dir, `${next.base}/x.aci`);
  await next.sent;
  await waitFor(() => temporaries(dir).length > 0 && !temporaries(dir).includes(left));
  second.kill("SIGINT");
  assert.ok(second.stdout !== null);
  await text(second.stdout);
  assert.deepEqual(temporaries(dir), []);
});

test("what goes wrong and is tried again is said", async (t) => {
  const server = await serve(t, (_, response) => {
    if (server.seen.length === 1) response.writeHead(503, { "retry-after": "0" }).end();
    else response.writeHead(404).end();
  });
  const child = start(t, storeDir(t), `${server.base}/x.aci`);
  assert.ok(child.stdout !== null && child.stderr !== null);
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  assert.equal(out, `http-status 254 get ${server.base}/x.aci: 404 Not Found\n`);
  assert.deepEqual(err.split("\n"), [
    `rkt: fetching image from ${server.base}/x.aci`,
    "rkt: warning: the image's signature is not checked",
    `rkt: get ${server.base}/x.aci: 503 Service Unavailable; trying again in 0 s`,
    "",
  ]);
});
