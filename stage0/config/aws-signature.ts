/**
 * Signs a GET request for Amazon S3 with Signature Version 4: the headers prove knowledge of the secret key, for one
 * URL and some minutes.
 *
 * Source: "Authenticating Requests: Using the Authorization Header (AWS
 * Signature Version 4)", Amazon S3 API Reference.
 */

import { createHash, createHmac } from "node:crypto";

export interface AwsKey {
  accessKeyID: string;
  secretAccessKey: string;
  /** Undefined: guessed from the host's name. */
  awsRegion: string | undefined;
}

const DEFAULT_REGION = "us-east-1";

export function signRequest(url: URL, key: AwsKey, now: Date): Record<string, string> {
  const time = now.toISOString().replace(/[:-]|\.\d+/g, "");
  const date = time.slice(0, 8);
  const scope = `${date}/${key.awsRegion ?? regionOf(url.hostname)}/s3/aws4_request`;
  const signed: Record<string, string> = { "x-amz-content-sha256": sha256(""), "x-amz-date": time };

  const named = Object.entries({ host: url.host, ...signed });
  const names = named.map(([name]) => name).join(";");
  const request = [
    "GET",
    canonicalPath(url.pathname),
    canonicalQuery(url.searchParams),
    ...named.map(([name, value]) => `${name}:${value}`),
    "",
    names,
    sha256(""),
  ].join("\n");

  const signingKey = scope.split("/").reduce<string | Buffer>(hmac, `AWS4${key.secretAccessKey}`);
  const signature = hmac(signingKey, ["AWS4-HMAC-SHA256", time, scope, sha256(request)].join("\n")).toString("hex");
  const credential = `${key.accessKeyID}/${scope}`;
  return {
    ...signed,
    authorization: `AWS4-HMAC-SHA256 Credential=${credential},SignedHeaders=${names},Signature=${signature}`,
  };
}

/** The region in a host like `bucket.s3.eu-west-1.amazonaws.com`, or in the older form with a hyphen. */
export function regionOf(host: string): string {
  const pattern = /(?:^|\.)s3[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d+)\.amazonaws\.com(?:\.cn)?$/;
  return pattern.exec(host)?.[1] ?? DEFAULT_REGION;
}

/** Decodes the path as the server does, and encodes it again. */
function canonicalPath(path: string): string {
  return path
    .split("/")
    .map((segment) => encode(decode(segment)))
    .join("/");
}

function canonicalQuery(query: URLSearchParams): string {
  const pairs = [...query].map(([name, value]) => [encode(name), encode(value)] as const);
  const order = (a: string, b: string) => (a < b ? -1 : Number(a > b));
  return pairs
    .sort((a, b) => order(a[0], b[0]) || order(a[1], b[1]))
    .map((pair) => pair.join("="))
    .join("&");
}

/** Encodes all bytes except RFC 3986's unreserved characters. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();
