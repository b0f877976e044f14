/**
 * The HTTP client: proxies, certificates, credentials, time limits and
 * redirects. Owns undici, which it loads at the first request. Trusts no
 * server: the caller judges a response's headers and bytes.
 */

import { createSecureContext } from "node:tls";
import type { Dispatcher } from "undici";
import { callersEnvironment, type Environment } from "../../shared/callers-environment.ts";
import { RktError, withoutCredentials } from "../../shared/errors.ts";
import { trustedCertificates } from "./certificates.ts";
import { HttpError, ITSELF, networkError } from "./http-error.ts";
import { isOwnHost, leadsHere, lookupElsewhere } from "./own-addresses.ts";
import { withoutUserinfo } from "./plain-href.ts";
import { DEFAULT_RETRY, LEAST_RATE, type LeastRate, type Retrying, type RetryPolicy } from "./retry.ts";

export interface HttpOptions {
  /** Accept any certificate (--insecure-options=tls). */
  anyCertificate?: boolean;
  /** Follow redirects from https to http, and send credentials over http (--insecure-options=http). */
  plainHttp?: boolean;
  /** Headers that carry credentials for this URL's host; called again for every hop of a redirect. */
  credentialsFor?: ((url: URL) => Record<string, string> | undefined) | undefined;
  userAgent?: string;
  /** Milliseconds in which a connection must be made, TLS included. */
  connectTimeout?: number;
  /** A request ends after so many milliseconds without a byte. */
  idleTimeout?: number;
  /** A body that arrives more slowly ends the request. */
  leastRate?: LeastRate;
  retry?: Partial<RetryPolicy>;
  onRetry?: Retrying["onRetry"];
  /** Has the proxy variables; undefined: the caller's environment. */
  env?: Environment;
}

const CONNECT_TIMEOUT = 20_000;
const IDLE_TIMEOUT = 60_000;
/**
 * rkt closes an unused connection before the server does (nginx after 75 s, Node.js after 5): a request that the server
 * crosses with its close fails.
 */
const UNUSED_TIMEOUT = 1000;
const MAX_REDIRECTS = 10;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** Lower-case names; a repeated header's values joined by ", ". */
export type Headers = Readonly<Record<string, string | undefined>>;

export interface HttpResponse {
  /** After redirects. */
  url: URL;
  /** The same URL in messages: without credentials. */
  shown: string;
  status: number;
  headers: Headers;
  /** The body as it arrives; throws HttpError when the connection breaks. Leaving the loop closes the connection. */
  body: AsyncIterable<Uint8Array>;
  /** Closes the connection of a response whose body is not read. */
  close(): void;
}

export interface RequestOptions {
  /** Of the first request, and of those after redirects, which a POST does not follow. GET unless told. */
  method?: "GET" | "HEAD" | "POST";
  body?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** How a protocol with credentials of its own asks; no configured ones are sent then. */
  own?: OwnAccess | undefined;
}

export interface OwnAccess {
  /** What the person named. Only if that is on this machine may the URL, and what it redirects to, be. */
  named: URL;
  /** The header `authorization`, for the origin of the requested URL alone. */
  authorization?: string | undefined;
  /** Accept any certificate of the requested URL's origin. */
  anyCertificate?: boolean;
}

export interface HttpClient extends Retrying {
  /** Tries once. Any status is an answer, not an error; redirects are followed. */
  get(url: URL, options?: RequestOptions): Promise<HttpResponse>;
  readonly plainHttp: boolean;
  readonly leastRate: LeastRate;
  close(): Promise<void>;
}

/** Loads and opens nothing before the first request. */
export function openHttp(options: HttpOptions = {}): HttpClient {
  const agents = new Map<string, Promise<Dispatcher>>();

  function agentFor(protocol: string, { anyCertificate = false, elsewhere = false } = {}): Promise<Dispatcher> {
    const any = anyCertificate || options.anyCertificate === true;
    const key = `${protocol}${any ? " any" : ""}${elsewhere ? " elsewhere" : ""}`;
    const known = agents.get(key);
    if (known !== undefined) return known;
    const agent = openAgent(protocol, { ...options, anyCertificate: any }, elsewhere);
    agents.set(key, agent);
    return agent;
  }

  function authorization(url: URL): Record<string, string> | undefined {
    if (url.protocol !== "https:" && options.plainHttp !== true) return undefined;
    return options.credentialsFor?.(url);
  }

  async function get(
    requested: URL,
    { method = "GET", body: content, headers, signal, own }: RequestOptions = {},
  ): Promise<HttpResponse> {
    const first = withoutUserinfo(requested);
    const given = own === undefined ? basicOf(requested, shownUrl(first, first)) : headerOf(own.authorization);
    let url = first;
    for (let redirects = 0; ; redirects++) {
      const shown = shownUrl(url, first);
      const same = url.origin === first.origin;
      const credentials = same ? given : undefined;
      const elsewhere = own !== undefined && url.hostname !== own.named.hostname && !isOwnHost(own.named);
      if (elsewhere && isOwnHost(url)) throw leadsHere(shown, url.host);
      const anyCertificate = same && own?.anyCertificate === true;
      let answer: Dispatcher.ResponseData;
      try {
        answer = await (await agentFor(url.protocol, { anyCertificate, elsewhere })).request({
          origin: url.origin,
          path: url.pathname + url.search,
          method,
          body: content ?? null,
          signal: signal ?? null,
          headers: {
            "user-agent": options.userAgent ?? "rkt",
            ...headers,
            ...(credentials ?? (own === undefined ? authorization(url) : undefined)),
          },
        });
      } catch (error) {
        signal?.throwIfAborted();
        throw networkError(shown, error);
      }

      const { statusCode: status, body } = answer;
      const close = () => void body.on("error", () => {}).destroy();
      const answered = flatten(answer.headers);
      const location = answered["location"];
      if (!REDIRECTS.has(status) || location === undefined || method === "POST") {
        return { url, shown, status, headers: answered, body: chunks(body, shown, signal), close };
      }
      close();
      if (redirects === MAX_REDIRECTS) {
        throw new HttpError(
          "too-many-redirects",
          `get ${shownUrl(first, first)}: more than ${MAX_REDIRECTS} redirects`,
          { hint: ITSELF },
        );
      }
      url = redirectTarget(url, location, shown, options.plainHttp === true);
    }
  }

  return {
    get,
    plainHttp: options.plainHttp === true,
    retry: { ...DEFAULT_RETRY, ...options.retry },
    leastRate: options.leastRate ?? LEAST_RATE,
    onRetry: options.onRetry,
    async close() {
      await Promise.allSettled([...agents.values()].map(async (agent) => (await agent).destroy()));
    },
  };
}

