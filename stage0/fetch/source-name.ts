/** An image by its name and labels: the store's, or the one that the name's host tells of (appc spec, discovery.md). */

import { formatImageName, type ImageName, parseImageName } from "../store/image-name.ts";
import { type ImageSource, lastPart } from "./image-source.ts";

export interface NameReference extends ImageName {
  kind: "name";
}

export const nameSource: ImageSource<NameReference> = {
  kind: "name",
  schemes: [],
  origin: "network",
  /** Everything but a URL is meant as a name. */
  parse: (text) => (/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? undefined : { kind: "name", ...parseImageName(text) }),
  format: formatImageName,
  shortName: ({ name }) => lastPart(name),
  stored: (asked, store) => store.candidates({ asked }),
  find: async (asked, { store, pullPolicy, signature, least }) =>
    pullPolicy === "update" || signature !== undefined ? undefined : store.best({ asked }, least),
  async fetch(asked, { signature, label }, context) {
    const { fetchName } = await import("./fetch-name.ts");
    return await fetchName(asked, { signature, label, expected: { asked } }, context);
  },
};
