import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { isPemKey, keyPairVerifier, readPemKey } from "./key-pair.ts";
import { addKey, type KeystoreDirs } from "./keystore.ts";

const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const other = generateKeyPairSync("ed25519");
const pem = (key: KeyObject): Buffer => Buffer.from(key.export({ type: "spki", format: "pem" }) as string);

function keystore(t: TestContext, ...keys: [prefix: string | undefined, key: KeyObject][]): KeystoreDirs {
  const base = mkdtempSync(join(tmpdir(), "rkt-pair-"));
  t.after(() => rmSync(base, { recursive: true }));
  const dirs = { systemConfig: join(base, "system"), localConfig: join(base, "local") };
  for (const [prefix, key] of keys) {
    const { fingerprint, pem: armored } = readPemKey(pem(key), "key");
    addKey(dirs, { fingerprint, armored, prefix });
  }
  return dirs;
}

const DOCUMENT = Buffer.from("a document");

test("a key is called by the digest of what is in it", () => {
  const { fingerprint, algorithm } = readPemKey(pem(publicKey), "key");
  const spki = publicKey.export({ type: "spki", format: "der" });
  assert.equal(fingerprint, createHash("sha256").update(spki).digest("hex"));
  assert.equal(algorithm, "ecdsa-p256");
  assert.ok(isPemKey(pem(publicKey)));
  assert.ok(!isPemKey(Buffer.from("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")));
});

test("a signature by a key that is trusted for the image", (t) => {
  const verify = keyPairVerifier(keystore(t, ["docker.io/library", publicKey], ["quay.io", other.publicKey]));
  const signature = sign("sha256", DOCUMENT, privateKey);
  assert.match(verify(DOCUMENT, signature, "docker.io/library/nginx").identities[0] ?? "", /^key [0-9a-f]{64} \(ecdsa-p256\)$/);
  const refused = (document: Buffer, bytes: Buffer, name: string, message: RegExp) =>
    assert.throws(() => verify(document, bytes, name), { code: "signature-untrusted", message });
  refused(DOCUMENT, signature, "docker.io/me/nginx", /no key of its kind is trusted/);
  refused(DOCUMENT, signature, "quay.io/nginx", /no key that is trusted for the image has made it/);
  refused(Buffer.from("another"), signature, "docker.io/library/nginx", /has made it/);
  refused(DOCUMENT, sign("sha1", DOCUMENT, privateKey), "docker.io/library/nginx", /has made it/);
  refused(DOCUMENT, Buffer.alloc(0), "docker.io/library/nginx", /has made it/);
  refused(DOCUMENT, Buffer.alloc(5000), "docker.io/library/nginx", /too long/);
  assert.ok(verify(DOCUMENT, sign(null, DOCUMENT, other.privateKey), "quay.io/x"));
});

test("no key at all", (t) => {
  const verify = keyPairVerifier(keystore(t));
  assert.throws(() => verify(DOCUMENT, Buffer.alloc(64), "a/b"), { hint: "if you trust the signer: rkt trust --prefix=a/b cosign.pub" });
});
