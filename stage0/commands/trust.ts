import { RktError, usageError } from "../../shared/errors.ts";
import { acIdentifier } from "../../shared/schema/values.ts";
import { type Command, readLine } from "../cli/command.ts";
import type { GlobalOptions } from "../cli/globals.ts";
import type { FoundKey } from "../fetch/key-source.ts";
import type { KeyFile } from "../trust/keystore.ts";
import type { KeyFacts } from "../trust/public-key.ts";
import { print, printJson, say, writeError } from "../terminal/output.ts";
import { table } from "../terminal/table.ts";
import type { OptionTable } from "../cli/words.ts";
import { jsonForm } from "../cli/options.ts";
import { checked } from "../cli/values.ts";

const options = {
  prefix: {
    type: "string",
    exclusive: "scope",
    value: "NAME",
    description: "for the image of this name, and those whose names continue with a slash",
  },
  root: { type: "boolean", exclusive: "scope", description: "for all images" },
  "skip-fingerprint-review": {
    type: "boolean",
    exclusive: "action",
    description: "do not ask whether the fingerprint is the right one",
  },
  "insecure-allow-http": { type: "boolean", description: "the same as --insecure-options=http", hidden: true },
  list: { type: "boolean", exclusive: "action", description: "list the keys" },
  remove: { type: "boolean", exclusive: "action", description: "stop trusting keys; the arguments are fingerprints" },
  format: {
    type: "string",
    choices: ["table", "json", "json-pretty"],
    value: "FORMAT",
    description: "of --list: table (the default), json in one line, or json-pretty",
  },
  "no-legend": { type: "boolean", description: "of --list: no line with the names of the columns" },
} as const satisfies OptionTable;

/** The images that a key is for. */
type Scope = { prefix: string | undefined };

export const command: Command = {
  usage: "trust (--prefix=NAME | --root) [options] [PUBKEY...]",
  description: `Trusts a public key to sign images. PUBKEY is a file or an https URL. Without one, rkt looks in the meta tags of the prefix's host for a key. It is an OpenPGP key or, for images of registries, the public key of a pair that cosign made. rkt shows the key's fingerprint, subkeys and identities, and trusts it only if you answer yes.

\`rkt trust --list\` shows the keys. \`rkt trust --remove\` ends the trust; it masks a key of the system with an empty file.`,
  examples: [
    ["rkt trust --prefix=example.com/app", "the key that example.com names for its image"],
    ["rkt trust --prefix=example.com/app ./pubkey.asc", "a key in a file"],
    ["rkt trust --root https://example.com/pubkey.asc", "a key for all images"],
    ["rkt trust --prefix=docker.io/library cosign.pub", "for images that come from a registry"],
    ["rkt trust --remove 8b86de38890ddb72", "trust it no longer, for any image"],
  ],
  options,
  operands: [0, Number.POSITIVE_INFINITY],
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const scope: Scope | undefined =
      given.prefix !== undefined
        ? { prefix: checked("prefix", given.prefix.replace(/^([^/:]+):([0-9]+)(?=\/|$)/, "$1~$2"), acIdentifier) }
        : given.root
          ? { prefix: undefined }
          : undefined;
    if (!given.list && (given.format !== undefined || given["no-legend"]))
      throw usageError(`--${given.format === undefined ? "no-legend" : "format"} is for --list`);
    if (given.list) {
      if (operands.length > 0) throw usageError(`unexpected argument ${JSON.stringify(operands[0])}`);
      return await list(globals, scope, jsonForm(given) ?? (given["no-legend"] ? "rows" : "table"));
    }
    if (given.remove) return await remove(globals, scope, operands);
    if (scope === undefined)
      throw usageError("there is no --prefix or --root", "--prefix=NAME is for images of a name, --root for all");
    await trust(globals, scope, {
      sources: operands,
      review: !given["skip-fingerprint-review"],
      plainHttp: given["insecure-allow-http"],
    });
  },
};

// --- trust ----------------------------------------------------------------------------

interface TrustRequest {
  /** Files and URLs; if there are none, keys are discovered. */
  sources: readonly string[];
  review: boolean;
  plainHttp: boolean;
}

