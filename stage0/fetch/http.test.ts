import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import type { ServerResponse } from "node:http";
import { connect, createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { makeCa, serve } from "../../test/helpers/http-server.ts";
import { fetchBytes } from "./fetch-bytes.ts";
import { type HttpOptions, openHttp } from "./http.ts";
import type { HttpError } from "./http-error.ts";
import { plainHref } from "./plain-href.ts";

const quick = { attempts: 3, firstPause: 1, longestPause: 2, longestRetryAfter: 1000 };

function open(t: TestContext, options: HttpOptions = {}) {
  const http = openHttp({ env: {}, retry: quick, ...options });
  t.after(() => http.close());
  return http;
}

const text = async (http: ReturnType<typeof openHttp>, url: string) =>
  (await fetchBytes(http, new URL(url), { limit: 1000 })).bytes.toString();

for (const status of [301, 302, 303, 307, 308]) {
  test(`a ${status} is followed, relative to its URL`, async (t) => {
    const server = await serve(t, (request, response) => {
      if (request.url === "/a/b?q") response.writeHead(status, { location: "../c" }).end("moved");
      else response.end(request.url);
    });
    const answer = await fetchBytes(open(t), new URL(`${server.base}/a/b?q`), { limit: 100 });
    assert.equal(answer.bytes.toString(), "/c");
    assert.equal(answer.url.href, `${server.base}/c`);
  });
}

test("a redirect loop ends", async (t) => {
  const server = await serve(t, (_, response) => response.writeHead(302, { location: "/x" }).end());
  await assert.rejects(text(open(t), `${server.base}/x`), {
    code: "too-many-redirects",
    message: `get ${server.base}/x: more than 10 redirects`,
  });
  assert.equal(server.seen.length, 11);
});

for (const location of ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x"]) {
  test(`a redirect to ${location} is refused`, async (t) => {
    const server = await serve(t, (_, response) => response.writeHead(302, { location }).end());
    await assert.rejects(text(open(t), server.base), {
      code: "bad-redirect",
      message: `get ${server.base}/: redirects to a ${new URL(location).protocol} URL`,
    });
  });
}

test("https: trusts the machine's CAs, says why it does not, and is not quietly left for http", async (t) => {
  const ca = makeCa(t);
  const plain = await serve(t, (_, response) => response.end("plain"));
  const secure = await serve(
    t,
    (request, response) => {
      if (request.url === "/down") response.writeHead(302, { location: plain.base }).end();
      else response.end("secure");
    },
    { tls: ca },
  );
  await assert.rejects(text(open(t), secure.base), (error: HttpError) => {
    assert.equal(error.code, "tls-failure");
    assert.match(error.message, /^get https:\/\/127\.0\.0\.1:\d+\/: TLS: .*certificate/);
    assert.match(error.hint ?? "", /--insecure-options=tls/);
    return true;
  });
  assert.equal(secure.seen.length, 0);
  assert.equal(await text(open(t, { anyCertificate: true }), secure.base), "secure");
  await assert.rejects(text(open(t, { anyCertificate: true }), `${secure.base}/down`), {
    code: "bad-redirect",
    hint: "--insecure-options=http allows it",
  });
  assert.equal(await text(open(t, { anyCertificate: true, plainHttp: true }), `${secure.base}/down`), "plain");

  // SSL_CERT_FILE is read once in a process: a fresh one sees it.
  const script = `
    import { fetchBytes } from ${JSON.stringify(new URL("./fetch-bytes.ts", import.meta.url).href)};
    import { openHttp } from ${JSON.stringify(new URL("./http.ts", import.meta.url).href)};
    const http = openHttp();
    const { bytes } = await fetchBytes(http, new URL(process.argv[1]), { limit: 100 });
    console.log(bytes.toString());
    await http.close();`;
  const run = promisify(execFile);
  const env = { SSL_CERT_FILE: ca.file, SSL_CERT_DIR: "/" };
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script, "--", secure.base], { env });
  assert.equal(stdout, "secure\n");
});

