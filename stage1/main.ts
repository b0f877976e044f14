/**
 * Stage 1's executable: `init`, and the stage1 image's other entrypoints,
 * which are links to it (DESIGN: "looks at the name it was called by").
 */

import { basename } from "node:path";
import { errorText, printable, RktError } from "../shared/errors.ts";
import { enter } from "./nspawn/enter.ts";
import { init } from "./init.ts";
import { stop } from "./nspawn/stop.ts";

const entrypoints: Record<string, (args: readonly string[]) => void> = {
  init,
  enter,
  stop,
};

function main(): void {
  const name = basename(process.argv[1] ?? "init");
  const entrypoint = entrypoints[name];
  if (entrypoint === undefined) throw new RktError("usage", `stage1 has no entrypoint "${name}"`);
  entrypoint(process.argv.slice(2));
}

// Whoever started this: with 077 no app that is not root could enter its root, with 000 others could write to it.
process.umask(0o022);
try {
  main();
} catch (error) {
  // An errno names its operation and object.
  const known = error instanceof RktError || (error instanceof Error && "syscall" in error);
  const text = known ? errorText(error) : error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`rkt: stage1: ${known ? printable(text) : text}\n`);
  if (error instanceof RktError && error.hint !== undefined) process.stderr.write(`hint: ${printable(error.hint)}\n`);
  process.exitCode = error instanceof RktError ? error.exitCode : 254;
}
