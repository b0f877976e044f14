/** A finder of images that opens the network, as the configuration allows it, when an image needs it. */

import type { Settings } from "../config/settings.ts";
import { say } from "../terminal/output.ts";
import type { Platform } from "../oci/platform.ts";
import type { FetchStore, PullPolicy } from "./fetch-context.ts";
import type { ImageFinder } from "./find.ts";
import type { OpenFetch } from "./open-fetch.ts";

export interface OpenFinder extends ImageFinder {
  close(): Promise<void>;
}

export function openFinder(
  settings: Settings,
  store: FetchStore,
  pullPolicy: PullPolicy,
  platform?: Platform,
): OpenFinder {
  const { insecure, quiet } = settings;
  let opened: OpenFetch | undefined;
  return {
    store,
    pullPolicy,
    insecure,
    platform,
    async network() {
      if (opened === undefined) {
        const { openFetch } = await import("./open-fetch.ts");
        const { signatureChecker } = await import("../trust/verify.ts");
        const { keyPairVerifier } = await import("../trust/key-pair.ts");
        const { credentialsFrom } = await import("../config/auth.ts");
        opened = openFetch({
          store,
          insecure,
          pullPolicy,
          quiet,
          credentialsFor: credentialsFrom(settings, say),
          beginVerification: signatureChecker(settings),
          verifyKeyPair: keyPairVerifier(settings),
          platform,
          async registries() {
            const { openRegistries } = await import("./open-registries.ts");
            return openRegistries({ dirs: settings, warn: say });
          },
        });
      }
      return opened.context;
    },
    close: async () => await opened?.close(),
  };
}
