import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { pipeline, Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { answerFile, type FileAnswer, serve } from "../../test/helpers/http-server.ts";
import { type Download, type DownloadOptions, download } from "./download.ts";
import { type HttpOptions, openHttp } from "./http.ts";

const file = randomBytes(1 << 20);
const old = new Date(Date.now() - 3_600_000).toUTCString();

/** The file over and over, `size` bytes in all. */
function* repeat(size: number) {
  for (let sent = 0; sent < size; sent += file.length) yield file;
}

/** Downloads `url`; what a correct consumer has in the end, and how often it began. */
async function run(
  t: TestContext,
  url: string,
  options: Partial<DownloadOptions> = {},
  client: Partial<HttpOptions> = {},
): Promise<{ result: Download; bytes: Buffer; begins: number; retries: string[] }> {
  const retries: string[] = [];
  const http = openHttp({
    env: {},
    idleTimeout: 2000,
    ...client,
    retry: { attempts: 3, firstPause: 1, longestPause: 2 },
    onRetry: (error) => void retries.push(error.message.replace(url, "URL")),
  });
  t.after(() => http.close());
  let parts: Uint8Array[] = [];
  let begins = 0;
  const result = await download(http, new URL(url), {
    begin() {
      parts = [];
      begins++;
    },
    write: (chunk) => void parts.push(chunk),
    ...options,
  });
  return { result, bytes: Buffer.concat(parts), begins, retries };
}

const serveFile = (t: TestContext, answer: FileAnswer) =>
  serve(t, (request, response) => answerFile(request, response, answer));

const quarters = [0, 1, 2, 3].map((n) => (n * file.length) / 4);

for (const validator of [{ etag: '"v1"' }, { lastModified: old }]) {
  for (const breaks of [...quarters.map((q) => [q]), quarters.slice(1)]) {
    test(`broken at ${breaks}, ${Object.keys(validator)}: goes on from there`, async (t) => {
      const server = await serveFile(t, { body: file, ...validator, breaks: [...breaks] });
      const { bytes, begins, result } = await run(t, `${server.base}/x`);
      assert.ok(bytes.equals(file));
      assert.equal(result.changed && result.size, file.length);
      const broken = breaks.filter((at) => at > 0);
      assert.equal(begins, 1 + breaks.length - broken.length);
      assert.deepEqual(
        server.seen.slice(1).map((s) => [s.headers.range, s.headers["if-range"]]),
        breaks.map((at) => (at > 0 ? [`bytes=${at}-`, Object.values(validator)[0]] : [undefined, undefined])),
      );
    });
  }
}

const restarts: { name: string; answer: Omit<FileAnswer, "body"> }[] = [
  { name: "no validator", answer: {} },
  { name: "a weak ETag", answer: { etag: 'W/"v1"' } },
  { name: "a weak ETag and Last-Modified", answer: { etag: 'W/"v1"', lastModified: old } },
  {
    name: "a Last-Modified of this very second",
    answer: { lastModified: new Date().toUTCString(), headers: { date: new Date().toUTCString() } },
  },
  { name: "a server that ignores ranges", answer: { etag: '"v1"', ranges: false } },
];

for (const c of restarts) {
  test(`broken, with ${c.name}: starts again`, async (t) => {
    const server = await serveFile(t, { body: file, ...c.answer, breaks: [file.length / 2] });
    const { bytes, begins } = await run(t, `${server.base}/x`);
    assert.ok(bytes.equals(file));
    assert.equal(begins, 2);
    assert.equal(server.seen[1]?.headers.range === undefined, c.answer.ranges !== false);
  });
}

test("the file changes between two parts: starts again with the new one", async (t) => {
  const other = randomBytes(file.length);
  const server = await serve(t, (request, response) =>
    server.seen.length === 1
      ? answerFile(request, response, { body: file, etag: '"v1"', breaks: [1000] })
      : answerFile(request, response, { body: other, etag: '"v2"' }),
  );
  const { bytes, begins, result } = await run(t, `${server.base}/x`);
  assert.ok(bytes.equals(other));
  assert.equal(begins, 2);
  assert.equal(result.headers["etag"], '"v2"');
});

const lies: { name: string; headers: Record<string, string>; status?: number }[] = [
  { name: "another offset", headers: { "content-range": `bytes 0-${file.length - 1}/${file.length}` } },
  { name: "another total", headers: { "content-range": `bytes 1000-${file.length}/${file.length + 1}` } },
  { name: "a part only", headers: { "content-range": `bytes 1000-2000/${file.length}` } },
  { name: "no range", headers: {} },
  { name: "nonsense", headers: { "content-range": "bytes all" } },
  { name: "another ETag", headers: { "content-range": `bytes 1000-${file.length - 1}/${file.length}`, etag: '"v2"' } },
  { name: "416", status: 416, headers: {} },
];

for (const lie of lies) {
  test(`a range answered with ${lie.name}: starts again`, async (t) => {
    const server = await serve(t, (request, response) => {
      if (request.headers.range === undefined) {
        answerFile(request, response, {
          body: file,
          etag: '"v1"',
          ...(server.seen.length === 1 ? { breaks: [1000] } : {}),
        });
      } else {
        response.writeHead(lie.status ?? 206, lie.headers).end(file.subarray(0, 100));
      }
    });
    const { bytes, begins, retries } = await run(t, `${server.base}/x`);
    assert.ok(bytes.equals(file));
    assert.equal(begins, 2);
    assert.deepEqual(retries, [
      "get URL: connection closed too early",
      lie.status === 416
        ? "get URL: the file has become shorter than 1000 bytes"
        : "get URL: the server answers a range with another one",
    ]);
  });
}

test("without progress it ends after the tries it has", async (t) => {
  const server = await serveFile(t, { body: file, etag: '"v1"', ranges: false, breaks: Array(9).fill(1000) });
  await assert.rejects(run(t, `${server.base}/x`), {
    code: "unreachable",
    message: `get ${server.base}/x: connection closed too early`,
  });
  assert.equal(server.seen.length, 3);
});

test("with progress it goes on beyond the tries it has", async (t) => {
  const breaks = Array.from({ length: 16 }, (_, n) => (n + 1) * 1000);
  const server = await serveFile(t, { body: file, etag: '"v1"', breaks });
  const { bytes } = await run(t, `${server.base}/x`);
  assert.ok(bytes.equals(file));
  assert.equal(server.seen.length, 17);
});

test("a Content-Length beyond the body is a broken transfer", async (t) => {
  const server = await serve(t, (_, response) => {
    response.writeHead(200, { "content-length": "2000", etag: '"v1"' });
    response.write(file.subarray(0, 1000), () => response.destroy());
  });
  await assert.rejects(run(t, `${server.base}/x`), { message: /connection closed too early$/ });
});

test("a body without a length is taken to its end", async (t) => {
  const server = await serve(t, (_, response) => {
    response.writeHead(200, { "transfer-encoding": "chunked" });
    response.write(file.subarray(0, 5000));
    response.end(file.subarray(5000));
  });
  const { bytes } = await run(t, `${server.base}/x`);
  assert.ok(bytes.equals(file));
});

test("a conditional request: 304 costs no body, 200 brings the new file, an unasked 304 is an error", async (t) => {
  const server = await serveFile(t, { body: file, etag: '"v1"' });
  const same = await run(t, `${server.base}/x`, { known: { etag: '"v1"' } });
  assert.deepEqual([same.result.changed, same.begins, same.bytes.length], [false, 0, 0]);
  assert.equal(server.seen[0]?.headers["if-none-match"], '"v1"');
  const changed = await run(t, `${server.base}/x`, { known: { etag: '"v0"' } });
  assert.equal(changed.result.changed, true);
  assert.ok(changed.bytes.equals(file));

  const liar = await serve(t, (_, response) => response.writeHead(304).end());
  await assert.rejects(run(t, liar.base), { code: "http-status", message: /304 Not Modified$/ });
  const partial = await serve(t, (_, response) => response.writeHead(206, { "content-range": "bytes 0-0/1" }).end("x"));
  await assert.rejects(run(t, partial.base), { code: "http-status", message: /206 Partial Content$/ });
});

test("a conditional request that broke does not become a conditional range", async (t) => {
  const server = await serveFile(t, { body: file, etag: '"v2"', breaks: [1000] });
  const { bytes } = await run(t, `${server.base}/x`, { known: { etag: '"v1"' } });
  assert.ok(bytes.equals(file));
  assert.deepEqual(
    server.seen.map((s) => [s.headers["if-none-match"], s.headers.range]),
    [
      ['"v1"', undefined],
      [undefined, "bytes=1000-"],
    ],
  );
});

test("a file of another size than announced by a dependency", async (t) => {
  const server = await serveFile(t, { body: file });
  const endless = await serve(t, (_, response) => {
    pipeline(Readable.from(repeat(Number.POSITIVE_INFINITY)), response, () => {});
  });
  const wrong = (base: string, got: RegExp) =>
    assert.rejects(run(t, `${base}/x`, { size: 1000 }), { code: "wrong-size", message: got });
  await wrong(server.base, /x: 1048576 bytes, and the image that asks for it says 1000$/);
  await wrong(endless.base, /x: \d+ bytes, and the image that asks for it says 1000$/);
  await run(t, `${server.base}/x`, { size: file.length });
});

test("an error of the consumer ends it at once and unchanged", async (t) => {
  const server = await serveFile(t, { body: file, etag: '"v1"' });
  const full = Object.assign(new Error("write: ENOSPC"), { code: "ENOSPC" });
  const write = () => Promise.reject(full);
  await assert.rejects(run(t, `${server.base}/x`, { write }), full);
  assert.equal(server.seen.length, 1);
});

test("an abort in the middle of the body", async (t) => {
  const server = await serve(t, (_, response) => {
    response.writeHead(200, { "content-length": "2000" }).write("x".repeat(1000));
  });
  const controller = new AbortController();
  const reason = new Error("SIGINT");
  const write = () => controller.abort(reason);
  await assert.rejects(run(t, `${server.base}/x`, { write, signal: controller.signal }), reason);
});

test("a slow consumer holds the sender: memory stays bounded", async (t) => {
  const size = 64 << 20;
  let sent = 0;
  const server = await serve(t, (_, response) => {
    response.writeHead(200, { "content-length": String(size) });
    const counted = Readable.from(repeat(size)).on("data", (chunk: Buffer) => {
      sent += chunk.length;
    });
    pipeline(counted.pause(), response, () => {});
  });
  let got = 0;
  let ahead = 0;
  const write = async (chunk: Uint8Array) => {
    got += chunk.length;
    // What was sent and not yet taken: the sockets' buffers and little more.
    ahead = Math.max(ahead, sent - got);
    await new Promise((resolve) => setImmediate(resolve));
  };
  await run(t, `${server.base}/x`, { write });
  assert.equal(got, size);
  assert.ok(ahead < size / 2, `${ahead} bytes ahead`);
});

test("a server that sends little over many tries is given up; what takes the time to be written is not", async (t) => {
  const answer = { body: file.subarray(0, 200), etag: '"v1"' };
  const drops = Array.from({ length: 199 }, (_, i) => i + 1);
  const server = await serveFile(t, { ...answer, breaks: drops });
  const rate = { leastRate: { bytes: 1000, milliseconds: 40 } };
  await assert.rejects(run(t, `${server.base}/x`, {}, rate), { code: "too-slow" });
  const other = await serveFile(t, answer);
  const { result } = await run(t, `${other.base}/x`, { begin: () => sleep(100), write: () => sleep(100) }, rate);
  assert.equal(result.changed && result.size, 200);
});
