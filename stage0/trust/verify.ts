/**
 * Verifies the detached OpenPGP signature of an image. The keystore says which keys are trusted; this module decides,
 * and says why a signature is refused.
 *
 * It reads the image's bytes once, and does not keep them. The signature may come after them, so all digests that it
 * may use are computed meanwhile. openpgp gets the finished digest; it is loaded when the signature is there.
 *
 * Like gpgv and CoreOS's rkt, it is stricter than RFC 9580 in one point: a key must be valid today. A signature by an
 * expired or superseded key is refused, even one from the time when the key was valid, because a thief of the key could
 * choose that date.
 */

import { createHash, type Hash } from "node:crypto";
import type { Key, SignaturePacket, Subkey } from "openpgp";
import { errorText, RktError } from "../../shared/errors.ts";
import { isPemKey } from "./key-pair.ts";
import { type KeyFile, type KeystoreDirs, filesOf, keysFor, listKeys, readKeyFile } from "./keystore.ts";
import {
  armoredBlocks,
  expiryOf,
  formatDate,
  identitiesOf,
  isBinary,
  readPublicKeys,
  revocationsOf,
} from "./public-key.ts";
import type { SignatureCheck, Verdict } from "./signature-check.ts";

/** The digests, by their numbers in RFC 9580, 9.5. gpg uses the longer two: SHA-384 for a key on the curve P-384. */
const DIGESTS: ReadonlyMap<number, string> = new Map([
  [8, "sha256"],
  [9, "sha384"],
  [10, "sha512"],
]);
const WEAK_DIGESTS: ReadonlyMap<number, string> = new Map([
  [1, "MD5"],
  [2, "SHA-1"],
  [3, "RIPEMD-160"],
]);

/** Returns a function that begins the check of one image. */
export function signatureChecker(dirs: KeystoreDirs): () => SignatureCheck {
  return () => {
    const hashes = new Map([...DIGESTS].map(([number, name]) => [number, createHash(name)]));
    return {
      update(chunk) {
        for (const hash of hashes.values()) hash.update(chunk);
      },
      async expect(bytes) {
        // `finish` reports a malformed signature.
        const packets = await readSignature(bytes).catch(() => undefined);
        if (packets === undefined) return;
        for (const number of hashes.keys())
          if (!packets.some((packet) => packet.hashAlgorithm === number)) hashes.delete(number);
      },
      finish: async (bytes, imageName) => judge(dirs, await readSignature(bytes), hashes, imageName),
    };
  };
}

// --- the verdict ----------------------------------------------------------------------

/** Why a signature is refused. */
interface Refusal {
  reason: string;
  hint?: string | undefined;
}

/** Decides about the signatures of an image: one good signature of several is enough. */
async function judge(
  dirs: KeystoreDirs,
  signatures: readonly SignaturePacket[],
  hashes: ReadonlyMap<number, Hash>,
  imageName: string,
): Promise<Verdict> {
  const { keys, damaged } = await readKeys(keysFor(dirs, imageName));
  let others: TrustedKey[] | undefined;
  const identities: string[] = [];
  const refusals: Refusal[] = [];
  for (const signature of signatures) {
    const issuers = keys.filter(({ key }) => partsBy(key, signature).length > 0);
    if (issuers.length === 0) {
      others ??= (await readKeys(listKeys(dirs))).keys;
      refusals.push(await unknownIssuer(others, signature, imageName));
    }
    for (const { key, file } of issuers)
      for (const part of partsBy(key, signature)) {
        const refusal =
          (await refusalOf(signature, key, part, hashes)) ?? (await revokedElsewhere(dirs, key, part, file));
        if (refusal === undefined) identities.push(...(await signersNames(key)));
        else refusals.push({ hint: `key file: ${file.path}`, ...refusal });
      }
  }
  if (identities.length > 0) return { identities: [...new Set(identities)] };
  const reasons = [...refusals.map(({ reason }) => reason), ...damaged];
  throw new RktError(
    "signature-untrusted",
    `the signature of image ${imageName} is not trusted: ${[...new Set(reasons)].join("; ")}`,
    { hint: refusals[0]?.hint },
  );
}

const RESIGN = "the image must be signed again, with `gpg --digest-algo=SHA512`";
const RENEWED = "get the signer's new or renewed key, and trust it with `rkt trust`";

