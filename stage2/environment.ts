/** Makes the environment of an app (appc spec, ace.md "Execution Environment"). Pure. */

import type { Account } from "./accounts.ts";
import { DEFAULT_PATH } from "../shared/program.ts";
import { olderThan } from "../shared/schema/values.ts";

export interface EnvironmentSources {
  /** Name of the app in this container. */
  app: string;
  account: Account;
  /** The variables of the manifest, in its order. */
  environment: readonly { readonly name: string; readonly value: string }[];
  metadataUrl?: string | undefined;
  /** For an image of a specification before 0.6.0: its name and acVersion. */
  early?: { readonly image: string; readonly acVersion: string } | undefined;
  /** TERM of the app's terminal. */
  terminal?: string | undefined;
  /** Variables of the launcher's that it passes on, for socket activation and readiness. */
  passed: Readonly<Record<string, string>>;
}

/**
 * Variables by name. The app's variables replace the defaults, and a later one replaces an earlier one. The variables
 * that the spec and systemd's protocols promise replace the app's.
 */
export function appEnvironment(sources: EnvironmentSources): Record<string, string> {
  const { account } = sources;
  // Without a prototype: an image may name a variable `__proto__`.
  const env: Record<string, string> = Object.create(null);
  env["PATH"] = DEFAULT_PATH;
  env["HOME"] = account.home;
  if (account.name !== undefined) {
    env["USER"] = account.name;
    env["LOGNAME"] = account.name;
  }
  if (account.shell !== undefined) env["SHELL"] = account.shell;
  if (sources.terminal !== undefined) env["TERM"] = sources.terminal;
  for (const { name, value } of sources.environment) env[name] = value;
  // An early app may refuse a variable that its specification does not have: the validators of that time do.
  const { early } = sources;
  env["AC_APP_NAME"] = early?.image ?? sources.app;
  if (sources.metadataUrl !== undefined && (early === undefined || !olderThan(early.acVersion, "0.2.0")))
    env["AC_METADATA_URL"] = sources.metadataUrl;
  if (early === undefined) env["container"] = "rkt";
  return Object.assign(env, sources.passed);
}
