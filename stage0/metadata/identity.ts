/**
 * The signatures by which containers prove their identity to each other. The service keeps one key, and derives from it
 * a key for each container. So no container can sign as another, and a signature can be verified after its container
 * has ended.
 */

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { beside } from "../../shared/beside.ts";
import { errorCode, RktError } from "../../shared/errors.ts";
import { isUuid } from "../../shared/contract/data-directory.ts";
import type { HostPath } from "../../shared/contract/paths.ts";
import type { Identity, Signed } from "./service.ts";

/** Bytes: as long as an HMAC-SHA512 (RFC 2104, section 3). */
const KEY_LENGTH = 64;

export function openIdentity(path: HostPath): Identity {
  const key = readKey(path) ?? makeKey(path);
  const sign = (uuid: string, kind: Signed, content: Uint8Array): Buffer => {
    const name = uuid.toLowerCase();
    // The name of a kind before the UUID makes another key, so that no key has two uses.
    const own = createHmac("sha512", key)
      .update(kind === "content" ? name : `${kind} ${name}`)
      .digest();
    return createHmac("sha512", own).update(content).digest();
  };
  return {
    sign,
    verify(uuid, kind, content, signature) {
      if (!isUuid(uuid.toLowerCase())) return false;
      const expected = sign(uuid, kind, content);
      return signature.length === expected.length && timingSafeEqual(signature, expected);
    },
  };
}

function readKey(path: HostPath): Buffer | undefined {
  let key: Buffer;
  try {
    key = readFileSync(path);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  if (key.length !== KEY_LENGTH)
    throw new RktError("bad-key", `${path} holds ${key.length} bytes, not a key of ${KEY_LENGTH}`, {
      hint: "remove it to have a new one made; signatures by the old one are then void",
    });
  return key;
}

/** Makes the key's file atomically. If another process has made one meanwhile, that is used. */
function makeKey(path: HostPath): Buffer {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = beside(path);
  writeFileSync(temporary, randomBytes(KEY_LENGTH), { mode: 0o600, flag: "wx" });
  try {
    linkSync(temporary, path);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  } finally {
    unlinkSync(temporary);
  }
  return readFileSync(path);
}
