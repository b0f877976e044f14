/**
 * Passwords of registries in the files of podman and docker: `auth.json` and
 * `config.json`, and the helpers that these name. A secret never reaches an
 * error or a warning.
 *
 * The files are root's, wherever the caller's environment says that they are:
 * neither HOME nor REGISTRY_AUTH_FILE is looked at.
 *
 * Source: containers-auth.json(5); docker's "Credential stores".
 */

import { userInfo } from "node:os";
import { RktError } from "../../shared/errors.ts";
import { parseJson } from "../../shared/schema/json.ts";
import { entries, fields, optionalString, type Place, root } from "../../shared/schema/place.ts";
import { askHelper } from "./credential-helper.ts";
import { canonicalHost } from "./registry-hosts.ts";
import type { RegistryLogin } from "./registry-login.ts";
import { invalid, readTrustedFile } from "./trusted-file.ts";

/** In the order of asking. */
export function authFiles(home: string = userInfo().homedir, uid: number = process.geteuid?.() ?? 0): string[] {
  return [`/run/containers/${uid}/auth.json`, `${home}/.config/containers/auth.json`, `${home}/.docker/config.json`];
}

interface AuthFile {
  path: string;
  /** By `registry` or `registry/namespace`, as the file has it. */
  logins: Map<string, RegistryLogin>;
  /** Helpers by registry. */
  helpers: Map<string, string>;
  /** The helper of all registries. */
  store: string | undefined;
}

/** What the files say for a repository; the first that says anything counts. */
export async function findLogin(
  files: readonly string[],
  host: string,
  repository: string,
): Promise<RegistryLogin | undefined> {
  for (const path of files) {
    const text = readTrustedFile(path);
    if (text === undefined) continue;
    const file = parseAuthFile(text, path);
    const login = (await fromHelper(file, host)) ?? fromFile(file, host, repository);
    if (login !== undefined) return login;
  }
  return undefined;
}

async function fromHelper({ path, helpers, store }: AuthFile, host: string): Promise<RegistryLogin | undefined> {
  const own = helpers.get(host);
  const name = own ?? store;
  if (name === undefined || name === "") return undefined;
  const found = await askHelper(name, host, path);
  return found;
}

/** The longest namespace that the repository is in, then the registry. */
function fromFile({ logins }: AuthFile, host: string, repository: string): RegistryLogin | undefined {
  const parts = repository.split("/");
  for (let n = parts.length; n >= 0; n--) {
    const login = logins.get([host, ...parts.slice(0, n)].join("/"));
    if (login !== undefined) return login;
  }
  return undefined;
}

/** Errors call the file by `path`. Members of other purposes are ignored: both tools put theirs beside. */
export function parseAuthFile(text: string, path: string): AuthFile {
  const logins = new Map<string, RegistryLogin>();
  const helpers = new Map<string, string>();
  let document: Place;
  try {
    document = root(parseJson(text === "" ? "{}" : text, path), path);
  } catch (error) {
    // The message may quote a part of the file.
    throw invalid(path, "it is no JSON that rkt reads", secretFree(error));
  }
  const get = fields(document);
  for (const [key, place] of entries(get("auths"))) {
    const login = readLogin(place, key, path);
    if (login !== undefined) logins.set(keyOf(key), login);
  }
  for (const [key, place] of entries(get("credHelpers"))) helpers.set(keyOf(key), optionalString(place) ?? "");
  return { path, logins, helpers, store: optionalString(get("credsStore")) };
}

const secretFree = (error: unknown): unknown => (error instanceof RktError ? undefined : error);

/** `https://index.docker.io/v1/` is what docker calls Docker Hub. */
function keyOf(key: string): string {
  const plain = key.replace(/^https?:\/\//i, "").replace(/\/v[12]\/?$/, "").replace(/\/+$/, "");
  const slash = plain.indexOf("/");
  const host = (slash < 0 ? plain : plain.slice(0, slash)).toLowerCase();
  return canonicalHost(host) + (slash < 0 ? "" : plain.slice(slash));
}

function readLogin(place: Place, key: string, path: string): RegistryLogin | undefined {
  const get = fields(place);
  const text = (name: string): string | undefined => {
    const { value } = get(name);
    return typeof value === "string" && value !== "" ? value : undefined;
  };
  const origin = path;
  const identityToken = text("identitytoken");
  if (identityToken !== undefined) return { identityToken, origin };
  const auth = text("auth");
  if (auth === undefined) return undefined;
  const pair = Buffer.from(auth, "base64").toString("utf8").replace(/\0+$/, "");
  const colon = pair.indexOf(":");
  if (colon < 1 || /[\0-\x1f\x7f]/.test(pair))
    throw invalid(path, `auths[${JSON.stringify(key.slice(0, 100))}].auth: must be the base64 of USER:PASSWORD`);
  return { user: pair.slice(0, colon), password: pair.slice(colon + 1), origin };
}
