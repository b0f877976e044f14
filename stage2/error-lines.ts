/** How the launcher says that something went wrong: the lines that it, or its helper, writes to standard error. */

import { errorText, printable, RktError } from "../shared/errors.ts";

export function errorLines(app: string | undefined, error: unknown): string {
  // An errno names its operation and object.
  const known = error instanceof RktError || (error instanceof Error && "syscall" in error);
  const text = known
    ? printable(errorText(error))
    : error instanceof Error
      ? (error.stack ?? error.message)
      : String(error);
  const hint = error instanceof RktError && error.hint !== undefined ? `hint: ${printable(error.hint)}\n` : "";
  return `rkt:${app === undefined ? "" : ` app ${printable(app)}:`} ${text}\n${hint}`;
}
