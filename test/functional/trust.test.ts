/** `rkt trust`: whom this machine lets sign images, in directories that gpg and rkt of old can read too. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { keystoreLayout } from "../../shared/contract/configuration.ts";
import { makeGpg } from "../fixtures/gpg.ts";
import { makeCa, serve } from "../helpers/http-server.ts";
import { finished, makeRkt, type Result, requires, scratchFile } from "../helpers/rkt.ts";

const gpg = makeGpg();
const alice = gpg.newKey("alice");
const bob = gpg.newKey("bob", { algorithm: "rsa2048", usage: "cert" });
const bobsSubkey = gpg.addSigningSubkey(bob);

function makeTrust(t: TestContext) {
  const rkt = makeRkt(t);
  const system = join(rkt.scratch, "system");
  const local = join(rkt.scratch, "local");
  const dirs = [`--system-config=${system}`, `--local-config=${local}`];
  return {
    system: keystoreLayout(system),
    local: keystoreLayout(local),
    args: (...args: string[]) => [...dirs, "trust", ...args],
    ok: (...args: string[]) => rkt.ok([...dirs, "trust", ...args]),
    fails: (status: number, message: RegExp, ...args: string[]) => {
      const result = rkt.fails([...dirs, "trust", ...args], status, message);
      assert.equal(result.stdout, "");
    },
    /** While a server of this process answers. */
    async start(args: readonly string[], env: Record<string, string> = {}): Promise<Result> {
      return finished(rkt.start([...dirs, "trust", ...args], { env: { ...process.env, ...env } }));
    },
    /** As typed at a terminal. */
    typed(answer: string, ...args: string[]): string {
      const line = ["--dir=data", ...dirs, "trust", ...args].map((word) => `'${word}'`).join(" ");
      const command = `'${join(import.meta.dirname, "../../dist/rkt")}' ${line}; echo "status $?"`;
      const options = { cwd: rkt.scratch, input: answer, encoding: "utf8", timeout: 60_000 } as const;
      return execFileSync("script", ["-qec", command, "/dev/null"], options);
    },
    key: (name: string, content: string | Buffer) => scratchFile(rkt, name, content),
  };
}

const YES = "--skip-fingerprint-review";

test("a key in a file: where rkt keeps keys, as gpg reads them", (t) => {
  if (!requires(t, "build", "gpg")) return;
  const trust = makeTrust(t);
  const file = trust.key("bob.asc", gpg.export(bob));

  const { stdout, stderr } = trust.ok("--prefix=example.com/app", YES, file);
  assert.equal(stdout, "");
  const path = join(trust.local.prefix("example.com/app"), bob);
  assert.match(path, /\/trustedkeys\/prefix\.d\/example\.com\/app\/[0-9a-f]{40}$/);
  const spaced = (digits: string) => [digits.slice(0, 20), digits.slice(20)].map(groups).join("  ");
  const groups = (digits: string) => digits.toUpperCase().match(/.{4}/g)?.join(" ") ?? "";
  assert.match(stderr, new RegExp(`^  fingerprint: ${spaced(bob)}$`, "m"));
  assert.match(stderr, new RegExp(`^  subkey:      ${spaced(bobsSubkey)}, ed25519 of `, "m"));
  assert.match(stderr, /^ {2}identity: {4}bob <bob@example\.com>$/m);
  assert.match(stderr, /^rkt: trusted to sign images of example\.com\/app: \/.*$/m);

  assert.equal(statSync(path).mode & 0o777, 0o644);
  const shown = gpg.run(["--show-keys", "--with-colons", path]).toString();
  assert.deepEqual(
    [...shown.matchAll(/^fpr:{9}(\w+):/gm)].map(([, digits]) => digits?.toLowerCase()),
    [bob, bobsSubkey],
  );
  // What rkt of old wants: armor with a checksum.
  assert.match(readFileSync(path, "utf8"), /^-----BEGIN PGP PUBLIC KEY BLOCK-----\n[\s\S]*\n=[\w+/]{4}\n-----END/);

  trust.ok("--root", YES, file);
  assert.deepEqual(readFileSync(join(trust.local.root, bob)), readFileSync(path));
});

