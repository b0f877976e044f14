/**
 * Verifies the detached OpenPGP signature of an image. Owns the verdict and its
 * reasons; the keystore says which keys are trusted.
 *
 * The image's bytes pass once, and are not kept. Because the signature may come
 * after them, every digest that a signature may use is computed meanwhile.
 * openpgp gets the finished digest; it is loaded when there is a signature.
 *
 * In one thing this is stricter than RFC 9580, as gpgv and CoreOS's rkt are: a
 * key must be good today. What an expired, retired or superseded key has signed
 * in its time is refused, because a person who finds the key can choose the date.
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

/** By their numbers in RFC 9580, 9.5. gpg signs with the longer two, and with SHA-384 if a key is on the curve P-384. */
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

/** Gives a function that begins the check of one image. */
export function signatureChecker(dirs: KeystoreDirs): () => SignatureCheck {
  return () => {
    const hashes = new Map([...DIGESTS].map(([number, name]) => [number, createHash(name)]));
    return {
      update(chunk) {
        for (const hash of hashes.values()) hash.update(chunk);
      },
      async expect(bytes) {
        // `finish` reports what is wrong with it.
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

/** One signature of several is enough. */
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
    `the signature of image ${imageName} does not count: ${[...new Set(reasons)].join("; ")}`,
    { hint: refusals[0]?.hint },
  );
}

const RESIGN = "the image must be signed again, with `gpg --digest-algo=SHA512`";
const RENEWED = "`rkt trust` is told of the signer's new key, or of the old one renewed";

/** Why `part` of `key` has not signed what was hashed, or may not sign; undefined if it is a good signature. */
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

/** A revocation in another copy of the key: the vendor's, or one that is trusted for other images. */
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

/** The refusal of a signer who is not trusted for the image, but perhaps for others. */
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
  // openpgp has another class for packets that it does not know.
  const signatures = packets.filter((packet) => packet instanceof openpgp.SignaturePacket);
  if (signatures.length === 0) throw malformed(" of a version or algorithm that is known");
  return signatures;
}

/** Each signature is looked up in all keys; nobody has an image signed by more. */
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

/** A file that cannot be used does not stop the others; it is reported if none of them has the key. */
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

/** The key or its subkeys, if the signature says that it is by them. */
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

/** openpgp keeps the digest of a streamed message in `hashed`, and does not compute it again if it is there. */
async function verifyDigest(signature: SignaturePacket, { keyPacket }: Key | Subkey, digest: Buffer): Promise<void> {
  const { signatureType, created } = signature;
  if (signatureType === null || created === null) throw new Error("a signature without a type or date");
  Object.assign(signature, { hashed: new Uint8Array(digest) });
  // As of the signature's own date; what has expired since is judged elsewhere.
  await signature.verify(keyPacket, signatureType, {}, created, true);
}