test("the certificate must be for the host", async (t) => {
  const ca = makeCa(t, "DNS:other.example");
  const secure = await serve(t, (_, response) => response.end("x"), { tls: ca });
  const script = `
    import { openHttp } from ${JSON.stringify(new URL("./http.ts", import.meta.url).href)};
    await openHttp().get(new URL(process.argv[1])).catch((e) => { console.log(e.code, e.cause.code); process.exit(); });`;
  const run = promisify(execFile);
  const env = { SSL_CERT_FILE: ca.file, SSL_CERT_DIR: "/" };
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script, "--", secure.base], { env });
  assert.equal(stdout, "tls-failure ERR_TLS_CERT_ALTNAME_INVALID\n");
});

test("credentials: per host on every hop, over https only, never printed", async (t) => {
  const ca = makeCa(t);
  const other = await serve(t, (_, response) => response.writeHead(401).end(), { tls: ca });
  const first = await serve(
    t,
    (request, response) => {
      if (request.url === "/away") response.writeHead(302, { location: `${other.base}/x?token=sesame` }).end();
      else response.end("ok");
    },
    { tls: ca },
  );
  const plain = await serve(t, (_, response) => response.end("ok"));
  const credentialsFor = (url: URL) =>
    url.port === String(other.port) ? undefined : { authorization: "Bearer secret" };
  const http = open(t, { anyCertificate: true, credentialsFor });

  await text(http, first.base);
  assert.equal(first.seen[0]?.headers.authorization, "Bearer secret");

  await assert.rejects(text(http, `${first.base}/away`), (error: HttpError) => {
    assert.equal(error.message, `get ${other.base}/x?…: 401 Unauthorized`);
    assert.equal(error.hint, `credentials for ${new URL(other.base).host} go into a file below /etc/rkt/auth.d`);
    return true;
  });
  assert.equal(other.seen[0]?.headers.authorization, undefined);

  await text(http, plain.base);
  assert.equal(plain.seen[0]?.headers.authorization, undefined);
  await text(open(t, { plainHttp: true, credentialsFor }), plain.base);
  assert.equal(plain.seen[1]?.headers.authorization, "Bearer secret");

  const withUser = (base: string) => base.replace("//", "//me:p%40ss@");
  await assert.rejects(
    text(http, `${withUser(first.base)}/away`),
    (error: HttpError) => !/p@ss|p%40/.test(error.message),
  );
  assert.equal(first.seen.at(-1)?.headers.authorization, `Basic ${Buffer.from("me:p@ss").toString("base64")}`);
  assert.equal(other.seen.at(-1)?.headers.authorization, undefined);
});

const statuses: { status: number; headers?: Record<string, string>; tries: number; hint: RegExp }[] = [
  { status: 202, tries: 1, hint: /address/ },
  { status: 206, tries: 1, hint: /address/ },
  { status: 304, tries: 1, hint: /address/ },
  { status: 400, tries: 1, hint: /address/ },
  { status: 401, tries: 1, hint: /auth\.d/ },
  { status: 403, tries: 1, hint: /credentials/ },
  { status: 404, tries: 1, hint: /no such file/ },
  { status: 410, tries: 1, hint: /no more/ },
  { status: 429, tries: 3, hint: /again later/ },
  { status: 500, tries: 3, hint: /again later/ },
  { status: 503, tries: 3, headers: { "retry-after": "0" }, hint: /again later/ },
  { status: 503, tries: 1, headers: { "retry-after": "3600" }, hint: /again later/ },
];

for (const c of statuses) {
  test(`status ${c.status} ${JSON.stringify(c.headers ?? {})} is an error after ${c.tries} request(s)`, async (t) => {
    const server = await serve(t, (_, response) => response.writeHead(c.status, c.headers).end());
    await assert.rejects(text(open(t), `${server.base}/x`), (error: HttpError) => {
      assert.equal(error.code, "http-status");
      assert.match(error.message, new RegExp(`^get ${server.base}/x: ${c.status} [A-Z][A-Za-z ]+$`));
      assert.match(error.hint ?? "", c.hint);
      return true;
    });
    assert.equal(server.seen.length, c.tries);
  });
}

