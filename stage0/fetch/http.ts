/**
 * One GET: which proxy, which certificates, which credentials, how long to
 * wait, where a redirect may lead, and what a failure is called. Owns undici
 * (loaded at the first request). Trusts no server: a response is headers and
 * bytes, judged by the caller.
 */

import { STATUS_CODES } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { createSecureContext, getCACertificates } from "node:tls";
import type { Dispatcher } from "undici";
import { callersEnvironment, type Environment, showRuntime } from "../../shared/callers-environment.ts";
import { errorCode, errorText, RktError, type RktErrorOptions, withoutCredentials } from "../../shared/errors.ts";
import { LOCAL_CONFIG_DIR } from "../../shared/contract/configuration.ts";

export interface HttpOptions {
  /** Accept any certificate (--insecure-options=tls). */
  anyCertificate?: boolean;
  /** Follow redirects from https to http, and send credentials over http (--insecure-options=http). */
  plainHttp?: boolean;
  /** Headers that carry credentials for this URL's host; asked anew for every hop of a redirect. */
  credentialsFor?: ((url: URL) => Record<string, string> | undefined) | undefined;
  userAgent?: string;
  /** Milliseconds until a connection (TLS included) must stand. */
  connectTimeout?: number;
  /** Milliseconds of silence that end a request. */
  idleTimeout?: number;
  /** What a body that arrives more slowly is given up for. */
  leastRate?: LeastRate;
  retry?: Partial<RetryPolicy>;
  /** Told of each failure that will be tried again, and the seconds until then. */
  onRetry?: (error: HttpError, seconds: number) => void;
  /** Where the proxy variables are read; the caller's environment unless told. */
  env?: Environment;
}

/** So many bytes in so many milliseconds of waiting for them. */
export interface LeastRate {
  bytes: number;
  milliseconds: number;
}

/** Doubling pauses, in milliseconds. */
export interface RetryPolicy {
  /** Failures in a row, without progress between them, that end it. */
  attempts: number;
  firstPause: number;
  longestPause: number;
  /** A server that asks (Retry-After) for more than this is not waited for. */
  longestRetryAfter: number;
}

const DEFAULT_RETRY: RetryPolicy = { attempts: 5, firstPause: 500, longestPause: 8_000, longestRetryAfter: 60_000 };
const CONNECT_TIMEOUT = 20_000;
const IDLE_TIMEOUT = 60_000;
/** 1 KiB a second: a modem was faster, and a server that sends a byte a minute holds nobody for longer than this. */
const LEAST_RATE: LeastRate = { bytes: 300 * 1024, milliseconds: 300_000 };
/**
 * An unused connection is closed before the server does it (nginx after 75 s, Node.js after 5): a request that crosses the
 * server's close is an attempt lost.
 */
const UNUSED_TIMEOUT = 1000;
const MAX_REDIRECTS = 10;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** Lower-case names; a repeated header's values joined by ", ". */
export type Headers = Readonly<Record<string, string | undefined>>;

export interface HttpResponse {
  /** After redirects. */
  url: URL;
  /** That URL for people: without credentials. */
  shown: string;
  status: number;
  headers: Headers;
  /** The body as it arrives; throws HttpError when the connection breaks. Leaving the loop closes the connection. */
  body: AsyncIterable<Uint8Array>;
  /** Done with a response whose body nobody wants. */
  discard(): void;
}

export interface RequestOptions {
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

export interface HttpClient {
  /** One try. Every status but a redirect is an answer, not an error. */
  get(url: URL, options?: RequestOptions): Promise<HttpResponse>;
  readonly plainHttp: boolean;
  readonly retry: RetryPolicy;
  readonly leastRate: LeastRate;
  readonly onRetry: ((error: HttpError, seconds: number) => void) | undefined;
  close(): Promise<void>;
}

/** A request that failed; `transient` when the same request may succeed later. */
export class HttpError extends RktError {
  readonly transient: boolean;
  readonly status: number | undefined;
  /** Milliseconds the server asked to wait. */
  readonly retryAfter: number | undefined;

