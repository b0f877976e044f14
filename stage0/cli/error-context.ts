/** What the renderer of an error must know about the command line. */

import type { JsonForm } from "./options.ts";

export interface ErrorContext {
  /** The command that failed, if one was found. */
  command: string | undefined;
  debug: boolean;
  /** Set by `--format=json` and `json-pretty`: the error is also printed on stdout, for programs. */
  json: JsonForm | undefined;
}
