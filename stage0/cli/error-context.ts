/** What is known of a command line when its command fails, for the error that is shown. */

import type { JsonForm } from "./options.ts";

export interface ErrorContext {
  /** The command that failed, if one was found. */
  command: string | undefined;
  debug: boolean;
  /** Set by `--format=json` and `json-pretty`: what a program reads on stdout says the error too. */
  json: JsonForm | undefined;
}