/** Why the signature by `part` of `key` is refused; undefined if it is good. */
async function refusalOf(
  signature: SignaturePacket,
  key: Key,
  part: Key | Subkey,
  hashes: ReadonlyMap<number, Hash>,
): Promise<Refusal | undefined> {
  const { enums } = await import("openpgp");
  const name = await nameOf(key);
  const digest = signature.hashAlgorithm ?? 0;
  const weak = WEAK_DIGESTS.get(digest);
  if (weak !== undefined) return { reason: `it uses ${weak}, which can be forged`, hint: RESIGN };
  const hash = hashes.get(digest);
  if (hash === undefined) return { reason: `it uses digest ${digest}, which is not supported`, hint: RESIGN };
  if (signature.version !== 4) return { reason: `it has version ${signature.version}, which is not supported` };
  if (signature.signatureType !== enums.signature.binary) {
    return { reason: "it is no signature of a file's bytes", hint: "`gpg --armor --detach-sign FILE` makes one" };
  }

  try {
    await verifyDigest(signature, part, digestOf(hash, signature));
  } catch (error) {
    if (!/digest did not match|verification failed/.test(errorText(error))) return { reason: errorText(error) };
    return {
      reason: `${name} signed another file, or the image was changed`,
      hint: "fetch the image and its signature again, from a place you trust",
    };
  }
  return refusalByTime(signature, key, part, name);
}

async function refusalByTime(
  signature: SignaturePacket,
  key: Key,
  part: Key | Subkey,
  name: string,
): Promise<Refusal | undefined> {
  const now = new Date();
  const created = signature.created ?? now;
  for (const each of new Set([key, part])) {
    const what = whatIs(each);
    const [revocation] = await revocationsOf(key, each);
    if (revocation !== undefined) {
      const { at, reason } = revocation;
      return { reason: `the ${what} of ${name} was revoked on ${formatDate(at)}: ${reason}`, hint: RENEWED };
    }
    const expiry = await expiryOf(key, each);
    if (expiry !== undefined && expiry <= now)
      return { reason: `the ${what} of ${name} expired on ${formatDate(expiry)}`, hint: RENEWED };
  }
  if (created > now) return { reason: `it is dated ${formatDate(created)}`, hint: "is this machine's clock right?" };
  const end = signature.getExpirationTime();
  if (end instanceof Date && end <= now)
    return { reason: `it expired on ${formatDate(end)}`, hint: "the image must be signed again" };
  const what = whatIs(part);
  if (created < part.getCreationTime())
    return { reason: `it is older than the ${what} of ${name}: dated ${formatDate(created)}` };
  try {
    const usable = await key.getSigningKey(signature.issuerKeyID, now);
    if (usable.keyPacket !== part.keyPacket) throw new Error("another key has the same ID");
  } catch (error) {
    return { reason: `the ${what} of ${name} may not sign: ${errorText(error)}` };
  }
  return undefined;
}

/** Refuses a key that another copy of it, the vendor's or one for other images, says is revoked. */
async function revokedElsewhere(
  dirs: KeystoreDirs,
  key: Key,
  part: Key | Subkey,
  { fingerprint, path }: KeyFile,
): Promise<Refusal | undefined> {
  const { keys } = await readKeys(filesOf(dirs, fingerprint).filter((file) => file.path !== path));
  for (const { key: copy, file } of keys)
    for (const each of [copy, ...copy.subkeys]) {
      const is = each.getFingerprint();
      if (is !== fingerprint && is !== part.getFingerprint()) continue;
      const [revocation] = await revocationsOf(copy, each);
      if (revocation === undefined) continue;
      const { at, reason } = revocation;
      const what = `the ${whatIs(each)} of ${await nameOf(key)} was revoked on ${formatDate(at)}, as ${file.path} has it`;
      return { reason: `${what}: ${reason}`, hint: RENEWED };
    }
  return undefined;
}

const whatIs = (part: Key | Subkey): string => ("mainKey" in part ? "signing subkey" : "key");

/** The refusal for a signer that is not trusted for this image, but perhaps for others. */
async function unknownIssuer(
  keys: readonly TrustedKey[],
  signature: SignaturePacket,
  imageName: string,
): Promise<Refusal> {
  const hint = `if you trust the signer: rkt trust --prefix=${imageName} [PUBKEY]`;
  const known = keys.filter(({ key }) => partsBy(key, signature).length > 0);
  const [first] = known;
  if (first === undefined) return { reason: `key ${issuerOf(signature)} is not trusted`, hint };
  const prefixes = known.map(({ file }) => file.prefix ?? "").join(", ");
  return { reason: `the key of ${await nameOf(first.key)} is trusted for ${prefixes} only`, hint };
}

