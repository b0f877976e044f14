/**
 * From an image's name to the URLs of the image, its signature and its keys.
 * Asks the name's own host, over https; over http only with
 * --insecure-options=http, and the caller is told. Takes nothing but URLs from
 * the pages.
 *
 * Source: appc spec, discovery.md. "Simple discovery" makes the URL from the
 * name itself, as versions of the spec before 0.7 had it; it is tried last.
 */

import { RktError } from "../../shared/errors.ts";
import { fetchBytes } from "./fetch-bytes.ts";
import type { HttpClient } from "./http.ts";
import { HttpError, withoutUrl } from "./http-error.ts";
import { hostLabels, type ImageName } from "../store/image-name.ts";

export interface Endpoint {
  image: URL;
  signature: URL;
}

export interface DiscoveryOptions {
  /** Of the hosts that are asked; undefined: the scheme's own. */
  port?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Called once, when a page comes over plain http. */
  onPlainHttp?: (url: string) => void;
}

export interface Discovery<T> {
  found: T[];
  /** The URLs that gave nothing, and why. */
  attempts: { url: string; why: string }[];
}

const DEFAULT_VERSION = "latest";
const SIMPLE_TEMPLATE = "https://{name}-{version}-{os}-{arch}.{ext}";
/** The tags are in a page's head: what comes after so many bytes is not read. */
const PAGE_LIMIT = 1 << 20;

/**
 * Gives at least one endpoint: without a template, the guess of simple discovery. They are in the order of the page,
 * those with https first.
 */
export async function discoverEndpoints(
  http: HttpClient,
  image: ImageName,
  options: DiscoveryOptions = {},
): Promise<Discovery<Endpoint>> {
  const values = templateValues(image);
  const { found, attempts } = await walk(http, image.name, options, (tags, attempt) => {
    const endpoints: Endpoint[] = [];
    for (const { tag, content } of tags) {
      if (tag !== "ac-discovery") continue;
      const endpoint = renderEndpoint(content, values, http.plainHttp);
      if (typeof endpoint === "string") attempt(endpoint);
      else endpoints.push(endpoint);
    }
    return endpoints.sort((a, b) => Number(a.image.protocol === "http:") - Number(b.image.protocol === "http:"));
  });
  if (found.length > 0) return { found, attempts };
  const guess = renderEndpoint(SIMPLE_TEMPLATE, values, http.plainHttp);
  if (typeof guess === "string") throw noHost(image.name, guess);
  if (options.port !== undefined) for (const url of [guess.image, guess.signature]) url.port = String(options.port);
  return { found: [guess], attempts };
}

/** URLs of the public keys that sign images of this name (or of names that begin with it). */
export async function discoverKeys(
  http: HttpClient,
  name: string,
  options: DiscoveryOptions = {},
): Promise<Discovery<URL>> {
  return walk(http, name, options, (tags, attempt) => {
    const urls: URL[] = [];
    for (const { tag, content } of tags) {
      if (tag !== "ac-discovery-pubkeys") continue;
      const url = usableUrl(content, http.plainHttp);
      if (typeof url === "string") attempt(url);
      else urls.push(url);
    }
    return urls;
  });
}

const noHost = (name: string, why: string): RktError =>
  new RktError("no-host", `nobody can be asked for ${name}: ${why}`, {
    hint: "is the name spelled right? it begins with a host's; a file of that name is meant with ./ before it",
  });

/** What was asked and answered, for the message of an error. */
export const formatAttempts = (attempts: Discovery<unknown>["attempts"]): string =>
  attempts.map(({ url, why }) => `${url}: ${why}`).join("; ");

/** The most characters of a template, and of a URL. */
const MAX_TEMPLATE = 4096;
/** The most endpoints of one page for one name: the page chooses whom rkt asks. */
const MAX_TAGS = 16;

