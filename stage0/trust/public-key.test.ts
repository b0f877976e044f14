import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { makeGpg } from "../../test/fixtures/gpg.ts";
import { armorKey, formatDate, keyFacts, readPublicKeys, spacedFingerprint, withRevocations } from "./public-key.ts";

const gpg = makeGpg();
const alice = gpg.newKey("alice", { date: "2020-01-01", expires: "2021-01-01" });
const bob = gpg.newKey("bob", { algorithm: "rsa2048", usage: "cert" });
const subkeys = [gpg.addSigningSubkey(bob), gpg.addSigningSubkey(bob, { algorithm: "rsa3072" })];

const read = (content: string | Buffer) => readPublicKeys(Buffer.from(content), "the file");

const files: { name: string; content: string | Buffer; keys: string[] }[] = [
  { name: "armored", content: gpg.export(alice), keys: [alice] },
  { name: "binary", content: gpg.run(["--export", alice]), keys: [alice] },
  { name: "a keyring", content: gpg.run(["--export"]), keys: [alice, bob] },
  { name: "an armored keyring", content: gpg.run(["--armor", "--export"]), keys: [alice, bob] },
  { name: "two armored blocks", content: `${gpg.export(alice)}${gpg.export(bob)}`, keys: [alice, bob] },
  { name: "text around it", content: `The key:\n\n${gpg.export(alice)}\nThat is all.\n`, keys: [alice] },
  { name: "line ends of another system", content: gpg.export(alice).replaceAll("\n", "\r\n"), keys: [alice] },
];
for (const { name, content, keys } of files)
  test(`public keys: ${name}`, async () => {
    const found = await read(content);
    assert.deepEqual(found.map((key) => key.getFingerprint()).sort(), keys.toSorted());
  });

const armored = gpg.export(alice);
const refused: { name: string; content: string | Buffer; why: RegExp }[] = [
  { name: "nothing", content: "", why: /^the file: it is empty$/ },
  { name: "text", content: "hello", why: /^the file: it is no OpenPGP key$/ },
  { name: "a web page", content: "<html>", why: /^the file: it is no OpenPGP key$/ },
  { name: "random bytes", content: Buffer.alloc(500, 0xc6), why: /^the file: it is no OpenPGP key/ },
  { name: "a secret key", content: gpg.run(["--export-secret-keys", alice]), why: /^the file: it is a secret key/ },
  {
    name: "one among others",
    content: gpg.export(bob) + gpg.run(["--armor", "--export-secret-keys", alice]),
    why: /secret/,
  },
  { name: "a signature", content: gpg.sign("x", [subkeys[0] ?? ""]), why: /^the file: it is no OpenPGP key: / },
  {
    name: "half of one",
    content: `${armored.slice(0, 120)}\n-----END PGP PUBLIC KEY BLOCK-----\n`,
    why: /no OpenPGP key/,
  },
];
for (const { name, content, why } of refused)
  test(`no public key: ${name}`, async () => {
    await assert.rejects(read(content), { code: "key-malformed", message: why });
  });

test("what a person must know of a key", async () => {
  const [key] = await read(gpg.export(bob));
  assert.ok(key !== undefined);
  const { identities, algorithm, fingerprint, expires, revoked, subkeys: parts } = await keyFacts(key);
  assert.deepEqual(
    { identities, algorithm, fingerprint, expires, revoked },
    {
      identities: ["bob <bob@example.com>"],
      algorithm: "rsa2048",
      fingerprint: bob,
      expires: undefined,
      revoked: undefined,
    },
  );
  assert.deepEqual(
    parts.map((part) => [part.fingerprint, part.algorithm]),
    [
      [subkeys[0], "ed25519"],
      [subkeys[1], "rsa3072"],
    ],
  );
});

for (const algorithm of ["ed25519", "nistp384", "brainpoolP256r1"])
  test(`a key's kind as gpg names it: ${algorithm}`, async () => {
    const [key] = await read(gpg.export(gpg.newKey(`of ${algorithm}`, { algorithm })));
    assert.ok(key !== undefined);
    assert.equal((await keyFacts(key)).algorithm, algorithm.toLowerCase());
  });

test("when a key ends, and what it has taken back", async () => {
  const [expired] = await read(gpg.export(alice));
  assert.ok(expired !== undefined);
  assert.equal(formatDate((await keyFacts(expired)).expires ?? new Date(0)), "2021-01-01T12:00:00Z");

  gpg.revoke(bob, { subkey: 1, reason: 3 });
  const [key] = await read(gpg.export(bob));
  assert.ok(key !== undefined);
  const facts = await keyFacts(key);
  assert.equal(facts.revoked, undefined);
  assert.deepEqual(
    facts.subkeys.map((part) => part.revoked?.reason),
    ["it is no longer used", undefined],
  );
});

test("identities: the main one first, none that is revoked, none that the key has not signed", async () => {
  const carol = gpg.newKey("carol");
  for (const name of ["second", "third"]) gpg.run(["--quick-add-uid", carol, `${name} <${name}@example.com>`]);
  gpg.run(["--quick-revoke-uid", carol, "second <second@example.com>"]);
  gpg.run(["--quick-set-primary-uid", carol, "third <third@example.com>"]);
  const mallory = gpg.newKey("the president");
  // Another's identity, with the other's own word for it.
  const stolen = gpg.exportFrom(mallory, 13);
  const [key] = await read(Buffer.concat([gpg.run(["--export", carol]), stolen]));
  assert.ok(key !== undefined);
  const { identities } = await keyFacts(key);
  assert.deepEqual(identities, ["third <third@example.com>", "carol <carol@example.com>"]);
});

test("armor: with the checksum that older readers want; gpg reads it", async () => {
  const [key] = await read(gpg.run(["--export", bob]));
  assert.ok(key !== undefined);
  const text = await armorKey(key);
  assert.match(text, /\n=[\w+/]{4}\n-----END PGP PUBLIC KEY BLOCK-----\n$/);
  const shown = gpg.run(["--show-keys", "--with-colons"], { input: text }).toString();
  assert.match(shown, new RegExp(`^fpr:+${bob.toUpperCase()}:$`, "m"));
});

test("an older copy of a key takes no revocation back", async () => {
  const carol = gpg.newKey("carol");
  const before = gpg.export(carol);
  gpg.revoke(carol, { reason: 1 });
  const dir = mkdtempSync(join(tmpdir(), "rkt-keys-"));
  after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, carol);
  writeFileSync(path, gpg.export(carol));
  const [older] = await read(before);
  assert.ok(older !== undefined);
  assert.equal((await keyFacts(older)).revoked, undefined);
  const whole = await withRevocations(older, [{ fingerprint: carol, prefix: undefined, path, trusted: true }]);
  assert.match((await keyFacts(whole)).revoked?.reason ?? "", /compromised/);
});

test("text that is almost armor, a megabyte of it", async () => {
  for (const line of ["-----BEGIN PGP ", "-----BEGIN PGP SIGNATURE-----\n", "-".repeat(1000)]) {
    const text = line.repeat(Math.ceil(2 ** 20 / line.length));
    await assert.rejects(read(text), { message: "the file: it is no OpenPGP key" });
  }
});

test("a fingerprint as gpg shows it", () => {
  const shown = gpg.run(["--fingerprint", alice]).toString();
  assert.ok(shown.includes(spacedFingerprint(alice)), shown);
});
