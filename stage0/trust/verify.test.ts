import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { keystoreLayout } from "../../shared/contract/configuration.ts";
import { makeGpg } from "../../test/fixtures/gpg.ts";
import type { Verdict } from "./signature-check.ts";
import { signatureChecker } from "./verify.ts";

const IMAGE = Buffer.from("the image, as it was downloaded\n".repeat(1000));
const NAME = "example.com/app";

const gpg = makeGpg();
const base = mkdtempSync(join(tmpdir(), "rkt-verify-"));
after(() => rmSync(base, { recursive: true }));

interface Trusted {
  fingerprint: string;
  prefix?: string;
  /** In place of what gpg exports. */
  content?: string | Uint8Array;
  layer?: "systemConfig" | "localConfig";
}

/** A keystore with these keys, made by hand. */
function keystore(keys: readonly Trusted[]) {
  const dir = mkdtempSync(join(base, "keystore-"));
  const dirs = { systemConfig: join(dir, "system"), localConfig: join(dir, "local") };
  for (const { fingerprint, prefix, content, layer = "localConfig" } of keys) {
    const layout = keystoreLayout(dirs[layer]);
    const place = prefix === undefined ? layout.root : layout.prefix(prefix);
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, fingerprint), content ?? gpg.export(fingerprint));
  }
  return dirs;
}

async function verify(
  keys: readonly Trusted[],
  signature: Uint8Array,
  { image = IMAGE, name = NAME, early = false } = {},
): Promise<Verdict> {
  const check = signatureChecker(keystore(keys))();
  for (let at = 0; at < image.length; at += 1000) {
    check.update(image.subarray(at, at + 1000));
    if (early && at === 0) await check.expect?.(signature);
  }
  return check.finish(signature, name);
}

