/**
 * The credentials for hosts from which images are fetched. A secret never appears in an error, a warning or a listing.
 */

import { CONFIG_SUBDIRECTORIES } from "../../shared/contract/configuration.ts";
import {
  absent,
  fields,
  items,
  optionalString,
  type Place,
  report,
  type Rule,
  string,
} from "../../shared/schema/place.ts";
import { oneOf } from "../../shared/schema/values.ts";
import { signRequest } from "./aws-signature.ts";
import { type ConfigDirs, type ConfigFile, readSettings } from "./config-files.ts";

export type Credentials =
  | { type: "basic"; user: string; password: string }
  | { type: "oauth"; token: string }
  | { type: "aws"; accessKeyID: string; secretAccessKey: string; awsRegion: string | undefined };

export interface Auth {
  /** By host, or host and port. */
  hosts: Map<string, Credentials>;
  /** By registry, for images of Docker's kind, each with its file. */
  registries: Map<string, { credentials: Credentials; path: string }>;
  /** Files that too many can read. */
  warnings: string[];
}

const AUTH = { subdirectory: CONFIG_SUBDIRECTORIES.auth, kinds: ["auth", "dockerAuth"] } as const;

export function readAuth(dirs: ConfigDirs): Auth {
  const warnings: string[] = [];
  const settings = readSettings<{ kind: string; name: string; credentials: Credentials; path: string }>(dirs, AUTH, (file, set) => {
    const { kind, path, mode } = file;
    if ((mode & 0o004) !== 0) warnings.push(`${path} holds credentials, and everybody can read it: chmod o-r ${path}`);
    const { names, credentials } = kind === "auth" ? readHosts(file) : readRegistries(file);
    for (const [name, place] of names) set(`${kind} ${name}`, { kind, name, credentials, path }, place);
  });
  const ofKind = (wanted: string) =>
    new Map(
      [...settings.values()]
        .filter(({ kind }) => kind === wanted)
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .map(({ name, credentials, path }) => [name, { credentials, path }] as const),
    );
  const hosts = [...ofKind("auth")].map(([name, { credentials }]) => [name, credentials] as const);
  return { hosts: new Map(hosts), registries: ofKind("dockerAuth"), warnings };
}

interface Grant {
  names: [name: string, place: Place][];
  credentials: Credentials;
}

function readHosts({ get }: ConfigFile): Grant {
  const type = string(get("type"), oneOf("basic", "oauth", "aws"));
  return { names: names(get("domains")), credentials: readCredentials(type, get("credentials")) };
}

function readRegistries({ get }: ConfigFile): Grant {
  return { names: names(get("registries")), credentials: readCredentials("basic", get("credentials")) };
}

function names(list: Place): [string, Place][] {
  const found = items(list).map((place): [string, Place] => [string(place, hostAndPort).toLowerCase(), place]);
  if (absent(list)) report(list, "is required");
  else if (Array.isArray(list.value) && found.length === 0) report(list, "must not be empty");
  return found;
}

/** A host as in a URL. Wildcards are refused, because credentials are for one host. */
const hostAndPort: Rule = (text) => {
  const url = URL.parse(`https://${text}/`);
  const valid = url !== null && /^[^/?#@\\\s]+$/.test(text) && url.hostname !== "" && !text.includes("*");
  return valid ? undefined : 'must be a host, or a host and port like "example.com:8080"';
};

function readCredentials(type: string, place: Place): Credentials {
  const get = fields(place);
  switch (type) {
    case "oauth":
      return { type, token: secret(get("token"), VISIBLE) };
    case "aws":
      return {
        type,
        accessKeyID: secret(get("accessKeyID"), VISIBLE),
        secretAccessKey: secret(get("secretAccessKey"), VISIBLE),
        awsRegion: optionalString(get("awsRegion"), region) || undefined,
      };
    default:
      // RFC 7617: the first colon ends the user's name.
      return {
        type: "basic",
        user: secret(get("user"), /^[^:\0-\x1f\x7f]+$/),
        password: secret(get("password"), PRINTABLE),
      };
  }
}

const VISIBLE = /^[\x21-\x7e]+$/;
const PRINTABLE = /^[^\0-\x1f\x7f]+$/;
const region: Rule = (text) => (/^[a-z0-9-]*$/.test(text) ? undefined : "must be the name of a region");

/** Reads a secret. An error about it does not show it. */
function secret(place: Place, form: RegExp): string {
  const { value } = place;
  if (absent(place)) return string(place);
  if (typeof value !== "string") report(place, "must be a string");
  else if (value === "") report(place, "must not be empty");
  else if (!form.test(value)) report(place, "has characters that it must not have");
  else return value;
  return "";
}

/**
 * Returns a function that makes the headers with the credentials for a URL's host. The configuration is read at its
 * first call, which may also warn about the files.
 */
export function credentialsFrom(
  dirs: ConfigDirs,
  warn: (text: string) => void,
): (url: URL) => Record<string, string> | undefined {
  let hosts: Map<string, Credentials> | undefined;
  return (url) => {
    if (hosts === undefined) {
      const auth = readAuth(dirs);
      for (const warning of auth.warnings) warn(warning);
      hosts = auth.hosts;
    }
    const credentials = hosts.get(url.host) ?? hosts.get(`${url.hostname}:${url.port || DEFAULT_PORTS[url.protocol]}`);
    return credentials === undefined ? undefined : headers(credentials, url);
  };
}

const DEFAULT_PORTS: Readonly<Record<string, string>> = { "https:": "443", "http:": "80" };

function headers(credentials: Credentials, url: URL): Record<string, string> {
  switch (credentials.type) {
    case "basic": {
      const pair = `${credentials.user}:${credentials.password}`;
      return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
    }
    case "oauth":
      return { authorization: `Bearer ${credentials.token}` };
    case "aws":
      return signRequest(url, credentials, new Date());
  }
}
