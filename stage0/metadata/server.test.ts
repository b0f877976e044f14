/** The service's sockets, against clients that are slow, many, or speak no HTTP. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { DEFAULT_DATA_DIR, dataLayout } from "../../shared/contract/data-directory.ts";
import { DEFAULT_LISTEN, type Limits, listen, type Respond } from "./server.ts";

const GENEROUS: Limits = { body: 1000, head: 4096, time: 10_000, connections: 1024, connectionsOfAddress: 1024 };

/** A service that tells what it was asked, and of a POST what the body was. */
async function start(t: TestContext, limits: Partial<Limits> = {}, respond: Respond = echo) {
  const listener = await listen("127.0.0.1:0", respond, { ...GENEROUS, ...limits });
  t.after(() => listener.close());
  return Number(new URL(listener.url).port);
}

const echo: Respond = ({ method, path, source, body }) => {
  if (method === "POST" && body === undefined && path === "/sign") return undefined;
  const text = `${method} ${path} of ${source}${body === undefined ? "" : `: ${body.length}`}`;
  return { status: 200, type: "text/plain", body: text };
};

interface Told {
  status: number | undefined;
  body: string;
}

function ask(port: number, path = "/", headers: Record<string, string> = {}, body?: Buffer): Promise<Told> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? "GET" : "POST";
    const asked = request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => resolve({ status: response.statusCode, body: Buffer.concat(parts).toString() }));
    });
    asked.on("error", reject);
    // Who waits for "100 Continue" sends when it comes.
    if (headers["expect"] === undefined) asked.end(body);
    else {
      asked.flushHeaders();
      asked.on("continue", () => asked.end(body));
    }
  });
}

interface Raw {
  socket: Socket;
  /** What comes back until the connection is ended, and after how many milliseconds that is. */
  ended: Promise<[string, number]>;
}

function raw(port: number, ...pieces: (string | Buffer)[]): Raw {
  return rawFrom("127.0.0.1", port, ...pieces);
}

function rawFrom(localAddress: string, port: number, ...pieces: (string | Buffer)[]): Raw {
  const begun = performance.now();
  const socket = connect({ host: "127.0.0.1", port, localAddress });
  const parts: Buffer[] = [];
  socket.on("data", (part: Buffer) => parts.push(part));
  socket.on("error", () => {});
  for (const piece of pieces) socket.write(piece);
  const ended = new Promise<[string, number]>((resolve) => {
    socket.on("close", () => resolve([Buffer.concat(parts).toString("latin1"), performance.now() - begun]));
  });
  return { socket, ended };
}