async function refused(verdict: Promise<Verdict>, code: string, message: RegExp, hint?: RegExp): Promise<void> {
  await assert.rejects(verdict, (error) => {
    assert.ok(error instanceof RktError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    if (hint !== undefined) assert.match(error.hint ?? "", hint);
    return true;
  });
}

const identity = (name: string): string => `${name} <${name.replaceAll(" ", "-")}@example.com>`;

describe("good signatures by gpg", () => {
  for (const algorithm of ["rsa2048", "rsa3072", "rsa4096", "ed25519", "nistp256", "nistp384"])
    test(algorithm, async () => {
      const fingerprint = gpg.newKey(algorithm, { algorithm });
      const signature = gpg.sign(IMAGE, [fingerprint]);
      assert.deepEqual(await verify([{ fingerprint }], signature), { identities: [identity(algorithm)] });
      const changed = Buffer.concat([IMAGE.subarray(0, -1), Buffer.from("X")]);
      const why = new RegExp(
        `image ${NAME} is not trusted: ${algorithm} .* signed another file, or the image was changed$`,
      );
      await refused(verify([{ fingerprint }], signature, { image: changed }), "signature-untrusted", why);
    });

  const fingerprint = gpg.newKey("signer");
  const primary = gpg.newKey("primary", { usage: "cert" });
  const subkey = gpg.addSigningSubkey(primary);
  const other = gpg.newKey("other");

  const good: { name: string; signature: () => Uint8Array; keys?: Trusted[]; by?: string; image?: string }[] = [
    { name: "a binary signature", signature: () => gpg.sign(IMAGE, [fingerprint], []) },
    { name: "SHA-256", signature: () => gpg.sign(IMAGE, [fingerprint], ["--digest-algo=SHA256"]) },
    { name: "SHA-384", signature: () => gpg.sign(IMAGE, [fingerprint], ["--digest-algo=SHA384"]) },
    {
      name: "a signing subkey",
      signature: () => gpg.sign(IMAGE, [subkey]),
      keys: [{ fingerprint: primary }],
      by: "primary",
    },
    { name: "one of two signers is trusted", signature: () => gpg.sign(IMAGE, [other, fingerprint]) },
    { name: "the same, binary", signature: () => gpg.sign(IMAGE, [other, fingerprint], []) },
    {
      name: "one of two armored blocks",
      signature: () => Buffer.concat([gpg.sign(IMAGE, [other]), gpg.sign(IMAGE, [fingerprint])]),
    },
    {
      name: "a signature of another file beside it",
      signature: () => Buffer.concat([gpg.sign("another", [fingerprint]), gpg.sign(IMAGE, [fingerprint])]),
    },
    {
      name: "a comment before the armor",
      signature: () => Buffer.concat([Buffer.from("Signed by me:\n\n"), gpg.sign(IMAGE, [fingerprint])]),
    },
    {
      name: "a key for the image's prefix",
      keys: [{ fingerprint, prefix: "example.com" }],
      signature: () => gpg.sign(IMAGE, [fingerprint]),
    },
    {
      name: "a key for the image's very name",
      keys: [{ fingerprint, prefix: NAME }],
      signature: () => gpg.sign(IMAGE, [fingerprint]),
    },
    {
      name: "a key for a prefix, of an image below it",
      keys: [{ fingerprint, prefix: NAME }],
      image: `${NAME}/worker`,
      signature: () => gpg.sign(IMAGE, [fingerprint]),
    },
    {
      name: "a vendor's key",
      keys: [{ fingerprint, layer: "systemConfig" }],
      signature: () => gpg.sign(IMAGE, [fingerprint]),
    },
    {
      name: "a damaged key file beside the good one",
      keys: [{ fingerprint }, { fingerprint: other, content: "no key" }],
      signature: () => gpg.sign(IMAGE, [fingerprint]),
    },
    {
      name: "a signature that expires later",
      signature: () => gpg.sign(IMAGE, [fingerprint], ["--default-sig-expire=2y"]),
    },
  ];
  for (const c of good)
    for (const early of [false, true])
      test(`${c.name}${early ? ", known early" : ""}`, async () => {
        const identities = [identity(c.by ?? "signer")];
        const options = { early, ...(c.image === undefined ? {} : { name: c.image }) };
        assert.deepEqual(await verify(c.keys ?? [{ fingerprint }], c.signature(), options), { identities });
      });

  test("the identities of all good signers, each once", async () => {
    const signature = Buffer.concat([gpg.sign(IMAGE, [fingerprint, other]), gpg.sign(IMAGE, [fingerprint])]);
    const { identities } = await verify([{ fingerprint }, { fingerprint: other }], signature);
    assert.deepEqual(identities.sort(), [identity("other"), identity("signer")]);
  });
});

describe("signatures that do not count", () => {
  const signer = gpg.newKey("someone");
  const stranger = gpg.newKey("stranger");
  const past = { date: "2020-06-01" };
  const trusted: Trusted[] = [{ fingerprint: signer }];

  interface Case {
    name: string;
    keys?: () => Trusted[];
    signature: () => Uint8Array;
    image?: string;
    code?: string;
    message: RegExp;
    hint?: RegExp;
  }

  const cases: Case[] = [
    {
      name: "by a key that nobody trusts",
      signature: () => gpg.sign(IMAGE, [stranger]),
      message: new RegExp(`key ${stranger.toUpperCase()} is not trusted$`),
      hint: /rkt trust --prefix=example\.com\/app /,
    },
    {
      name: "by nobody that the keystore knows",
      keys: () => [],
      signature: () => gpg.sign(IMAGE, [signer]),
      message: /is not trusted$/,
    },
    {
      name: "by a key for another prefix",
      keys: () => [{ fingerprint: signer, prefix: "example.com/other" }],
      signature: () => gpg.sign(IMAGE, [signer]),
      message: /the key of someone <someone@example\.com> is trusted for example\.com\/other only$/,
      hint: /rkt trust --prefix=example\.com\/app /,
    },
    {
      name: "a prefix ends where a path component ends",
      keys: () => [{ fingerprint: signer, prefix: NAME }],
      image: `${NAME}le`,
      signature: () => gpg.sign(IMAGE, [signer]),
      message: /is trusted for example\.com\/app only$/,
    },
    {
      name: "a prefix longer than the name",
      keys: () => [{ fingerprint: signer, prefix: `${NAME}/worker` }],
      signature: () => gpg.sign(IMAGE, [signer]),
      message: /is trusted for example\.com\/app\/worker only$/,
    },
    {
      name: "by a vendor's key that this machine masks",
      keys: () => [
        { fingerprint: signer, layer: "systemConfig" },
        { fingerprint: signer, content: "" },
      ],
      signature: () => gpg.sign(IMAGE, [signer]),
      message: /is not trusted$/,
    },
    {
      name: "by a key in a file named otherwise",
      keys: () => [{ fingerprint: stranger, content: gpg.export(signer) }],
      signature: () => gpg.sign(IMAGE, [signer]),
      message: /is not trusted; .*root\.d\/[0-9a-f]{40} has another key than its name says$/,
    },
    {
      name: "by a key whose file is damaged",
      keys: () => [{ fingerprint: signer, content: gpg.export(signer).slice(0, 200) }],
      signature: () => gpg.sign(IMAGE, [signer]),
      message: /root\.d\/[0-9a-f]{40}: it is no OpenPGP key/,
    },
    {
      name: "by an expired key",
      keys: () => [{ fingerprint: expired() }],
      signature: () => gpg.sign(IMAGE, [expired()], ["--armor"], past),
      message: /the key of expired <expired@example\.com> expired on 2021-01-01T12:00:00Z$/,
      hint: /rkt trust/,
    },
    {
      name: "by an expired subkey of a good key",
      keys: () => [{ fingerprint: keyOfExpiredSubkey().key }],
      signature: () => gpg.sign(IMAGE, [keyOfExpiredSubkey().subkey], ["--armor"], past),
      message: /the signing subkey of with expired subkey .* expired on 2021-01-01T12:00:00Z$/,
    },
    {
      name: "by a good subkey of an expired key",
      keys: () => [{ fingerprint: expiredWithSubkey().key }],
      signature: () => gpg.sign(IMAGE, [expiredWithSubkey().subkey], ["--armor"], past),
      message: /the key of expired with subkey .* expired on 2021-01-01T12:00:00Z$/,
    },
    {
      name: "expired",
      signature: () => gpg.sign(IMAGE, [old()], ["--armor", "--default-sig-expire=1d"], past),
      keys: () => [{ fingerprint: old() }],
      message: /: it expired on 2020-06-02T00:00:00Z$/,
    },
    {
      name: "of the future",
      signature: () => gpg.sign(IMAGE, [signer], ["--armor"], { date: "2099-01-01" }),
      message: /: it is dated 2099-01-01T00:00:00Z$/,
      hint: /clock/,
    },
    {
      name: "older than its key",
      signature: () => gpg.sign(IMAGE, [signer], ["--armor", "--ignore-time-conflict", "--ignore-valid-from"], past),
      message: /: it is older than the key of someone .*: dated 2020-06-01T00:00:00Z$/,
    },
    ...[
      { reason: 0, message: /was revoked on \S+Z: without a reason$/ },
      { reason: 1, message: /was revoked on \S+Z: it has been compromised$/ },
      { reason: 2, message: /was revoked on \S+Z: it is superseded$/ },
      { reason: 3, message: /was revoked on \S+Z: it is no longer used$/ },
    ].map(({ reason, message }): Case => {
      const key = gpg.newKey(`revoked ${reason}`);
      const signature = gpg.sign(IMAGE, [key]);
      return {
        name: `by a revoked key, reason ${reason}`,
        keys: () => {
          gpg.revoke(key, { reason });
          return [{ fingerprint: key }];
        },
        signature: () => signature,
        message,
      };
    }),
    {
      name: "by a revoked subkey of a good key",
      keys: () => [{ fingerprint: keyOfRevokedSubkey().key }],
      signature: () => keyOfRevokedSubkey().signature,
      message: /the signing subkey of with revoked subkey .* was revoked on /,
    },
    {
      name: "by a subkey that the trusted file has not",
      keys: () => [{ fingerprint: grownKey().key, content: grownKey().before }],
      signature: () => gpg.sign(IMAGE, [grownKey().subkey]),
      message: /key [0-9A-F]{40} is not trusted$/,
    },
    {
      name: "by a stranger's subkey that was put into the trusted file",
      keys: () => [{ fingerprint: graft().key, content: graft().file }],
      signature: () => gpg.sign(IMAGE, [graft().subkey]),
      message: /the signing subkey of grafted .* may not sign: /,
    },
    {
      name: "of SHA-1",
      signature: () => gpg.sign(IMAGE, [rsa()], ["--armor", "--digest-algo=SHA1", "--allow-weak-digest-algos"]),
      keys: () => [{ fingerprint: rsa() }],
      message: /: it uses SHA-1, which can be forged$/,
      hint: /--digest-algo/,
    },
    {
      name: "of MD5",
      signature: () => gpg.sign(IMAGE, [rsa()], ["--armor", "--digest-algo=MD5", "--allow-weak-digest-algos"]),
      keys: () => [{ fingerprint: rsa() }],
      message: /: it uses MD5, which can be forged$/,
    },
    {
      name: "of RIPEMD-160",
      signature: () => gpg.sign(IMAGE, [rsa()], ["--armor", "--digest-algo=RIPEMD160", "--allow-weak-digest-algos"]),
      keys: () => [{ fingerprint: rsa() }],
      message: /: it uses RIPEMD-160, which can be forged$/,
    },
    {
      name: "by a key too short",
      signature: () => gpg.sign(IMAGE, [short()]),
      keys: () => [{ fingerprint: short() }],
      message: /the key of short .* may not sign: .*too weak/,
    },
    {
      name: "of text",
      signature: () => gpg.sign(IMAGE, [signer], ["--armor", "--textmode"]),
      message: /: it is no signature of a file's bytes$/,
      hint: /--detach-sign/,
    },
    {
      name: "two, neither of which counts",
      signature: () => Buffer.concat([gpg.sign(IMAGE, [stranger]), gpg.sign("another", [signer])]),
      message: /is not trusted; someone .* signed another file, or the image was changed$/,
    },
    {
      name: "garbage",
      signature: () => Buffer.from("no signature at all"),
      code: "signature-malformed",
      message: /no OpenPGP signature$/,
    },
    {
      name: "nothing",
      signature: () => Buffer.alloc(0),
      code: "signature-malformed",
      message: /no OpenPGP signature$/,
    },
    {
      name: "random bytes",
      signature: () => Buffer.from("c2ff".repeat(100), "hex"),
      code: "signature-malformed",
      message: /no OpenPGP signature/,
    },
    {
      name: "cut short",
      signature: () => gpg.sign(IMAGE, [signer], []).subarray(0, -10),
      code: "signature-malformed",
      message: /no OpenPGP signature/,
    },
    ...[3, 5, 6].map(
      (version): Case => ({
        name: `of version ${version}`,
        signature: () => {
          const packet = Buffer.from(gpg.sign(IMAGE, [signer], []));
          assert.equal(packet[2], 4);
          packet[2] = version;
          return packet;
        },
        code: "signature-malformed",
        message: /no OpenPGP signature/,
      }),
    ),
    {
      name: "a hundred signatures",
      signature: () =>
        Buffer.concat(
          Array.from(
            { length: 100 },
            once(() => gpg.sign(IMAGE, [signer], [])),
          ),
        ),
      code: "signature-malformed",
      message: /: there are 100 in it$/,
    },
    {
      name: "a public key",
      signature: () => Buffer.from(gpg.export(signer)),
      code: "signature-malformed",
      message: /no OpenPGP signature/,
      hint: /--detach-sign/,
    },
    {
      name: "a message with its signature",
      signature: () => gpg.run(["--armor", "--local-user", `${signer}!`, "--sign"], { input: IMAGE.toString() }),
      code: "signature-malformed",
      message: /no OpenPGP signature/,
    },
  ];

  for (const c of cases)
    test(c.name, async () => {
      const signature = c.signature();
      const options = c.image === undefined ? {} : { name: c.image };
      const verdict = verify(c.keys?.() ?? trusted, signature, options);
      await refused(verdict, c.code ?? "signature-untrusted", c.message, c.hint);
    });

  test("what is said early changes no verdict", async () => {
    for (const signature of [Buffer.from("garbage"), gpg.sign("another", [signer])])
      await assert.rejects(verify(trusted, signature, { early: true }), RktError);
  });
});

const once = <T>(make: () => T): (() => T) => {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
};

const rsa = once(() => gpg.newKey("rsa", { algorithm: "rsa2048" }));
const short = once(() => gpg.newKey("short", { algorithm: "rsa1024" }));
const old = once(() => gpg.newKey("old", { date: "2020-01-01" }));
const expired = once(() => gpg.newKey("expired", { date: "2020-01-01", expires: "2021-01-01" }));

const keyOfExpiredSubkey = once(() => {
  const key = gpg.newKey("with expired subkey", { usage: "cert", date: "2020-01-01" });
  return { key, subkey: gpg.addSigningSubkey(key, { date: "2020-01-01", expires: "2021-01-01" }) };
});

const expiredWithSubkey = once(() => {
  const key = gpg.newKey("expired with subkey", { usage: "cert", date: "2020-01-01", expires: "2021-01-01" });
  return { key, subkey: gpg.addSigningSubkey(key, { date: "2020-01-01" }) };
});

test("a revocation counts wherever the machine has it: beside a copy that does not know of it, or below another place", async () => {
  const key = gpg.newKey("revoked elsewhere");
  const signature = gpg.sign(IMAGE, [key]);
  const before = gpg.export(key);
  const trusted: Trusted = { fingerprint: key, prefix: "example.com", content: before };
  assert.deepEqual((await verify([trusted], signature)).identities, [identity("revoked elsewhere")]);
  gpg.revoke(key, { reason: 1 });
  const why = /was revoked on \S+Z, as \S+ has it: it has been compromised$/;
  const revoked: Trusted[] = [
    { fingerprint: key, prefix: "example.com", layer: "systemConfig" },
    { fingerprint: key },
    { fingerprint: key, prefix: "another.example" },
  ];
  for (const copy of revoked) await refused(verify([copy, trusted], signature), "signature-untrusted", why);
});

const keyOfRevokedSubkey = once(() => {
  const key = gpg.newKey("with revoked subkey", { usage: "cert" });
  const signature = gpg.sign(IMAGE, [gpg.addSigningSubkey(key)]);
  gpg.revoke(key, { subkey: 1 });
  return { key, signature };
});

const grownKey = once(() => {
  const key = gpg.newKey("grown");
  const before = gpg.export(key);
  return { key, before, subkey: gpg.addSigningSubkey(key) };
});

/** A stranger's subkey, with the stranger's word for it, after the packets of a trusted key. */
const graft = once(() => {
  const key = gpg.newKey("grafted");
  const strangers = gpg.newKey("grafter", { usage: "cert" });
  const subkey = gpg.addSigningSubkey(strangers);
  return { key, subkey, file: Buffer.concat([gpg.run(["--export", key]), gpg.exportFrom(strangers, 14)]) };
});
