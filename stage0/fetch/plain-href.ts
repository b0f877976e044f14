/** URLs without the user and password in them. Small, because every start loads it. */

export function withoutUserinfo(given: URL): URL {
  const url = new URL(given);
  url.username = "";
  url.password = "";
  return url;
}

/** A URL as records and the screen show it. */
export const plainHref = (url: URL): string => withoutUserinfo(url).href;
