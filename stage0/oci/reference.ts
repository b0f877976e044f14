/**
 * References to images of registries, as podman and docker read them: the
 * distribution project's grammar, and what a short one stands for. Does no I/O.
 *
 *     docker://[REGISTRY/]REPOSITORY[:TAG][@DIGEST]
 *
 * The first component is a registry if it has a dot or a port, or is
 * `localhost`. Without a registry it is docker.io, and there a repository of one
 * component is in `library`. Aliases of short names (shortnames.conf) are not
 * looked up: what a name means does not depend on the machine.
 *
 * Source: distribution/reference, its package documentation.
 */

import { usageError, withoutCredentials } from "../../shared/errors.ts";
import type { ACIdentifier } from "../../shared/schema/types.ts";
import { canonicalHost, DOCKER_HUB } from "../config/registry-hosts.ts";

export interface RegistryReference {
  /** Lower-case host, with a port if one was given: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  registry: string;
  /** `library/nginx`. */
  repository: string;
  /** Undefined beside a digest if none was given; else `latest`. */
  tag: string | undefined;
  /** `sha256:` and 64 hex digits. It decides which image is meant; a tag beside it is only shown. */
  digest: string | undefined;
}

const SCHEME = /^docker:\/\//i;
/** Of the whole text: two hosts' names, a repository, a tag and a digest fit. */
const MAX_TEXT = 1024;
const MAX_HOST = 253;
const MAX_REPOSITORY = 255;

const HOST_PART = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const IPV6 = /^\[[0-9a-f:.]{2,45}\]$/;
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** Whether a text is meant as such a reference. */
export const isRegistryReference = (text: string): boolean => SCHEME.test(text);

/** Reads `docker://…`. Throws a usage error that says what is wrong. */
export const parseRegistryReference = (text: string): RegistryReference =>
  readReference(text.replace(SCHEME, ""), (why, hint) =>
    usageError(`image ${JSON.stringify(withoutCredentials(text.slice(0, MAX_TEXT)))}: ${why}`, hint),
  );

/** Reads a reference without a scheme, as signatures and archives have them; undefined if it is none. */
export function tryReference(text: string): RegistryReference | undefined {
  const none = new Error("no reference");
  try {
    return readReference(text, () => none);
  } catch (error) {
    if (error === none) return undefined;
    throw error;
  }
}

function readReference(text: string, fail: (why: string, hint?: string) => Error): RegistryReference {
  if (text.length > MAX_TEXT) throw fail(`it is longer than ${MAX_TEXT} characters`);
  if (text === "") throw fail("there is no repository", "docker://nginx, or docker://REGISTRY/REPOSITORY:TAG");
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !DIGEST.test(digest))
    throw digest.includes("/")
      ? fail("a user and password have no place in it", "credentials go into a file: docs/use/oci.md")
      : fail("after the @ comes sha256: and 64 lower-case hex digits");

  const named = at < 0 ? text : text.slice(0, at);
  const slash = named.indexOf("/");
  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  if (tag !== undefined && !TAG.test(tag))
    throw fail(`${JSON.stringify(tag)} is no tag`, 'a tag has at most 128 letters, digits, "_", "." and "-"');

  const whole = colon < 0 ? named : named.slice(0, colon);
  const first = slash < 0 ? "" : whole.slice(0, slash);
  const hasRegistry = /[.:[]/.test(first) || first === "localhost";
  const registry = hasRegistry ? readRegistry(first.toLowerCase(), fail) : DOCKER_HUB;
  const path = hasRegistry ? whole.slice(slash + 1) : whole;
  const repository = registry === DOCKER_HUB && !path.includes("/") ? `library/${path}` : path;
  if (repository.length > MAX_REPOSITORY) throw fail(`the repository is longer than ${MAX_REPOSITORY} characters`);
  if (path === "") throw fail("there is no repository");
  for (const component of path.split("/")) {
    if (COMPONENT.test(component)) continue;
    throw fail(
      `${JSON.stringify(component)} can't be in a repository's name`,
      /[A-Z]/.test(component)
        ? `repositories are lower-case: ${path.toLowerCase()}`
        : 'its parts are lower-case letters and digits, with single ".", "_" or "-" between them',
    );
  }
  if (!hasRegistry && /^[0-9a-f]{64}$/.test(path))
    throw fail("that is a digest, not a repository", `REPOSITORY@sha256:${path}`);
  return { registry, repository, tag: tag ?? (digest === undefined ? "latest" : undefined), digest };
}

function readRegistry(text: string, fail: (why: string, hint?: string) => Error): string {
  const [, host = "", port] = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/s.exec(text) ?? [];
  const named = host.length <= MAX_HOST && host.split(".").every((part) => HOST_PART.test(part));
  // A name like 0x7f.1 would be asked for at another host than it says (URL Standard, "host parsing").
  const url = named || IPV6.test(host) ? URL.parse(`https://${host}/`) : null;
  if (url === null || (named && url.hostname !== host))
    throw fail(`${JSON.stringify(host)} is no host`);
  if (port !== undefined && !(/^[1-9][0-9]{0,4}$/.test(port) && Number(port) <= 65535))
    throw fail(`${JSON.stringify(port)} is no port`, "a port is a number from 1 to 65535");
  return canonicalHost(port === undefined ? url.hostname : `${url.hostname}:${port}`);
}

/** `docker.io/library/nginx`. */
export const repositoryName = ({ registry, repository }: RegistryReference): string => `${registry}/${repository}`;

/** `docker.io/library/nginx:1.25@sha256:…`. */
export const formatReference = (reference: RegistryReference): string =>
  repositoryName(reference) +
  (reference.tag === undefined ? "" : `:${reference.tag}`) +
  (reference.digest === undefined ? "" : `@${reference.digest}`);

/** `docker://docker.io/library/nginx:1.25`. */
export const formatRegistryReference = (reference: RegistryReference): string =>
  `docker://${formatReference(reference)}`;

/**
 * The image's App Container name. Identifiers have no ":" or brackets: a "~", which is in no host's name, stands for
 * each, so that no two repositories have one name: `localhost~5000/app`.
 */
export function imageNameOf({ registry, repository }: RegistryReference): ACIdentifier {
  const host = registry.startsWith("[") ? `ip6~${registry.replaceAll("[", "").replaceAll("]", "")}` : registry;
  return `${host.replaceAll(":", "~")}/${repository}`;
}