/** Fetches all keys and asks for each, before the first is written. */
async function trust(globals: GlobalOptions, { prefix }: Scope, request: TrustRequest): Promise<void> {
  const { addKey, filesOf } = await import("../trust/keystore.ts");
  const { armorKey, keyFacts, withRevocations } = await import("../trust/public-key.ts");
  const { askYesNo, checkTerminal, describeKey, describePair } = await import("../trust/review.ts");
  const whose = prefix === undefined ? "all images" : `images of ${prefix}`;
  if (request.review) checkTerminal();
  const accepted: { found: FoundKey; fingerprint: string }[] = [];
  const declined: string[] = [];
  for (const found of await findKeys(globals, prefix, request)) {
    const facts = found.kind === "openpgp" ? await keyFacts(found.key) : found.key;
    const { fingerprint } = facts;
    const lines = "pem" in facts ? describePair(facts, found.source) : describeKey(facts, found.source);
    if (request.review || !globals.quiet) writeError(`${lines.join("\n")}\n`);
    if (!request.review || askYesNo(`Trust this key to sign ${whose}?`)) accepted.push({ found, fingerprint });
    else declined.push(fingerprint);
  }
  for (const { found, fingerprint } of accepted) {
    const armored =
      found.kind === "openpgp"
        ? await armorKey(await withRevocations(found.key, filesOf(globals, fingerprint)))
        : found.key.pem;
    const path = addKey(globals, { fingerprint, armored, prefix });
    if (!globals.quiet) say(`trusted to sign ${whose}: ${path}`);
  }
  if (declined.length > 0) throw new RktError("declined", `not trusted, as you said: ${declined.join(", ")}`);
}

async function findKeys(
  globals: GlobalOptions,
  prefix: string | undefined,
  { sources, plainHttp }: TrustRequest,
): Promise<FoundKey[]> {
  const { credentialsFrom } = await import("../config/auth.ts");
  const { openHttp } = await import("../fetch/http.ts");
  const { keysByDiscovery, keysFrom } = await import("../fetch/key-source.ts");
  const { insecure } = globals;
  const httpAllowed = insecure.has("http") || plainHttp;
  const credentials = credentialsFrom(globals, say);
  const http = openHttp({
    anyCertificate: insecure.has("tls") || insecure.has("pubkey"),
    plainHttp: httpAllowed || insecure.has("pubkey"),
    // "pubkey" allows insecure connections for keys, which are public, but not for passwords.
    credentialsFor: (url) => (url.protocol === "https:" || httpAllowed ? credentials(url) : undefined),
    onRetry: (error, seconds) => say(`${error.message}; trying again in ${Math.ceil(seconds)} s`),
  });
  try {
    const found: FoundKey[] = [];
    for (const source of sources) found.push(...(await keysFrom(http, source)));
    if (sources.length === 0) {
      if (prefix === undefined)
        throw usageError("--root needs a key: a file or a URL", "keys are discovered for a --prefix only");
      const onPlainHttp = (url: string) => say(`warning: key discovery over plain http: ${url}`);
      found.push(...(await keysByDiscovery(http, prefix, { onPlainHttp })));
    }
    return found;
  } finally {
    await http.close();
  }
}

// --- list -----------------------------------------------------------------------------

interface ListedKey {
  file: KeyFile;
  facts: KeyFacts | undefined;
  /** Of a key without an owner: "ecdsa-p256". */
  pair?: string;
  status: "trusted" | "masked" | "expired" | "revoked" | "damaged";
  /** The error of a damaged file. */
  damage?: string;
}

async function list(globals: GlobalOptions, scope: Scope | undefined, form: "table" | "rows" | { pretty: boolean }): Promise<void> {
  const { listKeys } = await import("../trust/keystore.ts");
  const { strangersText } = await import("../trust/review.ts");
  const keys: ListedKey[] = [];
  for (const file of listKeys(globals)) if (inScope(file, scope)) keys.push(await inspectKey(file));
  if (typeof form === "object") {
    printJson(keys.map(keyJson), form.pretty);
    return;
  }
  const rows = keys.map(({ file, facts, pair, status }) => [
    file.prefix ?? "(all images)",
    file.fingerprint,
    status,
    facts === undefined && pair !== undefined ? `(${pair} without an owner)` : strangersText(facts?.identities[0] ?? ""),
  ]);
  print(table(form === "table" ? ["PREFIX", "FINGERPRINT", "STATUS", "IDENTITY"] : undefined, rows));
  for (const { damage } of keys) if (damage !== undefined) say(damage);
}