  constructor(
    code: string,
    message: string,
    options: RktErrorOptions & {
      transient?: boolean;
      status?: number | undefined;
      retryAfter?: number | undefined;
    } = {},
  ) {
    super(code, message, options);
    this.name = "HttpError";
    this.transient = options.transient ?? false;
    this.status = options.status;
    this.retryAfter = options.retryAfter;
  }
}

/** Its message, for a list that says the URL itself. */
export const withoutUrl = (error: HttpError): string => error.message.replace(/^get \S+: /, "");

/** Costs nothing until the first request. */
export function openHttp(options: HttpOptions = {}): HttpClient {
  const agents = new Map<string, Promise<Dispatcher>>();

  function agentFor(protocol: string): Promise<Dispatcher> {
    const known = agents.get(protocol);
    if (known !== undefined) return known;
    const agent = openAgent(protocol, options);
    agents.set(protocol, agent);
    return agent;
  }

  function authorization(url: URL): Record<string, string> | undefined {
    if (url.protocol !== "https:" && options.plainHttp !== true) return undefined;
    return options.credentialsFor?.(url);
  }

  async function get(requested: URL, { headers, signal }: RequestOptions = {}): Promise<HttpResponse> {
    const first = withoutUserinfo(requested);
    const basic = basicOf(requested, shownUrl(first, first));
    let url = first;
    for (let redirects = 0; ; redirects++) {
      const shown = shownUrl(url, first);
      const own = url.origin === first.origin ? basic : undefined;
      let answer: Dispatcher.ResponseData;
      try {
        answer = await (await agentFor(url.protocol)).request({
          origin: url.origin,
          path: url.pathname + url.search,
          method: "GET",
          signal: signal ?? null,
          headers: { "user-agent": options.userAgent ?? "rkt", ...headers, ...(own ?? authorization(url)) },
        });
      } catch (error) {
        signal?.throwIfAborted();
        throw networkError(shown, error);
      }

      const { statusCode: status, body } = answer;
      const discard = () => void body.on("error", () => {}).destroy();
      const answered = flatten(answer.headers);
      const location = answered["location"];
      if (!REDIRECTS.has(status) || location === undefined) {
        return { url, shown, status, headers: answered, body: chunks(body, shown, signal), discard };
      }
      discard();
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

/** Where no variable for https is set, undici sends https through HTTP_PROXY's proxy too. */
async function openAgent(protocol: string, options: HttpOptions): Promise<Dispatcher> {
  const { EnvHttpProxyAgent } = await import("undici");
  const env = options.env ?? callersEnvironment();
  const httpProxy = proxyUrl(env, "http_proxy");
  const httpsProxy = proxyUrl(env, "https_proxy");
  const overTls = protocol === "https:" || httpProxy.startsWith("https:");
  const connect = {
    timeout: options.connectTimeout ?? CONNECT_TIMEOUT,
    // Said in any case: a variable of the runtime (NODE_TLS_REJECT_UNAUTHORIZED) decides otherwise.
    rejectUnauthorized: options.anyCertificate !== true,
    ...(overTls ? { secureContext: createSecureContext({ ca: trustedCertificates() }) } : undefined),
  };
  const idle = options.idleTimeout ?? IDLE_TIMEOUT;
  return new EnvHttpProxyAgent({
    httpProxy,
    httpsProxy,
    noProxy: env["no_proxy"] ?? env["NO_PROXY"] ?? "",
    connect,
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

/** Whom the machine's other programs trust; the runtime's own list only where there is none. */
function trustedCertificates(): string[] {
  showRuntime(["SSL_CERT_FILE", "SSL_CERT_DIR"]);
  const system = getCACertificates("system");
  return [...new Set([...(system.length > 0 ? system : getCACertificates("bundled")), ...getCACertificates("extra")])];
}

/** `https://user:password@host/` is a person's way to say Basic; it holds for that origin alone. */
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

function withoutUserinfo(given: URL): URL {
  const url = new URL(given);
  url.username = "";
  url.password = "";
  return url;
}

/** For records and the screen: without credentials. */
export const plainHref = (url: URL): string => withoutUserinfo(url).href;

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

/** For people: never userinfo, and of a redirect's target no query either (storage services put signatures there). */
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

const SPELLING = "is the host spelled right? the name service of this machine does not know it";
const LISTENING = "nothing listens there: is the port right, and the server running?";
const WAY = "is there a way from here? the variables https_proxy and http_proxy name a proxy";
export const AGAIN = "try again later, or get the file in another way and give its path";
const PROXY_PASSWORD = "put user and password into the proxy's URL";
const ITSELF = "give the address of the file itself";

/** What the codes of Node.js and undici mean to a person. */
const REASONS: Record<string, { why: string; transient?: boolean; hint?: string }> = {
  ENOTFOUND: { why: "no such host", hint: SPELLING },
  EAI_AGAIN: { why: "the name service does not answer", transient: true, hint: WAY },
  ECONNREFUSED: { why: "connection refused", hint: LISTENING },
  EHOSTUNREACH: { why: "no route to the host", hint: WAY },
  ENETUNREACH: { why: "the network is unreachable", hint: WAY },
  ECONNRESET: { why: "connection reset", transient: true, hint: AGAIN },
  EPIPE: { why: "connection closed", transient: true, hint: AGAIN },
  ETIMEDOUT: { why: "no answer to the connection", hint: WAY },
  UND_ERR_CONNECT_TIMEOUT: { why: "no answer to the connection", hint: WAY },
  UND_ERR_HEADERS_TIMEOUT: { why: "the server does not answer", transient: true, hint: AGAIN },
  UND_ERR_BODY_TIMEOUT: { why: "the server stopped sending", transient: true, hint: AGAIN },
  UND_ERR_SOCKET: { why: "connection closed too early", transient: true, hint: AGAIN },
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: { why: "the body is not of the announced length", transient: true, hint: AGAIN },
  UND_ERR_HEADERS_OVERFLOW: { why: "the answer's headers are too big", hint: ITSELF },
  UND_ERR_PRX_CONN: { why: "the proxy closed the connection", transient: true, hint: AGAIN },
};

function networkError(shown: string, error: unknown): HttpError {
  if (error instanceof RktError) throw error;
  const code = errorCode(error) ?? "";
  const fail = (kind: string, why: string, options?: { transient?: boolean | undefined; hint?: string | undefined }) =>
    new HttpError(kind, `get ${shown}: ${why}`, { ...options, transient: options?.transient ?? false, cause: error });
  const known = REASONS[code];
  if (known !== undefined) return fail("unreachable", known.why, known);
  if (isTlsCode(code)) {
    // What Node.js advises is an option of its own.
    if (error instanceof Error) error.message = error.message.replace(/; if the root CA is installed locally.*/s, "");
    return fail("tls-failure", `TLS: ${opensslReason(error) ?? errorText(error)}`, {
      hint: "rkt trusts whom this machine trusts: add the authority's certificate there (/etc/ssl/certs), or name a file with SSL_CERT_FILE; --insecure-options=tls accepts any",
    });
  }
  const proxy = /^Proxy response \((\d+)\)/.exec(errorText(error))?.[1];
  if (proxy !== undefined)
    return fail("unreachable", `the proxy answers ${proxy}`, { hint: proxy === "407" ? PROXY_PASSWORD : WAY });
  if (error instanceof Error && error.name === "HTTPParserError") {
    return fail("not-http", "the answer is not HTTP", {
      hint: "is the port right? http and https have different ones",
    });
  }
  return fail("unreachable", errorText(error));
}

/** Verification results of OpenSSL carry their X509 names, protocol failures ERR_SSL_ or EPROTO. */
const isTlsCode = (code: string): boolean =>
  /^(ERR_TLS_|ERR_SSL_|EPROTO$|CERT_|CRL_|UND_ERR_PRX_TLS$|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_(CA|PURPOSE)$|HOSTNAME_MISMATCH$|PATH_LENGTH_)/.test(
    code,
  );

/** "wrong version number" of `40E3…:error:0A00010B:SSL routines:tls_validate_record_header:wrong version number:…`. */
function opensslReason(error: unknown): string | undefined {
  return error instanceof Error && "reason" in error && typeof error.reason === "string" ? error.reason : undefined;
}

/** An answer that is not the one asked for, in words. */
export function statusError(response: Pick<HttpResponse, "shown" | "status" | "headers">): HttpError {
  const { shown, status, headers } = response;
  const host = new URL(shown).host;
  const hints: Record<number, string> = {
    401: `credentials for ${host} go into a file below ${LOCAL_CONFIG_DIR}/auth.d`,
    403: `the credentials for ${host} do not allow this, or there are none`,
    404: "is the address right? the server has no such file",
    407: PROXY_PASSWORD,
    410: "the server had the file and has it no more",
  };
  const transient = status >= 500 || status === 429 || status === 408;
  const seconds = headers["retry-after"];
  return new HttpError("http-status", `get ${shown}: ${status} ${STATUS_CODES[status] ?? ""}`.trimEnd(), {
    hint: hints[status] ?? (transient ? AGAIN : "is the address right? the server answers with no file"),
    status,
    transient,
    retryAfter: seconds === undefined ? undefined : retryAfter(seconds, Date.now()),
  });
}

/** Milliseconds of a Retry-After header: seconds or a date. */
function retryAfter(value: string, now: number): number | undefined {
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/**
 * Decides what follows failure number `failures` (from 1) in a row: waits and
 * returns, or throws the error when it is final. In the middle of a download
 * (`midway`) a server out of reach is one that restarts.
 */
export async function waitToRetry(
  http: HttpClient,
  error: unknown,
  options: { failures: number; midway?: boolean; signal?: AbortSignal | undefined },
): Promise<void> {
  const { failures, midway, signal } = options;
  const { attempts, firstPause, longestPause, longestRetryAfter } = http.retry;
  if (!(error instanceof HttpError) || failures >= attempts) throw error;
  if (!error.transient && !(midway === true && error.code === "unreachable")) throw error;
  if ((error.retryAfter ?? 0) > longestRetryAfter) throw error;
  const pause = error.retryAfter ?? Math.min(longestPause, firstPause * 2 ** (failures - 1));
  http.onRetry?.(error, pause / 1000);
  try {
    await sleep(pause, undefined, { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw cause;
  }
}

/** Watches what arrives of one file, over all its tries. */
export function watchRate({ bytes, milliseconds }: LeastRate) {
  let arrived = 0;
  let waited = 0;
  let since = performance.now();
  return {
    /** Throws when too little has arrived for too long. */
    arrived(length: number, shown: string): void {
      const now = performance.now();
      arrived += length;
      waited += now - since;
      since = now;
      if (waited < milliseconds) return;
      if (arrived < bytes)
        throw new HttpError(
          "too-slow",
          `get ${shown}: the server sends too slowly, ${arrived} bytes in ${Math.round(waited / 1000)} s`,
          { hint: AGAIN },
        );
      arrived = 0;
      waited = 0;
    },
    /** What took time since was no fault of the server's. */
    busy(): void {
      since = performance.now();
    },
  };
}

export interface FetchedBytes {
  url: URL;
  status: number;
  headers: Headers;
  bytes: Buffer;
}

/**
 * A small document (page, signature, key), whole in memory, with retries.
 * Beyond `limit` bytes it is an error, or, with `cut`, its beginning.
 * A status other than 200 is an error, save those in `accept`.
 */
export async function fetchBytes(
  http: HttpClient,
  url: URL,
  options: { limit: number; cut?: boolean; accept?: readonly number[]; signal?: AbortSignal | undefined },
): Promise<FetchedBytes> {
  const rate = watchRate(http.leastRate);
  for (let failures = 1; ; failures++) {
    try {
      const response = await http.get(url, { headers: { "accept-encoding": "identity" }, signal: options.signal });
      const { status, headers } = response;
      if (status !== 200 && options.accept?.includes(status) !== true) {
        response.discard();
        throw statusError(response);
      }
      const parts: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of response.body) {
        rate.arrived(chunk.length, response.shown);
        parts.push(chunk);
        size += chunk.length;
        if (size <= options.limit) continue;
        if (options.cut === true) break;
        throw new HttpError("too-big", `get ${response.shown}: more than ${options.limit} bytes`);
      }
      return { url: response.url, status, headers, bytes: Buffer.concat(parts) };
    } catch (error) {
      await waitToRetry(http, error, { failures, signal: options.signal });
    }
  }
}
