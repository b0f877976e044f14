/** Stage 0's executable, `rkt`. The only place that renders errors and sets the exit status. */

import "./host/caller-mask.ts";
import { runCommand } from "./cli/dispatch.ts";
import { commandTable } from "./command-table.ts";
import { writeError } from "./terminal/output.ts";
import type { ErrorContext } from "./cli/render-error.ts";

async function main(): Promise<void> {
  const context: ErrorContext = { command: undefined, debug: false };
  try {
    await runCommand(process.argv.slice(2), commandTable, context);
  } catch (error) {
    const { renderError } = await import("./cli/render-error.ts");
    const { text, status } = renderError(error, context);
    writeError(text);
    process.exitCode = status;
  }
}

void main();