// --- signatures and keys ---------------------------------------------------------------

async function readSignature(bytes: Uint8Array): Promise<SignaturePacket[]> {
  const openpgp = await import("openpgp");
  const packets: unknown[] = [];
  try {
    if (isBinary(bytes)) packets.push(...(await openpgp.readSignature({ binarySignature: bytes })).packets);
    else
      for (const armoredSignature of armoredBlocks(bytes))
        packets.push(...(await openpgp.readSignature({ armoredSignature })).packets);
  } catch (cause) {
    throw malformed(`: ${errorText(cause)}`, cause);
  }
  if (packets.length === 0) throw malformed("");
  if (packets.length > MAX_SIGNATURES) throw malformed(`: there are ${packets.length} in it`);
  // openpgp returns packets that it does not know as another class.
  const signatures = packets.filter((packet) => packet instanceof openpgp.SignaturePacket);
  if (signatures.length === 0) throw malformed(" of a version or algorithm that is known");
  return signatures;
}

/** A limit, because each signature is looked up in all keys. No real image has more signatures. */
const MAX_SIGNATURES = 64;

const malformed = (why: string, cause?: unknown): RktError =>
  new RktError("signature-malformed", `the signature is no OpenPGP signature${why}`, {
    hint: "`gpg --armor --detach-sign FILE` makes one",
    cause,
  });

interface TrustedKey {
  key: Key;
  file: KeyFile;
}

/** Reads the keys in these files. A damaged file does not stop the others; it is reported if no key is found. */
async function readKeys(files: readonly KeyFile[]): Promise<{ keys: TrustedKey[]; damaged: string[] }> {
  const keys: TrustedKey[] = [];
  const damaged: string[] = [];
  for (const file of files.filter(({ trusted }) => trusted)) {
    try {
      const bytes = readKeyFile(file);
      // Of another kind (key-pair.ts).
      if (isPemKey(bytes)) continue;
      const found = await readPublicKeys(bytes, file.path);
      const key = found.find((each) => each.getFingerprint() === file.fingerprint);
      if (key !== undefined) keys.push({ key, file });
      else damaged.push(`${file.path} has another key than its name says`);
    } catch (error) {
      if (!(error instanceof RktError)) throw error;
      damaged.push(error.message);
    }
  }
  return { keys, damaged };
}

/** The key or its subkeys that the signature names as its issuer. */
function partsBy(key: Key, signature: SignaturePacket): (Key | Subkey)[] {
  return [key, ...key.subkeys].filter((part) => part.getKeyID().equals(signature.issuerKeyID));
}

function issuerOf({ issuerFingerprint, issuerKeyID }: SignaturePacket): string {
  const digits = issuerFingerprint === null ? issuerKeyID.toHex() : Buffer.from(issuerFingerprint).toString("hex");
  return digits.toUpperCase();
}

async function signersNames(key: Key): Promise<string[]> {
  const identities = await identitiesOf(key);
  return identities.length > 0 ? identities : [key.getFingerprint().toUpperCase()];
}

async function nameOf(key: Key): Promise<string> {
  const [first = ""] = await signersNames(key);
  return first;
}

// --- the digest ------------------------------------------------------------------------

/** RFC 9580, 5.2.4: after the file, the signature's own hashed data and their length are hashed. */
function digestOf(hash: Hash, { signatureData }: SignaturePacket): Buffer {
  const data = signatureData ?? new Uint8Array();
  const trailer = Buffer.from([4, 0xff, 0, 0, 0, 0]);
  trailer.writeUInt32BE(data.length, 2);
  return hash.copy().update(data).update(trailer).digest();
}

/**
 * Verifies a digest. openpgp uses the digest in `hashed`, where it has that of a streamed message, instead of computing
 * one.
 */
async function verifyDigest(signature: SignaturePacket, { keyPacket }: Key | Subkey, digest: Buffer): Promise<void> {
  const { signatureType, created } = signature;
  if (signatureType === null || created === null) throw new Error("a signature without a type or date");
  Object.assign(signature, { hashed: new Uint8Array(digest) });
  // Checked for the signature's own date. `refusalByTime` checks what has expired since.
  await signature.verify(keyPacket, signatureType, {}, created, true);
}
