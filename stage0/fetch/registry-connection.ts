/**
 * One registry, or mirror of it, as an HTTP client that answers its challenges:
 * tokens and passwords. Trusts no registry. Its credentials go to itself, and to
 * the realm that it names for tokens if that is reached by https, or is on the
 * registry's own host and that speaks http; never to hosts of redirects. A realm and a redirect may not lead to this machine, unless the
 * registry is there.
 *
 * Source: distribution, docs "Token Authentication Specification", "Token Authentication Using OAuth2".
 */

import { RktError } from "../../shared/errors.ts";
import { parseJson } from "../../shared/schema/json.ts";
import { type Fields, fields, items, optionalString, root } from "../../shared/schema/place.ts";
import type { InsecureOption } from "../config/insecure-options.ts";
import { DOCKER_HUB } from "../config/registry-hosts.ts";
import type { RegistryLogin } from "../config/registry-login.ts";
import { formatSeconds } from "../terminal/progress.ts";
import { fetchBytes } from "./fetch-bytes.ts";
import type { HttpClient, HttpResponse } from "./http.ts";
import { HttpError, retryAfter, withoutUrl } from "./http-error.ts";
import type { RegistryAccess, RegistryEndpoint } from "./registry-access.ts";
import { type Challenge, parseChallenges } from "./registry-challenge.ts";

export interface ConnectionOptions {
  http: HttpClient;
  access: RegistryAccess;
  insecure: ReadonlySet<InsecureOption>;
  signal?: AbortSignal | undefined;
}

export interface RegistryConnection {
  readonly endpoint: RegistryEndpoint;
  /** Of the API: `/v2/REPOSITORY/…`. */
  url(path: string): URL;
  /** The client for those URLs. It throws a RegistryError for 401, 403, 404 and 429. */
  client(accept?: string): HttpClient;
}

/** A registry's refusal. `codes` are the registry's own words for it, such as NAME_UNKNOWN. */
export class RegistryError extends HttpError {
  readonly codes: readonly string[];

  constructor(
    code: ConstructorParameters<typeof HttpError>[0],
    message: string,
    { codes = [], ...options }: ConstructorParameters<typeof HttpError>[2] & { codes?: readonly string[] } = {},
  ) {
    super(code, message, options);
    this.codes = codes;
  }
}

/** Hosts of the API that are called otherwise in references. */
const API_HOSTS: Readonly<Record<string, string>> = { [DOCKER_HUB]: "registry-1.docker.io" };
const TOKEN_LIMIT = 1 << 20;
const ERROR_LIMIT = 16 << 10;
const MAX_REALM = 2048;
const TOKEN = /^[\x21-\x7e]{1,65536}$/;
/** Failures to connect that say that a server speaks no TLS. */
const NO_TLS = new Set(["tls-failure", "not-http", "unreachable"]);

