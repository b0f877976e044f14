/**
 * The environment of an app (appc spec, ace.md "Execution Environment"). Pure.
 */

import type { Account } from "./accounts.ts";
import { DEFAULT_PATH } from "../shared/program.ts";
import { olderThan } from "../shared/schema/values.ts";

export interface EnvironmentSources {
  /** Name of the app in this container. */
  app: string;
  account: Account;
  /** The manifest's, in its order. */
  environment: readonly { readonly name: string; readonly value: string }[];
  metadataUrl?: string | undefined;
  /** Of an image made before 0.6.0: its name and acVersion. */
  early?: { readonly image: string; readonly acVersion: string } | undefined;
  /** TERM of the terminal the app is given. */
  terminal?: string | undefined;
  /** What the launcher was given and passes on: socket activation, readiness. */
  passed: Readonly<Record<string, string>>;
}

/**
 * Variables by name. The app's own win over the defaults and over each other
 * in their order; what the spec and systemd's protocols promise wins over
 * the app's.
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
  // What is not in the specification of its time, an early app may refuse: the first validators do.
  const { early } = sources;
  env["AC_APP_NAME"] = early?.image ?? sources.app;
  if (sources.metadataUrl !== undefined && (early === undefined || !olderThan(early.acVersion, "0.2.0")))
    env["AC_METADATA_URL"] = sources.metadataUrl;
  if (early === undefined) env["container"] = "rkt";
  return Object.assign(env, sources.passed);
}