test("binary keys, file: URLs, several keys of a file, several files", (t) => {
  if (!requires(t, "build", "gpg")) return;
  const cases: { sources: (trust: ReturnType<typeof makeTrust>) => string[]; keys: string[] }[] = [
    { sources: (trust) => [trust.key("k", gpg.run(["--export", alice]))], keys: [alice] },
    { sources: (trust) => [`file://${trust.key("k", gpg.export(alice))}`], keys: [alice] },
    { sources: (trust) => [trust.key("k", gpg.run(["--export"]))], keys: [alice, bob] },
    { sources: (trust) => [trust.key("k", gpg.export(alice) + gpg.export(bob))], keys: [alice, bob] },
    { sources: (trust) => [trust.key("a", gpg.export(alice)), trust.key("b", gpg.export(bob))], keys: [alice, bob] },
  ];
  for (const { sources, keys } of cases) {
    const trust = makeTrust(t);
    trust.ok("--root", YES, ...sources(trust));
    assert.deepEqual(readdirSync(trust.local.root), keys.toSorted());
  }
});

test("the question is asked at a terminal, and a no changes nothing", (t) => {
  if (!requires(t, "build", "gpg", "script")) return;
  const trust = makeTrust(t);
  const a = trust.key("a.asc", gpg.export(alice));
  const b = trust.key("b.asc", gpg.export(bob));

  for (const answer of ["no\n", "N\n", "what?\nno\n", "\u0004"]) {
    const seen = trust.typed(answer, "--root", a);
    assert.match(seen, /fingerprint: [\s\S]*Trust this key to sign all images\? \(yes\/no\) /);
    assert.match(seen, new RegExp(`rkt: trust: not trusted, as you said: ${alice}\r\nstatus 254`));
    assert.ok(!existsSync(trust.local.dir));
  }
  assert.match(trust.typed("yes\nno\n", "--prefix=example.com", a, b), /images of example\.com\? .*[\s\S]*status 254/);
  assert.deepEqual(readdirSync(trust.local.prefix("example.com")), [alice]);
  assert.match(trust.typed("maybe\ny\n", "--root", b), /status 0/);
  assert.deepEqual(readdirSync(trust.local.root), [bob]);

  trust.fails(254, /there is no terminal to ask [\s\S]*hint: .*--skip-fingerprint-review/, "--root", a);
  assert.deepEqual(readdirSync(trust.local.root), [bob]);
});

test("list and remove, and vendors' keys under a mask", (t) => {
  if (!requires(t, "build", "gpg")) return;
  const trust = makeTrust(t);
  assert.equal(trust.ok("--list", "--no-legend").stdout, "");
  mkdirSync(trust.system.root, { recursive: true });
  writeFileSync(join(trust.system.root, alice), gpg.export(alice));
  const file = trust.key("bob.asc", gpg.export(bob));
  trust.ok("--prefix=example.com/app", YES, file);
  trust.ok("--prefix=example.com", YES, file);
  const rows = () =>
    trust
      .ok("--list", "--no-legend")
      .stdout.trimEnd()
      .split("\n")
      .map((row) => row.split(/ {2,}/));
  const listed = [
    ["(all images)", alice, "trusted", "alice <alice@example.com>"],
    ["example.com", bob, "trusted", "bob <bob@example.com>"],
    ["example.com/app", bob, "trusted", "bob <bob@example.com>"],
  ];
  assert.deepEqual(rows(), listed);
  assert.deepEqual(trust.ok("--list", "--root", "--no-legend").stdout.split("\n").length, 2);
  const [first, second] = JSON.parse(trust.ok("--list", "--format=json").stdout);
  assert.equal(first.prefix, null);
  assert.equal(first.path, join(trust.system.root, alice));
  assert.equal(second.fingerprint, bob);
  assert.equal(second.subkeys[0].fingerprint, bobsSubkey);

  trust.fails(2, /"8b86" is no fingerprint/, "--remove", "8b86");
  trust.fails(254, /no trusted key has the fingerprint 0123456789/, "--remove", alice, "0123456789");
  assert.deepEqual(rows(), listed, "what is not all there removes nothing");

  trust.ok("--remove", "--prefix=example.com", bob);
  assert.deepEqual(rows(), [listed[0], listed[2]]);
  assert.match(trust.ok("--remove", bob.slice(-16).toUpperCase(), alice).stderr, /: masked \/.*\/system\/.*root\.d/);
  assert.deepEqual(rows(), [["(all images)", alice, "masked"]]);
  assert.equal(statSync(join(trust.local.root, alice)).size, 0);
  assert.ok(statSync(join(trust.system.root, alice)).size > 0);

  trust.ok("--root", YES, trust.key("alice.asc", gpg.export(alice)));
  assert.deepEqual(rows(), [listed[0]]);
});

