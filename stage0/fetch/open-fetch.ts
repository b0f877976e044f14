/**
 * Puts together what a fetch needs in this process: the HTTP client, as the
 * person allows it, and the terminal. Signals end the fetch in order, not the
 * process at once.
 */

import { isatty } from "node:tty";
import { RktError } from "../../shared/errors.ts";
import type { InsecureOption } from "../config/insecure-options.ts";
import { writeError } from "../terminal/output.ts";
import type { FetchContext, FetchStore, PullPolicy } from "./fetch-context.ts";
import { openHttp } from "./http.ts";
import type { RegistryAccess } from "./registry-access.ts";
import type { Platform } from "../oci/platform.ts";
import { openReporter } from "../terminal/progress.ts";

export interface FetchSettings {
  store: FetchStore;
  insecure: ReadonlySet<InsecureOption>;
  pullPolicy: PullPolicy;
  quiet: boolean;
  credentialsFor?: ((url: URL) => Record<string, string> | undefined) | undefined;
  beginVerification: FetchContext["beginVerification"];
  verifyKeyPair: FetchContext["verifyKeyPair"];
  registries(): Promise<RegistryAccess>;
  platform?: Platform | undefined;
}

export interface OpenFetch {
  context: FetchContext;
  close(): Promise<void>;
}

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

/** Until `close`, the first SIGINT, SIGTERM or SIGHUP ends the fetch with an error; a second one ends the process. */
export function openFetch(settings: FetchSettings): OpenFetch {
  const { store, insecure, pullPolicy, beginVerification, verifyKeyPair, registries, platform } = settings;
  const reporter = openReporter({ stream: stderr, quiet: settings.quiet });
  const http = openHttp({
    anyCertificate: insecure.has("tls"),
    plainHttp: insecure.has("http"),
    credentialsFor: settings.credentialsFor,
    onRetry: (error, seconds) => reporter.line(`rkt: ${error.message}; trying again in ${Math.ceil(seconds)} s`),
  });
  const stop = new AbortController();
  const handlers = Object.entries(SIGNALS).map(([name, number]) => {
    const handle = () => stop.abort(new RktError("interrupted", `ended by ${name}`, { exitCode: 128 + number }));
    process.once(name, handle);
    return { name, handle };
  });
  return {
    context: {
      ...{ store, http, insecure, pullPolicy, reporter, registries, platform },
      ...{ beginVerification, verifyKeyPair, signal: stop.signal },
    },
    async close() {
      for (const { name, handle } of handlers) process.removeListener(name, handle);
      await http.close();
    },
  };
}

const stderr = {
  get isTTY() {
    return isatty(2);
  },
  get columns() {
    // 0 is a terminal whose size was never set.
    return process.stderr.columns || 80;
  },
  write: writeError,
};