/** Asks for the name's page, then for those of its parent paths, until one has what is wanted. */
async function walk<T>(
  http: HttpClient,
  name: string,
  options: DiscoveryOptions,
  pick: (tags: MetaTag[], attempt: (why: string) => void) => T[],
): Promise<Discovery<T>> {
  const attempts: Discovery<T>["attempts"] = [];
  let schemes = http.plainHttp ? ["https", "http"] : ["https"];
  const parts = name.split("/");
  for (let length = parts.length; length > 0; length--) {
    for (const scheme of [...schemes]) {
      const url = URL.parse(`${scheme}://${parts.slice(0, length).join("/")}?ac-discovery=1`);
      if (url === null) throw noHost(name, `${parts[0]} is no name of a host`);
      if (options.port !== undefined) url.port = String(options.port);
      const attempt = (why: string) => void attempts.push({ url: url.href, why });
      let page: string;
      try {
        const { bytes } = await fetchBytes(http, url, { limit: PAGE_LIMIT, cut: true, signal: options.signal });
        page = bytes.toString("utf8");
      } catch (error) {
        if (!(error instanceof HttpError)) throw error;
        attempt(withoutUrl(error));
        // All pages of a name are on one host: if it is out of reach, so are the others.
        if (error.status === undefined) schemes = schemes.filter((s) => s !== scheme);
        continue;
      }
      if (scheme === "http") options.onPlainHttp?.(url.href);
      const tags = (await parseMetaTags(page)).filter((tag) => name.startsWith(tag.prefix)).slice(0, MAX_TAGS);
      const found = pick(tags, attempt);
      if (found.length > 0) return { found, attempts };
      if (tags.length === 0) attempt("no discovery tags for this name");
      break;
    }
  }
  return { found: [], attempts };
}

export interface MetaTag {
  /** "ac-discovery" or "ac-discovery-pubkeys". */
  tag: string;
  /** Prefix of the image names that the tag is for. */
  prefix: string;
  /** A URL or a template of one. */
  content: string;
}

/** The discovery tags of a page, even of a broken one; not those in comments, scripts or text. */
export async function parseMetaTags(html: string): Promise<MetaTag[]> {
  const { Parser } = await import("htmlparser2");
  const tags: MetaTag[] = [];
  const parser = new Parser({
    onopentag(element, attributes) {
      if (element !== "meta") return;
      const tag = attributes["name"] ?? "";
      const [prefix, content, ...rest] = (attributes["content"] ?? "").trim().split(/\s+/);
      if (tag !== "ac-discovery" && tag !== "ac-discovery-pubkeys") return;
      if (prefix === undefined || content === undefined || rest.length > 0) return;
      tags.push({ tag, prefix, content });
    },
  });
  parser.end(html);
  return tags;
}

function templateValues(image: ImageName): Map<string, string> {
  const values = new Map([["version", DEFAULT_VERSION]]);
  for (const label of [...hostLabels(), ...image.labels]) values.set(label.name, label.value);
  values.set("name", image.name);
  return values;
}

/** The endpoint, or the reason why the template gives none. */
function renderEndpoint(template: string, values: ReadonlyMap<string, string>, plainHttp: boolean): Endpoint | string {
  if (template.length > MAX_TEMPLATE) return `a template has more than ${MAX_TEMPLATE} characters`;
  if (!template.includes("{ext}")) return `template ${template} has no {ext}`;
  const render = (ext: string) => renderTemplate(template, new Map([...values, ["ext", ext]]));
  const image = render("aci");
  const signature = render("aci.asc");
  if (image === undefined || signature === undefined) return `template ${template} needs a label that was not given`;
  const imageUrl = usableUrl(image, plainHttp);
  if (typeof imageUrl === "string") return imageUrl;
  const signatureUrl = usableUrl(signature, plainHttp);
  return typeof signatureUrl === "string" ? signatureUrl : { image: imageUrl, signature: signatureUrl };
}

/**
 * Every `{label}` replaced, in one pass; undefined when one has no value.
 * Characters that would end the path, or are no part of one, are encoded.
 */
export function renderTemplate(template: string, values: ReadonlyMap<string, string>): string | undefined {
  let complete = true;
  const text = template.replace(/\{([^{}]*)\}/g, (whole, name: string) => {
    const value = values.get(name);
    if (value === undefined) complete = false;
    return value?.toWellFormed().replace(/[^\w.~!$&'()*+,;=:@/-]/gu, encodeURIComponent) ?? whole;
  });
  return complete ? text : undefined;
}

function usableUrl(text: string, plainHttp: boolean): URL | string {
  const url = URL.parse(text);
  if (url === null) return `${text} is no URL`;
  if (url.protocol === "https:" || (url.protocol === "http:" && plainHttp)) return url;
  if (url.protocol === "http:") return `${text} is plain http, which --insecure-options=http allows`;
  return `${text} is a ${url.protocol} URL`;
}