export function connectRegistry(endpoint: RegistryEndpoint, options: ConnectionOptions): RegistryConnection {
  const { http, access, insecure, signal } = options;
  const { host, repository } = endpoint;
  const mayBePlain = endpoint.insecure || insecure.has("http");
  let base = new URL(`https://${API_HOSTS[host] ?? host}`);
  /** Whether the scheme is the one that the registry speaks. */
  let settled = !mayBePlain;
  let authorization: string | undefined;
  let credentials: Promise<RegistryLogin | undefined> | undefined;
  let authorizing: Promise<string> | undefined;

  const called = `registry ${host}`;
  const own = (header?: string) => ({ named: base, authorization: header, anyCertificate: endpoint.insecure });
  const ownCredentials = () => (credentials ??= access.credentials(host, repository));

  async function ask(url: URL, request: Parameters<HttpClient["get"]>[1]): Promise<HttpResponse> {
    const at = (scheme: string) => {
      const to = new URL(url);
      to.protocol = scheme;
      return to;
    };
    if (settled) return await http.get(at(base.protocol), { ...request, own: own(authorization) });
    try {
      const response = await http.get(url, { ...request, own: own(authorization) });
      settled = true;
      return response;
    } catch (error) {
      if (!(error instanceof HttpError) || !NO_TLS.has(error.code)) throw error;
      const plain = at("http:");
      const named = new URL(base);
      named.protocol = "http:";
      let response: HttpResponse;
      try {
        response = await http.get(plain, { ...request, own: { named } });
      } catch (second) {
        throw second instanceof HttpError ? bothFailures(error, second) : second;
      }
      base = named;
      settled = true;
      return response;
    }
  }

  async function get(url: URL, request: Parameters<HttpClient["get"]>[1] = {}): Promise<HttpResponse> {
    for (let attempt = 0; ; attempt++) {
      const used = authorization;
      const response = await ask(url, request);
      // Another host's refusal, after a redirect, is no challenge of the registry's.
      const asksUs = response.status === 401 && response.url.host === base.host;
      if (!asksUs) return await checked(response);
      const challenges = parseChallenges(response.headers["www-authenticate"] ?? "");
      if (attempt === 1) throw await refused(response, await ownCredentials(), used?.startsWith("Basic ") === true);
      response.close();
      // Another layer's request may have got a token meanwhile.
      if (authorization !== used) continue;
      authorizing ??= authorize(challenges).finally(() => {
        authorizing = undefined;
      });
      authorization = await authorizing;
    }
  }

  async function authorize(challenges: readonly Challenge[]): Promise<string> {
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    const known = await ownCredentials();
    if (bearer !== undefined) return `Bearer ${await token(bearer, known)}`;
    if (!challenges.some(({ scheme }) => scheme === "basic"))
      throw new RegistryError("registry-denied", `${called} answers 401, and asks for nothing that rkt can give`, {
        status: 401,
        hint: "rkt knows Basic and Bearer",
      });
    if (known === undefined || !("user" in known)) throw denied(401, undefined, "");
    return basic(known);
  }

  async function token({ parameters }: Challenge, known: RegistryLogin | undefined): Promise<string> {
    const realm = realmOf(parameters.get("realm") ?? "");
    const service = parameters.get("service");
    const scope = `repository:${repository}:pull`;
    // To talk by http was allowed with the registry, and not with whom it names.
    const secure = realm.protocol === "https:" || (base.protocol === "http:" && realm.hostname === base.hostname);
    const given = secure ? known : undefined;
    let request: Parameters<HttpClient["get"]>[1];
    if (given !== undefined && "identityToken" in given) {
      const form = { grant_type: "refresh_token", client_id: "rkt", scope, refresh_token: given.identityToken };
      const body = new URLSearchParams({ ...form, ...(service === undefined ? {} : { service }) }).toString();
      const headers = { "content-type": "application/x-www-form-urlencoded" };
      request = { method: "POST", body, headers, own: { ...own(), anyCertificate: endpoint.insecure && isHere(realm) } };
    } else {
      if (service !== undefined) realm.searchParams.set("service", service);
      realm.searchParams.set("scope", scope);
      const header = given === undefined ? undefined : basic(given);
      request = { own: { ...own(header), anyCertificate: endpoint.insecure && isHere(realm) } };
    }
    const tokens: HttpClient = { ...http, get: (url, more) => http.get(url, { ...more, ...request, headers: { ...more?.headers, ...request?.headers } }) };
    try {
      const { bytes } = await fetchBytes(tokens, realm, { limit: TOKEN_LIMIT, signal });
      return readToken(bytes, called);
    } catch (error) {
      if (!(error instanceof HttpError) || ![400, 401, 403].includes(error.status ?? 0)) throw error;
      if (given !== undefined) throw wrongCredentials(given, error.status ?? 401);
      if (known === undefined) throw denied(error.status ?? 401, undefined, "");
      throw new RegistryError("registry-denied", `${called} asks for a token, and ${realm.host} gives none to strangers (${error.status ?? 401})`, {
        status: error.status,
        hint: `${userOf(known)} of ${known.origin} was not told to ${realm.host}, which is reached by http and is another host than the registry`,
      });
    }
  }

  const isHere = (url: URL): boolean => url.host === base.host;

  /** Where tokens are got. It is the registry's word, so it is checked before anything goes there. */
  function realmOf(text: string): URL {
    const refuse = (why: string, hint?: string) =>
      new RegistryError("bad-realm", `${called} sends rkt for a token to ${why}`, {
        hint: hint ?? "its operator mends the realm that it names",
      });
    const url = text.length > MAX_REALM ? null : URL.parse(text);
    if (url === null) throw refuse("what is no URL");
    if (url.protocol !== "https:" && url.protocol !== "http:") throw refuse(`a ${url.protocol} URL`);
    if (url.protocol === "http:" && base.protocol === "https:" && !insecure.has("http"))
      throw refuse(`${url.host} by http, where anybody may listen`, "--insecure-options=http allows it");
    url.hash = "";
    return url;
  }

  async function checked(response: HttpResponse): Promise<HttpResponse> {
    if (response.status === 403 && response.url.host === base.host)
      throw await refused(response, await ownCredentials(), false);
    if (response.status === 404) {
      const { codes, said } = await readErrors(response);
      throw new RegistryError("http-status", `get ${response.shown}: 404 Not Found${said}`, {
        status: 404,
        codes,
        hint: "the registry has no such thing",
      });
    }
    if (response.status !== 429) return response;
    const { said } = await readErrors(response);
    const header = response.headers["retry-after"];
    const wait = header === undefined ? undefined : retryAfter(header, Date.now());
    throw new RegistryError("rate-limited", `${called} takes no more requests for now (429)${said}`, {
      status: 429,
      transient: true,
      retryAfter: wait,
      hint: `${wait === undefined ? "try again later" : `try again in ${formatSeconds(wait / 1000)}`}; with an account there it may take more: docs/use/oci.md`,
    });
  }

  async function refused(
    response: HttpResponse,
    known: RegistryLogin | undefined,
    byPassword: boolean,
  ): Promise<RegistryError> {
    const { said } = await readErrors(response);
    if (response.status === 401 && known !== undefined && byPassword) return wrongCredentials(known, 401);
    return denied(response.status, known, said);
  }

  /** A registry answers 401 for what is private, and for what is not there. */
  function denied(status: number, known: RegistryLogin | undefined, said: string): RegistryError {
    const what = `${host}/${repository}`;
    const login = `its user and password go into a file of kind dockerAuth, or \`podman login ${host}\` asks for them`;
    const [message, hint] =
      status === 403
        ? [`${called} forbids ${userOf(known)} to read ${what} (403)${said}`, known === undefined ? login : `the user is from ${known.origin}`]
        : known === undefined
          ? [`${called} has no ${what}, or it is not for everybody (401)${said}`, `is the name right? if it is private, ${login}`]
          : [
              `${called} has no ${what}, or ${userOf(known)} may not read it (401)${said}`,
              `is the name right? the user is from ${known.origin}`,
            ];
    return new RegistryError("registry-denied", message, { status, hint });
  }

  function wrongCredentials(known: RegistryLogin, status: number): RegistryError {
    const what = "user" in known ? `the password of ${userOf(known)}` : "the identity token";
    return new RegistryError("wrong-credentials", `${called} does not take ${what} (${status})`, {
      status,
      hint: `it is from ${known.origin}; \`podman login ${host}\` asks for another`,
    });
  }

  return {
    endpoint,
    url: (path) => new URL(`/v2/${repository}/${path}`, base),
    client: (accept) => ({
      ...http,
      get: (url, request) =>
        get(url, accept === undefined ? request : { ...request, headers: { ...request?.headers, accept } }),
    }),
  };
}