test("a failure that passes is retried, and said", async (t) => {
  const server = await serve(t, (_, response) => {
    if (server.seen.length === 1) response.writeHead(503, { "retry-after": new Date().toUTCString() }).end();
    else if (server.seen.length === 2) response.socket?.destroy();
    else response.end("at last");
  });
  const said: string[] = [];
  const http = open(t, { onRetry: (error) => void said.push(error.message) });
  assert.equal(await text(http, `${server.base}/x`), "at last");
  assert.deepEqual(said, [
    `get ${server.base}/x: 503 Service Unavailable`,
    `get ${server.base}/x: connection closed too early`,
  ]);
});

test("bytes beyond the limit", async (t) => {
  const server = await serve(t, (_, response) => response.end("x".repeat(2000)));
  await assert.rejects(text(open(t), server.base), { code: "too-big" });
  const cut = await fetchBytes(open(t), new URL(server.base), { limit: 1000, cut: true });
  assert.ok(cut.bytes.length >= 1000);
});

test("a host out of reach, and something that is no web server", async (t) => {
  const closed = await new Promise<number>((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
  await assert.rejects(text(open(t), `http://127.0.0.1:${closed}/`), {
    code: "unreachable",
    message: `get http://127.0.0.1:${closed}/: connection refused`,
    hint: /port/,
  });
  const talker = createServer((socket) =>
    socket
      .on("error", () => {})
      .resume()
      .end("SSH-2.0-x\r\n"),
  );
  await new Promise<void>((resolve) => talker.listen(0, "127.0.0.1", resolve));
  t.after(() => new Promise((resolve) => talker.close(resolve)));
  const address = talker.address();
  const port = typeof address === "object" ? address?.port : 0;
  await assert.rejects(text(open(t), `http://127.0.0.1:${port}/`), { code: "not-http", hint: /port/ });
  await assert.rejects(text(open(t, { anyCertificate: true }), `https://127.0.0.1:${port}/`), {
    code: "tls-failure",
    message: /: TLS: (wrong version number|packet length too long)$/,
    hint: /plain http/,
  });
});

test("silence ends a request: before the headers and in the body", async (t) => {
  const server = await serve(t, (request, response) => {
    if (request.url === "/body") response.writeHead(200, { "content-length": "10" }).write("x");
  });
  const http = open(t, { idleTimeout: 50, retry: { attempts: 1 } });
  await assert.rejects(text(http, `${server.base}/headers`), {
    code: "unreachable",
    message: /headers: the server does not answer$/,
  });
  await assert.rejects(text(http, `${server.base}/body`), {
    code: "unreachable",
    message: /the server stopped sending$/,
  });
});

test("an abort ends a request with the signal's reason, also between two tries", async (t) => {
  const reason = new Error("SIGINT");
  const silent = await serve(t, () => {});
  for (const options of [{ retry: quick }, { retry: { attempts: 2, firstPause: 60_000, longestPause: 60_000 } }]) {
    const controller = new AbortController();
    const failing = await serve(t, (_, response) => response.writeHead(500).end());
    const http = open(t, { ...options, onRetry: () => controller.abort(reason) });
    const url = options.retry === quick ? silent.base : failing.base;
    const pending = fetchBytes(http, new URL(url), { limit: 10, signal: controller.signal });
    if (url === silent.base) setTimeout(() => controller.abort(reason), 20);
    await assert.rejects(pending, reason);
  }
});

test("proxies of the environment: CONNECT for https, the whole URL for http, NO_PROXY", async (t) => {
  const ca = makeCa(t);
  const plain = await serve(t, (request, response) => response.end(`plain ${request.url}`));
  const secure = await serve(t, (request, response) => response.end(`secure ${request.url}`), { tls: ca });
  const asked: string[] = [];
  const proxy = await serve(t, async (request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers["proxy-authorization"] ?? "-"}`);
    const answer = await fetch(request.url ?? "");
    response.end(await answer.text());
  });
  proxy.server.on("connect", (request, socket, head) => {
    asked.push(`${request.method} ${request.url} ${request.headers["proxy-authorization"] ?? "-"}`);
    if (request.headers["proxy-authorization"] === undefined) {
      socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
      return;
    }
    const [host, port] = (request.url ?? "").split(":");
    const upstream = connect(Number(port), host, () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      upstream.write(head);
      upstream.pipe(socket).pipe(upstream);
    });
    for (const end of [socket, upstream]) end.on("error", () => {});
  });
  const address = `127.0.0.1:${proxy.port}`;
  const basic = `Basic ${Buffer.from("u:p").toString("base64")}`;

  const http = open(t, { anyCertificate: true, env: { HTTP_PROXY: address, https_proxy: `http://u:p@${address}` } });
  assert.equal(await text(http, `${plain.base}/a`), "plain /a");
  assert.equal(await text(http, `${secure.base}/b`), "secure /b");
  assert.deepEqual(asked, [`GET ${plain.base}/a -`, `CONNECT ${new URL(secure.base).host} ${basic}`]);

  const anonymous = open(t, { anyCertificate: true, env: { https_proxy: address } });
  await assert.rejects(text(anonymous, secure.base), {
    code: "unreachable",
    message: `get ${secure.base}/: the proxy answers 407`,
    hint: /password/,
  });

  const direct = open(t, { env: { HTTP_PROXY: address, no_proxy: "example.com,127.0.0.1" } });
  asked.length = 0;
  assert.equal(await text(direct, `${plain.base}/a`), "plain /a");
  assert.deepEqual(asked, []);

  await assert.rejects(text(open(t, { env: { http_proxy: "http://[" } }), plain.base), {
    code: "bad-proxy",
    message: 'environment variable http_proxy: "http://[" is no URL',
  });
});

test("loading the module does not load undici", async () => {
  const script = `
    import ${JSON.stringify(new URL("./http.ts", import.meta.url).href)};
    import { createRequire } from "node:module";
    console.log(Object.keys(createRequire("/").cache).some((path) => path.includes("undici")));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  assert.equal(stdout, "false\n");
});

test("userinfo that does not decode: a redirect's is dropped, a person's is named with the way out, and neither is said", async (t) => {
  const server = await serve(t, (request, response) => {
    if (request.url === "/there") return response.end("there");
    return response.writeHead(302, { location: `http://u:%zz@${request.headers.host}/there` }).end();
  });
  const http = openHttp({ env: {} });
  t.after(() => http.close());
  const { bytes } = await fetchBytes(http, new URL(`${server.base}/`), { limit: 10 });
  assert.equal(bytes.toString(), "there");
  const own = new URL(server.base.replace("//", "//me:pw%zz@"));
  await assert.rejects(fetchBytes(http, own, { limit: 10 }), {
    code: "bad-url",
    message: `get ${server.base}/: the URL's user or password is not percent-encoded`,
  });
  assert.equal(plainHref(own), `${server.base}/`);
});

test("a small document that comes in drops is given up", async (t) => {
  const server = await serve(t, (_, response) => drip(response, 100));
  const http = openHttp({ env: {}, leastRate: { bytes: 1000, milliseconds: 50 } });
  t.after(() => http.close());
  const fetched = fetchBytes(http, new URL(server.base), { limit: 1000 });
  await assert.rejects(fetched, { code: "too-slow", message: /the server sends too slowly, \d+ bytes in / });
  assert.equal(server.seen.length, 1, "it is not tried again");
});

/** So many bytes, one at a time, and then the end. */
function drip(response: ServerResponse, bytes: number): void {
  const timer = setInterval(() => {
    response.write("x");
    bytes--;
    if (bytes > 0) return;
    clearInterval(timer);
    response.end();
  }, 5);
  response.once("close", () => clearInterval(timer));
}
