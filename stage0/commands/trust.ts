import type { Key } from "openpgp";
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
    description: "for the images of this name and those whose names go on with a slash",
  },
  root: { type: "boolean", exclusive: "scope", description: "for all images" },
  "skip-fingerprint-review": {
    type: "boolean",
    exclusive: "action",
    description: "do not ask whether the fingerprint is the right one",
  },
  "insecure-allow-http": { type: "boolean", description: "the same as --insecure-options=http", hidden: true },
  list: { type: "boolean", exclusive: "action", description: "list the keys" },
  remove: { type: "boolean", exclusive: "action", description: "take the trust from keys: arguments are fingerprints" },
  format: {
    type: "string",
    choices: ["table", "json", "json-pretty"],
    value: "FORMAT",
    description: "of --list: table (the default), json in one line, or json-pretty",
  },
  "no-legend": { type: "boolean", description: "of --list: no line with the names of the columns" },
} as const satisfies OptionTable;

/** Which images are meant. */
type Scope = { prefix: string | undefined };

export const command: Command = {
  usage: "trust (--prefix=NAME | --root) [options] [PUBKEY...]",
  description: `Lets a public key sign images. A key is a file, an https URL, or, without an argument, what the host of the prefix names in its meta tags. Its fingerprint, subkeys and identities are shown, and it is trusted only after a yes.

\`rkt trust --list\` shows the keys; \`rkt trust --remove\` takes the trust away again, and hides a key of the system's under an empty file.`,
  examples: [
    ["rkt trust --prefix=example.com/app", "the key that example.com names for its image"],
    ["rkt trust --prefix=example.com/app ./pubkey.asc", "a key in a file"],
    ["rkt trust --root https://example.com/pubkey.asc", "a key for all images"],
    ["rkt trust --remove 8b86de38890ddb72", "trust it no longer, for whatever images"],
  ],
  options,
  operands: [0, Number.POSITIVE_INFINITY],
  async run(line, globals) {
    const { options: given, operands } = readLine(line, options);
    const scope: Scope | undefined =
      given.prefix !== undefined
        ? { prefix: checked("prefix", given.prefix, acIdentifier) }
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
      throw usageError("for which images is not said", "--prefix=NAME for those of a name, --root for all");
    await trust(globals, scope, {
      sources: operands,
      review: !given["skip-fingerprint-review"],
      plainHttp: given["insecure-allow-http"],
    });
  },
};

// --- trust ----------------------------------------------------------------------------

interface TrustRequest {
  /** Files and URLs; none: by discovery. */
  sources: readonly string[];
  review: boolean;
  plainHttp: boolean;
}

/** All keys are there and answered for before the first is written. */
async function trust(globals: GlobalOptions, { prefix }: Scope, request: TrustRequest): Promise<void> {
  const { addKey, filesOf } = await import("../trust/keystore.ts");
  const { armorKey, keyFacts, withRevocations } = await import("../trust/public-key.ts");
  const { askYesNo, checkTerminal, describeKey } = await import("../trust/review.ts");
  const whose = prefix === undefined ? "all images" : `images of ${prefix}`;
  if (request.review) checkTerminal();
  const accepted: { key: Key; facts: KeyFacts }[] = [];
  const declined: string[] = [];
  for (const { key, source } of await findKeys(globals, prefix, request)) {
    const facts = await keyFacts(key);
    if (request.review || !globals.quiet) writeError(`${describeKey(facts, source).join("\n")}\n`);
    if (!request.review || askYesNo(`Trust this key to sign ${whose}?`)) accepted.push({ key, facts });
    else declined.push(facts.fingerprint);
  }
  for (const { key, facts } of accepted) {
    const { fingerprint } = facts;
    const armored = await armorKey(await withRevocations(key, filesOf(globals, fingerprint)));
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
    // "pubkey" is for keys, which are public; not for passwords.
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
  status: "trusted" | "masked" | "expired" | "revoked" | "damaged";
  /** What is wrong with a damaged file. */
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
  const rows = keys.map(({ file, facts, status }) => [
    file.prefix ?? "(all images)",
    file.fingerprint,
    status,
    strangersText(facts?.identities[0] ?? ""),
  ]);
  print(table(form === "table" ? ["PREFIX", "FINGERPRINT", "STATUS", "IDENTITY"] : undefined, rows));
  for (const { damage } of keys) if (damage !== undefined) say(damage);
}

const inScope = (file: KeyFile, scope: Scope | undefined): boolean =>
  scope === undefined || file.prefix === scope.prefix;

async function inspectKey(file: KeyFile): Promise<ListedKey> {
  if (!file.trusted) return { file, facts: undefined, status: "masked" };
  const { readKeyFile } = await import("../trust/keystore.ts");
  const { keyFacts, readPublicKeys } = await import("../trust/public-key.ts");
  const damaged = (damage: string): ListedKey => ({ file, facts: undefined, status: "damaged", damage });
  try {
    const keys = await readPublicKeys(readKeyFile(file), file.path);
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

const keyJson = ({ file, facts, status, damage }: ListedKey): object => ({
  prefix: file.prefix ?? null,
  fingerprint: file.fingerprint,
  status,
  path: file.path,
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

/** Without a scope everywhere: who distrusts a key does so for all images. All are found before the first is removed. */
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

/** In either case, with or without spaces; the beginning, or the end (gpg's key ID), of one key's is enough. */
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