const inScope = (file: KeyFile, scope: Scope | undefined): boolean =>
  scope === undefined || file.prefix === scope.prefix;

async function inspectKey(file: KeyFile): Promise<ListedKey> {
  if (!file.trusted) return { file, facts: undefined, status: "masked" };
  const { readKeyFile } = await import("../trust/keystore.ts");
  const { isPemKey, readPemKey } = await import("../trust/key-pair.ts");
  const { keyFacts, readPublicKeys } = await import("../trust/public-key.ts");
  const damaged = (damage: string): ListedKey => ({ file, facts: undefined, status: "damaged", damage });
  try {
    const bytes = readKeyFile(file);
    if (isPemKey(bytes)) {
      const { fingerprint, algorithm } = readPemKey(bytes, file.path);
      if (fingerprint !== file.fingerprint) return damaged(`${file.path} has another key than its name says`);
      return { file, facts: undefined, pair: algorithm, status: "trusted" };
    }
    const keys = await readPublicKeys(bytes, file.path);
    const key = keys.find((each) => each.getFingerprint() === file.fingerprint);
    if (key === undefined) return damaged(`${file.path} has another key than its name says`);
    const facts = await keyFacts(key);
    const expired = facts.expires !== undefined && facts.expires.getTime() <= Date.now();
    return { file, facts, status: facts.revoked !== undefined ? "revoked" : expired ? "expired" : "trusted" };
  } catch (error) {
    if (!(error instanceof RktError)) throw error;
    return damaged(error.message);
  }
}

const keyJson = ({ file, facts, pair, status, damage }: ListedKey): object => ({
  prefix: file.prefix ?? null,
  fingerprint: file.fingerprint,
  status,
  path: file.path,
  ...(pair === undefined ? {} : { algorithm: pair }),
  ...(facts && {
    identities: facts.identities,
    algorithm: facts.algorithm,
    created: facts.created,
    expires: facts.expires,
    revoked: facts.revoked,
    subkeys: facts.subkeys,
  }),
  damage,
});

// --- remove ---------------------------------------------------------------------------

/** Removes keys; without a scope, for all images. All keys are found before the first is removed. */
async function remove(globals: GlobalOptions, scope: Scope | undefined, operands: readonly string[]): Promise<void> {
  const { listKeys, removeKey } = await import("../trust/keystore.ts");
  if (operands.length === 0) throw usageError("--remove needs fingerprints", "`rkt trust --list` shows them");
  const trusted = listKeys(globals).filter((file) => file.trusted && inScope(file, scope));
  const files = new Set(operands.flatMap((text) => keysOfFingerprint(trusted, text)));
  for (const file of files) {
    const done = removeKey(globals, file);
    const images = file.prefix === undefined ? "all images" : `images of ${file.prefix}`;
    if (!globals.quiet) say(`${file.fingerprint} is no longer trusted to sign ${images}: ${done} ${file.path}`);
  }
}

const SHORTEST_FINGERPRINT = 8;

/**
 * Finds a key by its fingerprint, in upper or lower case, with or without spaces. Its beginning or end (gpg's key ID)
 * is enough.
 */
function keysOfFingerprint(files: readonly KeyFile[], text: string): KeyFile[] {
  const digits = text.replaceAll(" ", "").replace(/^0x/i, "").toLowerCase();
  if (!/^[0-9a-f]+$/.test(digits) || digits.length < SHORTEST_FINGERPRINT)
    throw usageError(
      `${JSON.stringify(text)} is no fingerprint`,
      `${SHORTEST_FINGERPRINT} hexadecimal digits of it, or more`,
    );
  const found = files.filter(({ fingerprint }) => fingerprint.startsWith(digits) || fingerprint.endsWith(digits));
  const names = new Set(found.map(({ fingerprint }) => fingerprint));
  const hint = "`rkt trust --list` shows the keys";
  if (names.size === 0) throw new RktError("no-such-key", `no trusted key has the fingerprint ${text}`, { hint });
  if (names.size > 1)
    throw new RktError("ambiguous", `${text} is short for several keys: ${[...names].join(", ")}`, { hint });
  return found;
}
