/**
 * Reads OpenPGP public keys, and describes them for a user who decides whether to trust one. Only this module and
 * `verify.ts` use openpgp, which is loaded at the first key. Keys are not trusted: an identity that the key itself has
 * not signed may be false.
 */

import type { Key, Subkey } from "openpgp";
import { errorText, RktError } from "../../shared/errors.ts";
import { type KeyFile, readKeyFile } from "./keystore.ts";

/**
 * Reads the keys in a file. `object` is its name in errors. A secret key is refused, because it was given by mistake.
 */
export async function readPublicKeys(bytes: Uint8Array, object: string): Promise<Key[]> {
  const openpgp = await import("openpgp");
  const refuse = (why: string, cause?: unknown) =>
    new RktError("key-malformed", `${object}: ${why}`, {
      hint: "`gpg --armor --export NAME` writes a public key",
      cause,
    });
  if (bytes.length === 0) throw refuse("it is empty");
  let keys: Key[] = [];
  try {
    if (isBinary(bytes)) keys = await openpgp.readKeys({ binaryKeys: bytes });
    else for (const armoredKeys of armoredBlocks(bytes)) keys.push(...(await openpgp.readKeys({ armoredKeys })));
  } catch (cause) {
    throw refuse(`it is no OpenPGP key: ${errorText(cause)}`, cause);
  }
  if (keys.length === 0) throw refuse("it is no OpenPGP key");
  for (const key of keys)
    if (key.isPrivate()) throw refuse("it is a secret key, which belongs nowhere but with its owner");
  return keys;
}

/** Whether a file is binary: OpenPGP packets begin with a bit that is never set in ASCII. */
export const isBinary = (bytes: Uint8Array): boolean => ((bytes[0] ?? 0) & 0x80) !== 0;

/** The armored blocks of a text, one by one, because openpgp reads only the first. */
export function armoredBlocks(bytes: Uint8Array): string[] {
  const blocks: string[] = [];
  let kind: string | undefined;
  let lines: string[] = [];
  for (const line of Buffer.from(bytes).toString("utf8").split("\n")) {
    const [, edge, of] = /^-----(BEGIN|END) PGP ([^-]*)-----/.exec(line) ?? [];
    if (edge === "BEGIN") {
      kind = of;
      lines = [];
    }
    if (kind === undefined) continue;
    lines.push(line);
    if (edge !== "END" || of !== kind) continue;
    blocks.push(lines.join("\n"));
    kind = undefined;
  }
  return blocks;
}

/** Armors a key, with the checksum that older readers such as CoreOS's rkt demand. */
export async function armorKey(key: Key): Promise<string> {
  const { armor, enums } = await import("openpgp");
  return armor(enums.armor.publicKey, key.write(), undefined, undefined, undefined, true);
}

/** The user IDs that the key has signed and not revoked, the main one first. */
export async function identitiesOf(key: Key): Promise<string[]> {
  const valid: string[] = [];
  for (const user of key.users) {
    if (user.userID === null) continue;
    try {
      await user.verify();
      valid.push(user.userID.userID);
    } catch {}
  }
  const main = await key.getPrimaryUser().then(
    ({ user }) => user.userID?.userID,
    () => undefined,
  );
  return main === undefined ? valid : [main, ...valid.filter((identity) => identity !== main)];
}

export interface Revocation {
  at: Date;
  /** The owner's words, such as "it has been compromised". */
  reason: string;
}

/** RFC 9580, 5.2.3.31. */
const REASONS: Readonly<Record<number, string>> = {
  1: "it is superseded",
  2: "it has been compromised",
  3: "it is no longer used",
};

/** Revocations of a key or subkey by its own primary key, the earliest first. */
export async function revocationsOf(key: Key, part: Key | Subkey): Promise<Revocation[]> {
  const { enums } = await import("openpgp");
  const primary = key.keyPacket;
  const whole = part.keyPacket === primary;
  const type = whole ? enums.signature.keyRevocation : enums.signature.subkeyRevocation;
  const revoked = whole ? { key: primary } : { key: primary, bind: part.keyPacket };
  const found: Revocation[] = [];
  for (const signature of part.revocationSignatures) {
    const at = signature.created;
    if (at === null || !(await isMade(signature.verify(primary, type, revoked, at)))) continue;
    const flag = signature.reasonForRevocationFlag ?? 0;
    const words = [REASONS[flag] ?? "without a reason", signature.reasonForRevocationString ?? ""];
    found.push({ at, reason: words.filter((word) => word !== "").join(": ") });
  }
  return found.sort((a, b) => a.at.getTime() - b.at.getTime());
}

/**
 * Adds to a key the revocations from all its files on this machine, so that an older copy of the key can't undo one.
 */
export async function withRevocations(key: Key, files: readonly KeyFile[]): Promise<Key> {
  let whole = key;
  for (const file of files) {
    // `verify.ts` reports a damaged file, when it needs its key.
    const found = await readPublicKeys(readKeyFile(file), file.path).catch(() => []);
    const known = found.find((each) => each.getFingerprint() === key.getFingerprint());
    if (known === undefined) continue;
    const parts = await Promise.all([known, ...known.subkeys].map((part) => revocationsOf(known, part)));
    if (parts.some((revocations) => revocations.length > 0)) whole = await whole.update(known);
  }
  return whole;
}

const isMade = (verified: Promise<void>): Promise<boolean> =>
  verified.then(
    () => true,
    () => false,
  );

/** When a key or subkey expires; a subkey does no later than its key. Undefined: never, or the key is invalid. */
export async function expiryOf(key: Key, part: Key | Subkey): Promise<Date | undefined> {
  const times = [await key.getExpirationTime()];
  if ("mainKey" in part) times.push(await part.getExpirationTime());
  const dates = times.filter((time) => time instanceof Date);
  return dates.sort((a, b) => a.getTime() - b.getTime())[0];
}

/** The facts about a key, or a subkey, that the user is shown. */
export interface PartFacts {
  fingerprint: string;
  /** As gpg names it: "rsa4096", "ed25519". */
  algorithm: string;
  created: Date;
  expires: Date | undefined;
  revoked: Revocation | undefined;
}

export interface KeyFacts extends PartFacts {
  identities: string[];
  subkeys: PartFacts[];
}

export async function keyFacts(key: Key): Promise<KeyFacts> {
  const subkeys: PartFacts[] = [];
  for (const subkey of key.subkeys) subkeys.push(await partFacts(key, subkey));
  return { ...(await partFacts(key, key)), identities: await identitiesOf(key), subkeys };
}

async function partFacts(key: Key, part: Key | Subkey): Promise<PartFacts> {
  const { algorithm, bits, curve } = part.getAlgorithmInfo();
  return {
    fingerprint: part.getFingerprint(),
    algorithm:
      bits === undefined
        ? (curve ?? algorithm).replace(/Legacy$/, "").toLowerCase()
        : `${algorithm.slice(0, 3)}${bits}`,
    created: part.getCreationTime(),
    expires: await expiryOf(key, part),
    revoked: (await revocationsOf(key, part))[0],
  };
}

/** `8B86 DE38 890D DB72 9186  7B02 5210 BD88 8818 2190`: gpg's form, which is easy to compare. */
export function spacedFingerprint(fingerprint: string): string {
  const groups = fingerprint.toUpperCase().match(/.{4}/g) ?? [];
  const half = groups.length / 2;
  return [groups.slice(0, half).join(" "), groups.slice(half).join(" ")].join("  ");
}

/** RFC 3339, to the second. */
export const formatDate = (date: Date): string => date.toISOString().replace(/\.\d+/, "");
