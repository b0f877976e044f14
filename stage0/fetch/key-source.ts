/**
 * Gets public keys: from a file, from a URL, or from where the host of an
 * image's name says they are. The person decides whether to trust them.
 */

import { fileURLToPath } from "node:url";
import type { Key } from "openpgp";
import { readNamed } from "../../shared/bounded-read.ts";
import { errorText, RktError, withoutCredentials } from "../../shared/errors.ts";
import { discoverKeys, formatAttempts } from "./discovery.ts";
import { fetchBytes } from "./fetch-bytes.ts";
import type { HttpClient } from "./http.ts";
import { plainHref } from "./plain-href.ts";
import { isPemKey, type KeyPairKey, readPemKey } from "../trust/key-pair.ts";
import { readPublicKeys } from "../trust/public-key.ts";

/** An OpenPGP key, or one of a pair without an owner (cosign): what is in the file tells. */
export type FoundKey = (
  | { kind: "openpgp"; key: Key }
  | { kind: "pair"; key: KeyPairKey }
) & {
  /** Path or URL. */
  source: string;
};

/** Enough for the keyring of a distribution; a key has some thousand bytes. */
const KEY_LIMIT = 4 << 20;

export interface SourceOptions {
  /** Of the host that discovery asks; undefined: the scheme's own. */
  port?: number | undefined;
  onPlainHttp?: (url: string) => void;
}

/** The keys of a file or URL. */
export async function keysFrom(http: HttpClient, source: string): Promise<FoundKey[]> {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(source)) return keysOf(readFile(source), source);
  const url = URL.parse(source);
  if (url === null) throw new RktError("bad-url", `public key ${withoutCredentials(source)}: malformed URL`);
  if (url.protocol === "file:") return keysOf(readFile(pathOf(url)), pathOf(url));
  return download(http, url);
}

/** The keys that the host of an image's name has for it: at least one. */
export async function keysByDiscovery(
  http: HttpClient,
  prefix: string,
  options: SourceOptions = {},
): Promise<FoundKey[]> {
  const { found, attempts } = await discoverKeys(http, prefix, options);
  if (found.length === 0) {
    throw new RktError("no-key-found", `no public key for ${prefix} can be found: ${formatAttempts(attempts)}`, {
      hint: `name its file or URL: rkt trust --prefix=${prefix} PUBKEY`,
    });
  }
  const keys: FoundKey[] = [];
  for (const url of found) keys.push(...(await download(http, url)));
  return keys;
}

async function download(http: HttpClient, url: URL): Promise<FoundKey[]> {
  if (url.protocol !== "https:" && !(url.protocol === "http:" && http.plainHttp)) {
    throw new RktError("insecure-url", `public key ${plainHref(url)}: a key must come by https`, {
      hint: url.protocol === "http:" ? "--insecure-options=http allows plain http" : undefined,
    });
  }
  const { bytes } = await fetchBytes(http, url, { limit: KEY_LIMIT });
  return keysOf(bytes, plainHref(url));
}

async function keysOf(bytes: Uint8Array, source: string): Promise<FoundKey[]> {
  if (isPemKey(bytes)) return [{ kind: "pair", key: readPemKey(bytes, source), source }];
  return (await readPublicKeys(bytes, source)).map((key) => ({ kind: "openpgp", key, source }));
}

function readFile(path: string): Uint8Array {
  try {
    return readNamed(path, KEY_LIMIT);
  } catch (cause) {
    throw new RktError("key-unreadable", `cannot read the public key: ${errorText(cause)}`, {
      hint: "PUBKEY is a file or an https URL; without one the prefix's host is asked",
      cause,
    });
  }
}

function pathOf(url: URL): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new RktError("bad-url", `public key ${url.href}: ${errorText(cause)}`, { cause });
  }
}
