/**
 * Public keys without an owner's name, as cosign makes them: one PEM block
 * "PUBLIC KEY". They lie in the keystore beside OpenPGP's, named by the
 * SHA-256 of what is in the block (SubjectPublicKeyInfo, RFC 5280).
 */

import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { errorText, RktError } from "../../shared/errors.ts";
import { type KeyFile, type KeystoreDirs, keysFor, readKeyFile } from "./keystore.ts";
import type { Verdict } from "./signature-check.ts";

export interface KeyPairKey {
  /** 64 hex digits. */
  fingerprint: string;
  /** "ecdsa-p256", "ed25519", "rsa3072". */
  algorithm: string;
  key: KeyObject;
  /** As it is kept. */
  pem: string;
}

const CURVES: Readonly<Record<string, string>> = { prime256v1: "ecdsa-p256", secp384r1: "ecdsa-p384", secp521r1: "ecdsa-p521" };
const LEAST_RSA = 2048;
const MOST_RSA = 8192;
const MAX_SIGNATURE = 2048;

/** Whether a file is meant as such a key, or as its secret half. */
export const isPemKey = (bytes: Uint8Array): boolean =>
  /^\s*-----BEGIN (?!PGP)[A-Z ]+-----/.test(Buffer.from(bytes.subarray(0, 200)).toString("latin1"));

/** Errors call the source by `object`. */
export function readPemKey(bytes: Uint8Array, object: string): KeyPairKey {
  const refuse = (why: string, cause?: unknown) =>
    new RktError("key-malformed", `${object}: ${why}`, { hint: "`cosign generate-key-pair` writes cosign.pub", cause });
  const text = Buffer.from(bytes).toString("latin1");
  if (/PRIVATE KEY-----/.test(text)) throw refuse("it is a secret key, which belongs nowhere but with its owner");
  if ((text.match(/-----BEGIN /g) ?? []).length !== 1) throw refuse("it must have one key, and nothing else");
  if (!/-----BEGIN PUBLIC KEY-----/.test(text)) throw refuse('it is no "PUBLIC KEY"');
  let key: KeyObject;
  try {
    key = createPublicKey({ key: text, format: "pem" });
  } catch (cause) {
    throw refuse(`it is no public key: ${errorText(cause)}`, cause);
  }
  const algorithm = algorithmOf(key);
  if (algorithm === undefined) throw refuse("it is neither ECDSA on a NIST curve, nor Ed25519, nor RSA of 2048 to 8192 bits");
  const spki = key.export({ format: "der", type: "spki" });
  return {
    fingerprint: createHash("sha256").update(spki).digest("hex"),
    algorithm,
    key,
    pem: key.export({ format: "pem", type: "spki" }).toString(),
  };
}

function algorithmOf({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): string | undefined {
  if (type === "ed25519") return type;
  if (type === "ec") return CURVES[details?.namedCurve ?? ""];
  const bits = details?.modulusLength ?? 0;
  return type === "rsa" && bits >= LEAST_RSA && bits <= MOST_RSA ? `rsa${bits}` : undefined;
}

/** Gives a function that judges one signature of a document. */
export function keyPairVerifier(
  dirs: KeystoreDirs,
): (document: Uint8Array, signature: Uint8Array, imageName: string) => Verdict {
  return (document, signature, imageName) => {
    const { keys, damaged } = trustedPemKeys(keysFor(dirs, imageName));
    const untrusted = (why: string) =>
      new RktError("signature-untrusted", `the signature of image ${imageName} does not count: ${[why, ...damaged].join("; ")}`, {
        hint: `if you trust the signer: rkt trust --prefix=${imageName} cosign.pub`,
      });
    if (keys.length === 0) throw untrusted("no key of its kind is trusted for the image");
    if (signature.length > MAX_SIGNATURE) throw untrusted("it is too long");
    const signer = keys.find(({ key }) => isBy(key, document, signature));
    if (signer === undefined) throw untrusted("no key that is trusted for the image has made it");
    return { identities: [`key ${signer.fingerprint} (${signer.algorithm})`] };
  };
}

/** Whether any key of this kind is trusted for the image. */
function trustedPemKeys(files: readonly KeyFile[]): { keys: KeyPairKey[]; damaged: string[] } {
  const keys: KeyPairKey[] = [];
  const damaged: string[] = [];
  for (const file of files) {
    const bytes = readKeyFile(file);
    if (!isPemKey(bytes)) continue;
    try {
      const key = readPemKey(bytes, file.path);
      if (key.fingerprint === file.fingerprint) keys.push(key);
      else damaged.push(`${file.path} has another key than its name says`);
    } catch (error) {
      if (!(error instanceof RktError)) throw error;
      damaged.push(error.message);
    }
  }
  return { keys, damaged };
}

function isBy(key: KeyObject, document: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify(key.asymmetricKeyType === "ed25519" ? null : "sha256", document, key, signature);
  } catch {
    // Not of the key's form.
    return false;
  }
}
