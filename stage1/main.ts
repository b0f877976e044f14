/**
 * Stage 1's executable: `init`, and the stage1 image's other entrypoints,
 * which are links to it (DESIGN: "looks at the name it was called by").
 */

import { basename } from "node:path";
import { RktError } from "../shared/errors.ts";
import { renderError } from "../shared/render-error.ts";
import { enter } from "./nspawn/enter.ts";
import { readContainer } from "./container/container.ts";
import { init } from "./init.ts";
import { nspawn } from "./nspawn/flavor.ts";
import { stop } from "./nspawn/stop.ts";

const entrypoints: Record<string, (args: readonly string[]) => void> = {
  init: () => init(nspawn),
  enter,
  stop,
};

function main(): void {
  const name = basename(process.argv0);
  const entrypoint = entrypoints[name];
  if (entrypoint === undefined) throw new RktError("usage", `stage1 has no entrypoint "${name}"`);
  entrypoint(process.argv.slice(2));
}

/** Whether the container's manifest says so; what fails may be that it can't be read. */
function isDebug(): boolean {
  try {
    return readContainer().debug;
  } catch {
    return false;
  }
}

// The caller's mask is not used: with 077 only an app that runs as root could enter its root, with 000 others could
// write there.
process.umask(0o022);
try {
  main();
} catch (error) {
  const { text, status } = renderError(error, { who: "rkt: stage1", debug: isDebug() });
  process.stderr.write(text);
  process.exitCode = status;
}
