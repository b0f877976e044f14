import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { keystoreLayout } from "../../shared/layout.ts";
import { makeGpg } from "../../test/fixtures/gpg.ts";
import type { Verdict } from "./fetch-context.ts";
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
  content?: string;
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

describe("signatures by gpg", () => {
  for (const algorithm of ["rsa2048", "rsa3072", "rsa4096", "ed25519", "nistp256", "nistp384"])
    test(algorithm, async () => {
      const fingerprint = gpg.newKey(`of ${algorithm}`, { algorithm });
      const identities = [`of ${algorithm} <of-${algorithm}@example.com>`];
      const signature = gpg.sign(IMAGE, [fingerprint]);
      assert.deepEqual(await verify([{ fingerprint }], signature), { identities });
      await refused(
        verify([{ fingerprint }], signature, { image: IMAGE.subarray(1) }),
        "signature-untrusted",
        /another file/,
      );
    });
});
