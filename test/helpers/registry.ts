/** Debian's `docker-registry`, on a free port of 127.0.0.1, gone when the test ends; and what is pushed to it by skopeo. */

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createPrivateKey, randomUUID, sign, X509Certificate } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestCa } from "./http-server.ts";

export interface RegistryOptions {
  tls?: TestCa;
  /** The one user. */
  htpasswd?: { user: string; password: string };
  /** Tokens by a server of the test's own. */
  token?: { realm: string; ca: TestCa };
}

export interface TestRegistry {
  /** `127.0.0.1:PORT`. */
  host: string;
  /** Of its log, the requests so far: `GET /v2/…`. */
  requests(): Promise<string[]>;
  /** Pushes what another transport of skopeo's has, and gives the manifest's digest. */
  push(from: string, repository: string, args?: readonly string[]): string;
}

const SERVICE = "rkt's test registry";
const ISSUER = "rkt's test issuer";

export async function startRegistry(t: TestContext, { tls, htpasswd, token }: RegistryOptions = {}): Promise<TestRegistry> {
  const dir = mkdtempSync(join(tmpdir(), "rkt-registry-"));
  const port = await freePort();
  const file = (name: string, content: string) => {
    writeFileSync(join(dir, name), content);
    return join(dir, name);
  };
  const auth =
    htpasswd !== undefined
      ? { htpasswd: { realm: "test", path: file("htpasswd", hashed(htpasswd.user, htpasswd.password)) } }
      : token !== undefined
        ? { token: { realm: token.realm, service: SERVICE, issuer: ISSUER, rootcertbundle: token.ca.file } }
        : undefined;
  const config = {
    version: 0.1,
    log: { level: "error", accesslog: { disabled: false } },
    storage: { filesystem: { rootdirectory: join(dir, "data") }, delete: { enabled: true } },
    http: {
      addr: `127.0.0.1:${port}`,
      secret: "test",
      ...(tls === undefined ? {} : { tls: { certificate: file("cert.pem", tls.cert), key: file("key.pem", tls.key) } }),
    },
    ...(auth === undefined ? {} : { auth }),
  };
  const output = openSync(join(dir, "log"), "a");
  const log = () => readFileSync(join(dir, "log"), "utf8");
  // JSON is YAML.
  const child = spawn("docker-registry", ["serve", file("config.yml", JSON.stringify(config))], {
    stdio: ["ignore", output, output],
    env: { PATH: process.env["PATH"] },
  });
  closeSync(output);
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
    rmSync(dir, { recursive: true });
  });
  const host = `127.0.0.1:${port}`;
  const base = `${tls === undefined ? "http" : "https"}://${host}`;
  /** Asks it something, which its log then has. */
  const ask = (path: string): string => {
    const args = ["-sk", "-o", "/dev/null", "-w", "%{http_code}", base + path];
    return spawnSync("curl", args, { encoding: "utf8" }).stdout;
  };
  for (let i = 0; !["200", "401"].includes(ask("/v2/")); i++) {
    assert.ok(i < 200 && child.exitCode === null, `docker-registry does not answer: ${log()}`);
    await sleep(50);
  }
  const credentials = htpasswd === undefined ? [] : [`--dest-creds=${htpasswd.user}:${htpasswd.password}`];
  return {
    host,
    async requests() {
      // What was asked before this is in the log when this is.
      const marker = `/v2/?${randomUUID()}`;
      ask(marker);
      for (let i = 0; !log().includes(marker); i++) {
        assert.ok(i < 200, "docker-registry writes no log");
        await sleep(20);
      }
      const lines = log().matchAll(/"((?:GET|HEAD|POST|PUT) \/v2\/[^?"\s]\S*) HTTP/g);
      return [...lines].map(([, request = ""]) => request);
    },
    push(from, repository, args = []) {
      const digest = join(dir, `digest-${randomUUID()}`);
      const options = ["--insecure-policy", "copy", "--dest-tls-verify=false", `--digestfile=${digest}`];
      execFileSync("skopeo", [...options, ...credentials, ...args, from, `docker://${host}/${repository}`], { stdio: "pipe" });
      return readFileSync(digest, "utf8");
    },
  };
}

function hashed(user: string, password: string): string {
  return execFileSync("htpasswd", ["-Bbn", user, password], { encoding: "utf8" });
}

/** A token as docker-registry checks it: signed by a certificate of the test's CA, for one repository. */
export function registryToken(ca: TestCa, repository: string, actions: readonly string[] = ["pull"], service = SERVICE): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const header = { typ: "JWT", alg: "ES256", x5c: [new X509Certificate(ca.cert).raw.toString("base64")] };
  const claims = {
    iss: ISSUER,
    sub: "me",
    aud: service,
    exp: now + 300,
    nbf: now - 10,
    iat: now,
    jti: randomUUID(),
    access: [{ type: "repository", name: repository, actions }],
  };
  const signed = `${part(header)}.${part(claims)}`;
  const signature = sign("sha256", Buffer.from(signed), { key: createPrivateKey(ca.key), dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
