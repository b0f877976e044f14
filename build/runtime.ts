/** Compiles bundles to executables with the pinned Bun inside, which start by instructions of ours (ADR 9). */

import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { errorText, RktError } from "../shared/errors.ts";
import { withOwnEntryPoint } from "./entry-point.ts";
import { ROOT, RUNTIME_PACKAGE } from "./paths.ts";

const bun = join(ROOT, "node_modules", RUNTIME_PACKAGE, "bin/bun");

/**
 * An executable obeys no file of the directory that it is started in: Bun would read .env, bunfig.toml and others there.
 * The identifiers are not minified, so that stacks are readable.
 */
const OPTIONS = [
  ...["dotenv", "bunfig", "tsconfig", "package-json"].map((file) => `--no-compile-autoload-${file}`),
  ...["--bytecode", "--format=cjs", "--target=bun", "--minify-whitespace", "--minify-syntax"],
] as const;

/** Compiles the script `main`, with the scripts that it loads, to the executable `output`. */
export async function compile(main: string, output: string): Promise<void> {
  mkdirSync(dirname(output), { recursive: true });
  const directory = mkdtempSync(`${output}.`);
  try {
    const compiled = join(directory, basename(output));
    await runBun(["build", "--compile", ...OPTIONS, basename(main), `--outfile=${compiled}`], dirname(main));
    const program = join(directory, "program");
    writeFileSync(program, withOwnEntryPoint(readFileSync(compiled)));
    chmodSync(program, 0o755);
    renameSync(program, output);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function runBun(args: readonly string[], cwd: string): Promise<void> {
  try {
    await promisify(execFile)(bun, args, { cwd, env: {} });
  } catch (cause) {
    throw new RktError("bundle-failed", `cannot compile with ${bun}: ${errorText(cause)}`, {
      hint: "run `npm ci`; Bun needs a processor with SSE4.2",
      cause,
    });
  }
}
