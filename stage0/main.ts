/** Stage 0's executable, `rkt`. The only place that renders errors and sets the exit status. */

import "./host/caller-mask.ts";
import { RktError } from "../shared/errors.ts";
import { runCommand } from "./cli/dispatch.ts";
import { commandTable } from "./command-table.ts";
import { hasPrinted, printJson, STDOUT_CLOSED, writeError } from "./terminal/output.ts";
import type { ErrorContext } from "./cli/error-context.ts";

async function main(): Promise<void> {
  const context: ErrorContext = { command: undefined, debug: false, json: undefined };
  try {
    await runCommand(process.argv.slice(2), commandTable, context);
  } catch (error) {
    if (error instanceof RktError && error.code === STDOUT_CLOSED) {
      process.exitCode = error.exitCode;
      return;
    }
    const { errorFacts, renderError } = await import("../shared/render-error.ts");
    const { command, debug, json } = context;
    // If the command has printed JSON already, a second document would make the output invalid.
    if (json !== undefined && !hasPrinted()) printJson({ error: errorFacts(error) }, json.pretty);
    const { text, status } = renderError(error, { who: command === undefined ? "rkt" : `rkt: ${command}`, debug });
    writeError(text);
    process.exitCode = status;
  }
}

void main();