/** If no variable for https is set, undici sends https through the proxy of HTTP_PROXY too. */
async function openAgent(protocol: string, options: HttpOptions, elsewhere: boolean): Promise<Dispatcher> {
  const { EnvHttpProxyAgent } = await import("undici/index.js");
  const env = options.env ?? callersEnvironment();
  const httpProxy = proxyUrl(env, "http_proxy");
  const httpsProxy = proxyUrl(env, "https_proxy");
  const overTls = protocol === "https:" || httpProxy.startsWith("https:");
  const connect = {
    timeout: options.connectTimeout ?? CONNECT_TIMEOUT,
    // Always given, because the runtime's variable NODE_TLS_REJECT_UNAUTHORIZED would decide otherwise.
    rejectUnauthorized: options.anyCertificate !== true,
    ...(overTls ? { secureContext: createSecureContext({ ca: trustedCertificates(env) }) } : undefined),
  };
  const idle = options.idleTimeout ?? IDLE_TIMEOUT;
  return new EnvHttpProxyAgent({
    httpProxy,
    httpsProxy,
    noProxy: env["no_proxy"] ?? env["NO_PROXY"] ?? "",
    // A proxy looks names up by itself, and may be on this machine.
    connect: elsewhere ? { ...connect, lookup: lookupElsewhere } : connect,
    requestTls: connect,
    proxyTls: connect,
    headersTimeout: idle,
    bodyTimeout: idle,
    keepAliveTimeout: UNUSED_TIMEOUT,
    keepAliveMaxTimeout: UNUSED_TIMEOUT,
    autoSelectFamily: true,
    allowH2: false,
  });
}

/** Programs take "proxy:3128" for "http://proxy:3128"; "" is no proxy. */
function proxyUrl(env: Environment, name: string): string {
  const value = env[name] ?? env[name.toUpperCase()] ?? "";
  if (value === "") return "";
  const url = value.includes("://") ? value : `http://${value}`;
  if (!URL.canParse(url))
    throw new RktError(
      "bad-proxy",
      `environment variable ${name}: ${JSON.stringify(withoutCredentials(url))} is no URL`,
      {
        hint: "a proxy is http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with what is special in them percent-encoded",
      },
    );
  return url;
}

const headerOf = (authorization: string | undefined): Record<string, string> | undefined =>
  authorization === undefined ? undefined : { authorization };

/** A person can give Basic credentials as `https://user:password@host/`; they are sent to that origin alone. */
function basicOf({ username, password }: URL, shown: string): Record<string, string> | undefined {
  if (username === "" && password === "") return undefined;
  let pair: string;
  try {
    pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  } catch {
    throw new HttpError("bad-url", `get ${shown}: the URL's user or password is not percent-encoded`, {
      hint: "write what is special in them so: % as %25, @ as %40, / as %2F",
    });
  }
  return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
}

function redirectTarget(from: URL, location: string, shown: string, plainHttp: boolean): URL {
  const fail = (why: string, hint = ITSELF) => new HttpError("bad-redirect", `get ${shown}: ${why}`, { hint });
  const to = URL.parse(location, from);
  if (to === null) throw fail("redirects to a malformed URL");
  if (to.protocol !== "https:" && to.protocol !== "http:") throw fail(`redirects to a ${to.protocol} URL`);
  if (from.protocol === "https:" && to.protocol === "http:" && !plainHttp) {
    throw fail(`redirects from https to http (${to.host})`, "--insecure-options=http allows it");
  }
  to.hash = "";
  return withoutUserinfo(to);
}

/** A URL in messages: without user and password. A redirect's target is without its query, which may hold a signature. */
function shownUrl(url: URL, first: URL): string {
  return withoutUserinfo(url).origin + url.pathname + (url === first ? url.search : url.search === "" ? "" : "?…");
}

function flatten(headers: Dispatcher.ResponseData["headers"]): Headers {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name.toLowerCase(),
      Array.isArray(value) ? value.join(", ") : value,
    ]),
  );
}

async function* chunks(body: AsyncIterable<Uint8Array>, shown: string, signal: AbortSignal | undefined) {
  try {
    yield* body;
  } catch (error) {
    signal?.throwIfAborted();
    throw networkError(shown, error);
  }
}