/** Neither https nor http has worked. */
function bothFailures(https: HttpError, http: HttpError): HttpError {
  const [first, second] = [withoutUrl(https), withoutUrl(http)];
  if (first === second) return https;
  // Where a server speaks no TLS, what is to be mended is the other.
  const plain = /wrong version number|packet length too long/.test(first);
  return new HttpError(https.code, `${https.message}; and by http: ${second}`, {
    hint: (plain ? http.hint : undefined) ?? https.hint,
    transient: https.transient || http.transient,
    status: http.status,
    cause: http,
  });
}

const userOf = (known: RegistryLogin | undefined): string =>
  known === undefined ? "strangers" : "user" in known ? `user ${JSON.stringify(known.user)}` : "the token's user";

const basic = ({ user, password }: Extract<RegistryLogin, { user: string }>): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

function readToken(bytes: Uint8Array, called: string): string {
  let get: Fields;
  try {
    get = fields(root(parseJson(bytes, "the token"), "the token"));
  } catch (cause) {
    throw new RegistryError("bad-realm", `${called}: its token server answers with no JSON`, { cause });
  }
  for (const name of ["token", "access_token"]) {
    const { value } = get(name);
    if (typeof value === "string" && TOKEN.test(value)) return value;
  }
  throw new RegistryError("bad-realm", `${called}: its token server answers without a token`);
}

/** The registry's own words: ` (UNAUTHORIZED: authentication required)`; whatever else it sends is of no interest. */
async function readErrors(response: HttpResponse): Promise<{ codes: string[]; said: string }> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body) {
      parts.push(Buffer.from(chunk));
      size += chunk.length;
      if (size > ERROR_LIMIT) return { codes: [], said: "" };
    }
    const get = fields(root(parseJson(Buffer.concat(parts), "errors"), "errors"));
    const errors = items(get("errors"))
      .slice(0, 3)
      .map((place) => {
        const error = fields(place);
        return { code: optionalString(error("code")) ?? "", message: optionalString(error("message")) ?? "" };
      });
    const [first] = errors;
    const words = first === undefined ? "" : first.message || first.code;
    return { codes: errors.map(({ code }) => code), said: words === "" ? "" : `: it says ${JSON.stringify(words.slice(0, 200))}` };
  } catch (error) {
    if (error instanceof RktError && error.code === "interrupted") throw error;
    return { codes: [], said: "" };
  }
}