test("keys that can sign nothing are listed as what they are", (t) => {
  if (!requires(t, "build", "gpg")) return;
  const trust = makeTrust(t);
  const expired = gpg.newKey("expired", { date: "2020-01-01", expires: "2021-01-01" });
  const revoked = gpg.newKey("revoked");
  gpg.revoke(revoked, { reason: 1 });
  const { stderr } = trust.ok("--root", YES, trust.key("k", gpg.export(expired) + gpg.export(revoked)));
  assert.match(stderr, /EXPIRED on 2021-01-01T12:00:00Z/);
  assert.match(stderr, /REVOKED on \S+Z: it has been compromised/);
  writeFileSync(join(trust.local.root, alice), gpg.export(bob));
  writeFileSync(join(trust.local.root, bob), "no key");
  writeFileSync(join(trust.local.root, "README"), "no key either");
  const list = trust.ok("--list");
  const status = (fingerprint: string) => new RegExp(`${fingerprint}  (\\w+)`).exec(list.stdout)?.[1];
  assert.equal(status(expired), "expired");
  assert.equal(status(revoked), "revoked");
  assert.equal(status(alice), "damaged");
  assert.equal(status(bob), "damaged");
  assert.match(list.stderr, /another key than its name says/);
});

test("what is no key, or not meant so, leaves nothing behind", (t) => {
  if (!requires(t, "build", "gpg")) return;
  const trust = makeTrust(t);
  const good = trust.key("good", gpg.export(alice));
  const secret = gpg.run(["--armor", "--export-secret-keys", alice]);
  const cases: [status: number, message: RegExp, ...args: string[]][] = [
    [2, /there is no --prefix or --root/, YES, good],
    [2, /mutually exclusive/, "--root", "--prefix=a", YES, good],
    [2, /--prefix "example\.com\/": /, "--prefix=example.com/", YES, good],
    [2, /--prefix "\.\.\/\.\.\/etc": /, "--prefix=../../etc", YES, good],
    [2, /--root needs a key/, "--root", YES],
    [2, /--format is for --list/, "--root", "--format=table", YES, good],
    [2, /--remove needs fingerprints/, "--remove"],
    [2, /unexpected argument/, "--list", good],
    [254, /cannot read the public key: open .*absent: ENOENT/, "--root", YES, good, "absent"],
    [254, /garbage: it is no OpenPGP key\nhint: .*--export/, "--root", YES, good, trust.key("garbage", "garbage")],
    [254, /empty: it is empty/, "--root", YES, good, trust.key("empty", "")],
    [254, /: it is a secret key/, "--root", YES, good, trust.key("secret", secret)],
    [254, /: it is no OpenPGP key: /, "--root", YES, good, trust.key("sig", gpg.sign("x", [alice]))],
    [254, /ftp:.*: a key must come by https/, "--root", YES, good, "ftp://127.0.0.1/key"],
    [
      254,
      /http:.*: a key must come by https\nhint: --insecure-options=http/,
      "--root",
      YES,
      good,
      "http://127.0.0.1/k",
    ],
  ];
  for (const [status, message, ...args] of cases) {
    trust.fails(status, message, ...args);
    assert.ok(!existsSync(trust.local.dir), args.join(" "));
  }
});

test("a keystore that others can write is not believed", (t) => {
  if (!requires(t, "build", "gpg")) return;
  const trust = makeTrust(t);
  const file = trust.key("k", gpg.export(alice));
  trust.ok("--root", YES, file);
  chmodSync(trust.local.root, 0o777);
  trust.fails(254, /root\.d decides whom to trust, and can be written to by others than root\nhint: chown root \S+; chmod o-w /, "--list");
  trust.fails(254, /can be written to by others than root/, "--root", YES, file);
});

test("a key's text does not reach the terminal as it is", (t) => {
  if (!requires(t, "build", "gpg")) return;
  const trust = makeTrust(t);
  gpg.run(["--quick-generate-key", "evil\u009b31m\u202e <e@example.com>", "ed25519", "sign", "never"]);
  const { stderr } = trust.ok("--root", YES, trust.key("k", gpg.run(["--export", "e@example.com"])));
  assert.match(stderr, /identity: {4}evil\\x9b31m\\u202e <e@example\.com>/);
});

