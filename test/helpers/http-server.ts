/** Web servers for tests, by default on a free port of 127.0.0.1. They end with the test. For https there is a CA. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

export interface Seen {
  method: string;
  url: string;
  headers: IncomingMessage["headers"];
}

export interface TestServer {
  /** `http://127.0.0.1:PORT`, no slash at the end. */
  base: string;
  port: number;
  /** Requests so far. */
  seen: Seen[];
  server: Server;
}

export async function serve(
  t: TestContext,
  handler: RequestListener,
  options: { tls?: { key: string; cert: string }; host?: string; port?: number } = {},
): Promise<TestServer> {
  const seen: Seen[] = [];
  const listener: RequestListener = (request, response) => {
    seen.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    handler(request, response);
  };
  const server = options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener);
  const host = options.host ?? "127.0.0.1";
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, host, resolve));
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return { base: `${options.tls === undefined ? "http" : "https"}://${host}:${port}`, port, seen, server };
}

export interface FileAnswer {
  body: Buffer;
  etag?: string;
  lastModified?: string;
  headers?: Record<string, string>;
  /** Byte offsets of the file at which the connection breaks, one per request. */
  breaks?: number[];
  /** false: the server ignores Range. */
  ranges?: boolean;
}

/** Answers like a web server with one file: with conditions and ranges, and with the wanted faults. */
export function answerFile(request: IncomingMessage, response: ServerResponse, file: FileAnswer): void {
  const headers: Record<string, string> = { "content-type": "application/octet-stream", ...file.headers };
  if (file.etag !== undefined) headers["etag"] = file.etag;
  if (file.lastModified !== undefined) headers["last-modified"] = file.lastModified;
  const { "if-none-match": etag, "if-modified-since": lastModified } = request.headers;
  if (etag !== undefined ? etag === file.etag : lastModified !== undefined && lastModified === file.lastModified) {
    response.writeHead(304, headers).end();
    return;
  }
  let start = 0;
  let status = 200;
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
  const condition = request.headers["if-range"];
  if (range !== null && file.ranges !== false && (condition === file.etag || condition === file.lastModified)) {
    start = Number(range[1]);
    if (start >= file.body.length) {
      response.writeHead(416, { "content-range": `bytes */${file.body.length}` }).end();
      return;
    }
    status = 206;
    headers["content-range"] = `bytes ${start}-${file.body.length - 1}/${file.body.length}`;
  }
  headers["content-length"] ??= String(file.body.length - start);
  response.writeHead(status, headers);
  const end = file.breaks?.shift();
  if (end === undefined) {
    response.end(file.body.subarray(start));
    return;
  }
  // Waits before it breaks the connection, so that the reader has read what was sent: data in its buffers would be
  // lost.
  response.write(file.body.subarray(start, end), () => setTimeout(() => response.destroy(), 100));
}

export interface TestCa {
  /** PEM file of the CA's certificate. */
  file: string;
  key: string;
  cert: string;
}

/** Makes a CA with openssl, and a certificate that it has signed for `names` (`DNS:localhost`, `IP:127.0.0.1`). */
export function makeCa(t: TestContext, names = "DNS:localhost,IP:127.0.0.1"): TestCa {
  const dir = mkdtempSync(join(tmpdir(), "rkt-ca-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl("req", "-x509", ...newKey, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA", "-days", "2");
  openssl("req", ...newKey, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=test");
  writeFileSync(join(dir, "names"), `subjectAltName=${names}\n`);
  const sign = ["-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
  openssl("x509", ...sign, "-extfile", "names", "-out", "cert.pem");
  const read = (name: string) => readFileSync(join(dir, name), "utf8");
  return { file: join(dir, "ca.pem"), key: read("key.pem"), cert: read("cert.pem") };
}
