/** Failures of HTTP requests: what each is called, what helps, and whether the same request may succeed later. */

import type { ErrorCode } from "../../shared/error-codes.ts";
import { STATUS_CODES } from "node:http";
import { errorCode, errorText, RktError, type RktErrorOptions } from "../../shared/errors.ts";
import { LOCAL_CONFIG_DIR } from "../../shared/contract/configuration.ts";

/** A request that failed; `transient` when the same request may succeed later. */
export class HttpError extends RktError {
  readonly transient: boolean;
  readonly status: number | undefined;
  /** Milliseconds the server asked to wait. */
  readonly retryAfter: number | undefined;

  constructor(
    code: ErrorCode,
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

/** The error's message without the URL, for a list that has it already. */
export const withoutUrl = (error: HttpError): string => error.message.replace(/^get \S+: /, "");

const SPELLING = "is the host spelled right? the name service of this machine does not know it";
const LISTENING = "nothing listens there: is the port right, and the server running?";
const ROUTE = "is there a way from here? the variables https_proxy and http_proxy name a proxy";
export const AGAIN = "try again later, or get the file in another way and give its path";
const PROXY_PASSWORD = "put user and password into the proxy's URL";
export const ITSELF = "give the address of the file itself";

/** What the codes of the runtime and undici mean, for people. */
const REASONS: Record<string, { why: string; transient?: boolean; hint?: string }> = {
  ENOTFOUND: { why: "no such host", hint: SPELLING },
  EAI_AGAIN: { why: "the name service does not answer", transient: true, hint: ROUTE },
  ECONNREFUSED: { why: "connection refused", hint: LISTENING },
  EHOSTUNREACH: { why: "no route to the host", hint: ROUTE },
  ENETUNREACH: { why: "the network is unreachable", hint: ROUTE },
  ECONNRESET: { why: "connection reset", transient: true, hint: AGAIN },
  EPIPE: { why: "connection closed", transient: true, hint: AGAIN },
  ETIMEDOUT: { why: "no answer to the connection", hint: ROUTE },
  UND_ERR_CONNECT_TIMEOUT: { why: "no answer to the connection", hint: ROUTE },
  UND_ERR_HEADERS_TIMEOUT: { why: "the server does not answer", transient: true, hint: AGAIN },
  UND_ERR_BODY_TIMEOUT: { why: "the server stopped sending", transient: true, hint: AGAIN },
  UND_ERR_SOCKET: { why: "connection closed too early", transient: true, hint: AGAIN },
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: { why: "the body is not of the announced length", transient: true, hint: AGAIN },
  UND_ERR_HEADERS_OVERFLOW: { why: "the answer's headers are too big", hint: ITSELF },
  UND_ERR_PRX_CONN: { why: "the proxy closed the connection", transient: true, hint: AGAIN },
};

/** A failure before or within the answer, as an error. */
export function networkError(shown: string, error: unknown): HttpError {
  if (error instanceof RktError) throw error;
  const code = errorCode(error) ?? "";
  const fail = (kind: ErrorCode, why: string, options?: { transient?: boolean | undefined; hint?: string | undefined }) =>
    new HttpError(kind, `get ${shown}: ${why}`, { ...options, transient: options?.transient ?? false, cause: error });
  const known = REASONS[code];
  if (known !== undefined) return fail("unreachable", known.why, known);
  if (isTlsCode(code)) {
    // The runtime advises one of its own options.
    if (error instanceof Error) error.message = error.message.replace(/; if the root CA is installed locally.*/s, "");
    const reason = opensslReason(error) ?? errorText(error);
    const plain = /wrong version number|packet length too long/.test(reason);
    return fail("tls-failure", `TLS: ${reason}`, {
      hint: plain
        ? "the server seems to speak plain http: an http:// URL says so, and for a registry --insecure-options=http, or `insecure = true` in registries.conf"
        : "rkt trusts whom this machine trusts: add the authority's certificate there (/etc/ssl/certs), or name a file with SSL_CERT_FILE; --insecure-options=tls accepts any",
    });
  }
  const proxy = /^Proxy response \((\d+)\)/.exec(errorText(error))?.[1];
  if (proxy !== undefined)
    return fail("unreachable", `the proxy answers ${proxy}`, { hint: proxy === "407" ? PROXY_PASSWORD : ROUTE });
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

/** "wrong version number" of `error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER`. */
function opensslReason(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const reason = "reason" in error ? error.reason : /:SSL routines:[^:]*:([^:]+)/.exec(error.message)?.[1];
  return typeof reason === "string" ? reason.toLowerCase().replaceAll("_", " ") : undefined;
}

interface FailedResponse {
  /** Its URL in messages. */
  shown: string;
  status: number;
  headers: Readonly<Record<string, string | undefined>>;
}

/** An answer with an unwanted status, as an error. */
export function statusError(response: FailedResponse): HttpError {
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
export function retryAfter(value: string, now: number): number | undefined {
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