test("a key by https; by http, or from anybody, only when asked for", async (t) => {
  if (!requires(t, "build", "gpg", "openssl")) return;
  const ca = makeCa(t);
  const answer = (url: string | undefined): [status: number, body: string] => {
    if (url === "/key.asc") return [200, gpg.export(alice)];
    return url === "/login" ? [200, "<html>who are you?</html>"] : [404, ""];
  };
  const handler: Parameters<typeof serve>[1] = (request, response) => {
    const [status, body] = answer(request.url);
    response.writeHead(status).end(body);
  };
  const secure = await serve(t, handler, { tls: ca });
  const plain = await serve(t, handler);
  const known = { SSL_CERT_FILE: ca.file };
  const cases: { url: string; args?: string[]; env?: Record<string, string>; fails?: RegExp }[] = [
    { url: `${secure.base}/key.asc`, env: known },
    { url: `${secure.base}/key.asc`, fails: /certificate/ },
    { url: `${secure.base}/key.asc`, args: ["--insecure-options=tls"] },
    { url: `${secure.base}/key.asc`, args: ["--insecure-options=pubkey"] },
    { url: `${plain.base}/key.asc`, fails: /a key must come by https/ },
    { url: `${plain.base}/key.asc`, args: ["--insecure-options=tls"], fails: /a key must come by https/ },
    { url: `${plain.base}/key.asc`, args: ["--insecure-options=http"] },
    { url: `${plain.base}/key.asc`, args: ["--insecure-options=pubkey"] },
    { url: `${plain.base}/key.asc`, args: ["--insecure-allow-http"] },
    { url: `${secure.base}/absent`, env: known, fails: /404/ },
    { url: `${secure.base}/login`, env: known, fails: /it is no OpenPGP key/ },
  ];
  for (const { url, args = [], env, fails } of cases) {
    const trust = makeTrust(t);
    const { status, stderr } = await trust.start(["--root", YES, ...args, url], env);
    const what = `${url} ${args}: ${stderr}`;
    if (fails !== undefined) {
      assert.match(stderr, fails, what);
      assert.equal(status, 254, what);
      assert.ok(!existsSync(trust.local.dir), what);
      continue;
    }
    assert.equal(status, 0, what);
    assert.deepEqual(readdirSync(trust.local.root), [alice], what);
    assert.ok(stderr.includes(`key from ${url}`), what);
  }
});

test("keys by discovery: the meta tags of the prefix's host", async (t) => {
  if (!requires(t, "build", "gpg", "openssl", "root")) return;
  // Discovery knows no ports: an address of this test's own, and the port of https.
  const byte = () => 1 + Math.floor(Math.random() * 250);
  const host = `127.${byte()}.${byte()}.${byte()}`;
  const ca = makeCa(t, `IP:${host}`);
  const listen = { tls: ca, host, port: 443 };
  await serve(
    t,
    (request, response) => {
      const tag = (prefix: string, path: string) =>
        `<meta name="ac-discovery-pubkeys" content="${host}${prefix} https://${host}/${path}">`;
      const tags = tag("/app", "alice.asc") + tag("/app", "bob.asc") + tag("/other", "other.asc");
      if (request.url === "/alice.asc") response.end(gpg.export(alice));
      else if (request.url === "/bob.asc") response.end(gpg.export(bob));
      else if (request.url === "/?ac-discovery=1") response.end(`<!doctype html><title>x</title>${tags}`);
      else response.writeHead(404).end();
    },
    listen,
  );
  const env = { SSL_CERT_FILE: ca.file };
  const trust = makeTrust(t);
  const found = await trust.start([`--prefix=${host}/app/x`, YES], env);
  assert.equal(found.status, 0, found.stderr);
  assert.deepEqual(readdirSync(trust.local.prefix(`${host}/app/x`)), [alice, bob].toSorted());

  const none = await trust.start([`--prefix=${host}/none`, YES], env);
  assert.equal(none.status, 254);
  assert.match(none.stderr, /no public key for \S+ can be found: https:.*no discovery tags for this name/);
  assert.match(none.stderr, /hint: .*PUBKEY/);

  const stranger = await trust.start([`--prefix=${host}/app`, YES]);
  assert.equal(stranger.status, 254);
  assert.match(stranger.stderr, /certificate/);
  assert.deepEqual(readdirSync(trust.local.prefixes), [host]);
});
