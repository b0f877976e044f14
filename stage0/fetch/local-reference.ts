/** What names an image in a file or directory of the host, and what the store's record of it is called by. */

import { resolve } from "node:path";
import type { FetchStore } from "./fetch-context.ts";

export type LocalKind = "oci" | "oci-archive" | "docker-archive";

export interface LocalReference<Kind extends LocalKind = LocalKind> {
  kind: Kind;
  path: string;
  /** Which of the images there: its name, or `@` and its place in the list. */
  ref: string | undefined;
}

export const localUrl = ({ kind, path, ref }: LocalReference): string =>
  `${kind}:${resolve(path)}${ref === undefined ? "" : `:${ref}`}`;

export type LocalStore = Pick<FetchStore, "beginOci" | "remote" | "resolve" | "vouchAsFile">;