/** Node.js says 408, Bun nothing. */
const CUT_OFF = /^$|^HTTP\/1\.1 408 /;
const slow: [name: string, beginning: string, more: string, end: RegExp][] = [
  ["says nothing", "", "", CUT_OFF],
  ["never ends its first line", "GET /", "a", CUT_OFF],
  ["never ends its headers", "GET / HTTP/1.1\r\nHost: a\r\n", "X: y\r\n", CUT_OFF],
  ["never ends its body", "POST /sign HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n", "a", CUT_OFF],
  ["keeps its connection", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", /^HTTP\/1\.1 200 /],
];
for (const [name, beginning, more, end] of slow)
  test(`a client that ${name} stops nobody, and is cut off`, async (t) => {
    const port = await start(t, { time: 1000 });
    const clients = Array.from({ length: 20 }, () => raw(port, beginning));
    const drip = setInterval(() => {
      if (more !== "") for (const { socket } of clients) socket.write(more);
    }, 100);
    t.after(() => clearInterval(drip));
    const begun = performance.now();
    assert.equal((await ask(port, "/other")).status, 200);
    assert.ok(performance.now() - begun < 900, "while they are slow");
    for (const [said, milliseconds] of await Promise.all(clients.map(({ ended }) => ended))) {
      assert.match(said, end);
      assert.ok(milliseconds < 5000, `${milliseconds} ms`);
    }
  });

test("a client that reads nothing of what it has asked for is cut off", async (t) => {
  const much = "x".repeat(16 * 1024 * 1024);
  const port = await start(t, { time: 300 }, () => ({ status: 200, type: "text/plain", body: much }));
  const { socket, ended } = raw(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  socket.pause();
  await new Promise((resolve) => setTimeout(resolve, 3000));
  socket.resume();
  const [said] = await ended;
  assert.ok(said.length < much.length);
});

test("who keeps connections loses the oldest; who asks has the answer", async (t) => {
  const port = await start(t, { connections: 50 });
  const keepers = Array.from({ length: 200 }, () => raw(port, "GET / HT"));
  const first = await Promise.race(keepers.map(({ ended }, i) => ended.then(() => i)));
  assert.ok(first < 150);
  for (let i = 0; i < 20; i++) assert.equal((await ask(port)).status, 200);
  await new Promise((resolve) => setTimeout(resolve, 200));
  const left = keepers.filter(isOpen).length;
  assert.ok(left <= 50, `${left} are left`);
  for (const { socket } of keepers) socket.destroy();
});

const isOpen = ({ socket }: Raw) => !socket.destroyed && socket.readyState === "open";

test("who keeps connections takes none of another address's", async (t) => {
  const port = await start(t, { connections: 20, connectionsOfAddress: 10 });
  const quiet = Array.from({ length: 5 }, () => rawFrom("127.0.0.2", port, "GET / HT"));
  for (const { socket } of quiet) await once(socket, "connect");
  // One address by itself, then three that together are too many.
  const keepers = ["127.0.0.3", "127.0.0.4", "127.0.0.5"].flatMap((address) =>
    Array.from({ length: 50 }, () => rawFrom(address, port, "GET / HT")),
  );
  const losers = keepers.length - (20 - quiet.length);
  let lost = 0;
  await new Promise<void>((resolve) => {
    for (const { ended } of keepers) ended.then(() => ++lost === losers && resolve());
  });
  assert.equal(keepers.filter(isOpen).length, 15);
  assert.equal(quiet.filter(isOpen).length, 5);
  assert.equal((await ask(port)).status, 200);
  for (const { socket } of [...keepers, ...quiet]) socket.destroy();
});

test("a connection that asks is not the one that is given up", async (t) => {
  const port = await start(t, { connections: 10 });
  const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const { socket, ended } = raw(port, GET);
  let answers = 0;
  socket.on("data", (part) => {
    answers += String(part).split("HTTP/1.1 200").length - 1;
  });
  const keepers: Socket[] = [];
  for (let i = 0; i < 40; i++) {
    keepers.push(raw(port, "GET / HT").socket);
    socket.write(GET);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(answers, 41);
  for (const keeper of keepers) keeper.destroy();
  socket.destroy();
  await ended;
});

for (const [name, status, ...pieces] of [
  ["a word for no method", 405, "FETCH / HTTP/1.1\r\nHost: a\r\n\r\n"],
  ["headers without an end", 431, `GET / HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(5000)}`],
  ["a path without an end", 431, `GET /${"a".repeat(5000)}`],
  ["no HTTP", 405, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
  ["two lengths", 400, "POST /sign HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
  [
    "a length and chunks",
    400,
    "POST /sign HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  ["a NUL in a header", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"],
] as [string, number, string][])
  test(`${name}: ${status}`, async (t) => {
    const port = await start(t);
    const [said] = await raw(port, ...pieces).ended;
    assert.match(said, new RegExp(`^HTTP/1\\.1 ${status} `));
    if (status === 405) assert.match(said, /^Allow: GET, POST\r$/m);
    assert.equal((await ask(port)).status, 200);
  });

test("a body has a limit, told or not, awaited or not", async (t) => {
  const port = await start(t);
  const post = (size: number, headers: Record<string, string> = {}) => ask(port, "/sign", headers, Buffer.alloc(size));
  const chunked = { "transfer-encoding": "chunked" };
  const length = (size: number) => ({ "content-length": String(size) });
  const expect = { expect: "100-continue" };
  assert.deepEqual(await post(1000), { status: 200, body: "POST /sign of 127.0.0.1: 1000" });
  for (const headers of [{}, chunked, { ...expect, ...length(1001) }, { ...expect, ...chunked }])
    assert.deepEqual((await post(1001, headers)).status, 413, JSON.stringify(headers));
  for (const headers of [chunked, { ...expect, ...length(1000) }, { ...expect, ...chunked }])
    assert.deepEqual((await post(1000, headers)).status, 200, JSON.stringify(headers));
});

test("a body that is not wanted is not read", async (t) => {
  const bodies: (number | undefined)[] = [];
  const port = await start(t, {}, ({ body }) => {
    bodies.push(body?.length);
    return { status: 403, type: "text/plain", body: "" };
  });
  const { socket, ended } = raw(port, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
  const flood = setInterval(() => socket.write(Buffer.alloc(65536)), 5);
  t.after(() => clearInterval(flood));
  const [said, milliseconds] = await ended;
  assert.match(said, /^HTTP\/1\.1 403 /);
  assert.ok(milliseconds < 5000);
  assert.deepEqual(bodies, [undefined]);
});

test("a client is who it connects as, whatever it says", async (t) => {
  const port = await start(t);
  const headers = Object.fromEntries(
    ["x-forwarded-for", "x-real-ip", "x-client-ip", "forwarded", "via", "host"].map((name) => [name, "172.16.0.2"]),
  );
  assert.equal((await ask(port, "/", headers)).body, "GET / of 127.0.0.1");
});

test("paths are given on as they came", async (t) => {
  const port = await start(t);
  for (const path of ["/a/../b", "//a", "/a%2f..%2fb", "/./a"]) {
    const [said] = await raw(port, `GET ${path}?c=/../d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`).ended;
    assert.ok(said.includes(`\r\n\r\nGET ${path} of `), said);
  }
});

test("a HEAD has the headers of the answer, and no body", async (t) => {
  const port = await start(t, {}, () => ({ status: 405, type: "text/plain", body: "this takes GET\n", allow: "GET" }));
  const [said] = await raw(port, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ended;
  assert.match(said, /^HTTP\/1\.1 405 /);
  assert.match(said, /^allow: GET\r$/m);
  assert.match(said, /\r\n\r\n$/);
});

test("the socket unit listens where rkt looks for the service", () => {
  const text = readFileSync(join(import.meta.dirname, "../../examples/systemd/rkt-metadata.socket"), "utf8");
  const listens = [...text.matchAll(/^ListenStream=(.*)$/gm)].map(([, at]) => at);
  assert.deepEqual(listens, [DEFAULT_LISTEN, dataLayout(DEFAULT_DATA_DIR).metadataActivation]);
  assert.match(text, /^SocketMode=0600$/m);
});
