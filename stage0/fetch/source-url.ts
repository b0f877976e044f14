/** An image on a web server, by its URL. */

import { usageError, withoutCredentials } from "../../shared/errors.ts";
import { type ImageSource, lastPart } from "./image-source.ts";
import { plainHref } from "./plain-href.ts";

export interface UrlReference {
  kind: "url";
  url: URL;
}

export const urlSource: ImageSource<UrlReference> = {
  kind: "url",
  schemes: ["https", "http"],
  origin: "network",
  parse(text) {
    if (!/^https?:\/\//i.test(text)) return undefined;
    const url = URL.parse(text);
    if (url === null) throw usageError(`image URL ${JSON.stringify(withoutCredentials(text))} is malformed`);
    url.hash = "";
    return { kind: "url", url };
  },
  format: ({ url }) => plainHref(url),
  shortName: ({ url }) => lastPart(url.pathname),
  stored({ url }, store) {
    const record = store.remote(plainHref(url));
    return record === undefined ? [] : [store.resolve(record.key)];
  },
  // Whether the store's image is still the one at the URL is for `fetch` to judge.
  find: async () => undefined,
  async fetch({ url }, { signature, label }, context) {
    const { fetchUrl } = await import("./fetch-url.ts");
    return await fetchUrl({ url, signatureFile: signature, expected: {}, label }, context);
  },
};
