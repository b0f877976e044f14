/** Names of one registry. */

export const DOCKER_HUB = "docker.io";
/** What older tools and files call Docker Hub. */
const HUB_NAMES = new Set([DOCKER_HUB, "index.docker.io", "registry-1.docker.io"]);

/** The name that the other names of a registry stand for. */
export const canonicalHost = (host: string): string => (HUB_NAMES.has(host) ? DOCKER_HUB : host);
