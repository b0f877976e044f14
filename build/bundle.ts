/**
 * Bundles the programs, and compiles them to executables with the runtime inside: `rkt`, and one for the stage1 images,
 * which is `init` or the launcher by the name that it is called by. No bundle contains another stage's code.
 */

import { copyFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type BuildFailure, type BuildOptions, build, type Message, type Plugin } from "esbuild";
import { RktError } from "../shared/errors.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import { ROOT } from "./paths.ts";
import { compile } from "./runtime.ts";
import { lazyBuiltins, SLIM } from "./slim.ts";

interface Executable {
  /** The directory of its code; the entry point is main.ts. */
  stage: string;
  plugins: readonly Plugin[];
}

export const EXECUTABLES = {
  rkt: { stage: "stage0", plugins: SLIM },
  init: { stage: "stage1", plugins: [lazyBuiltins] },
  launcher: { stage: "stage2", plugins: [lazyBuiltins] },
} as const satisfies Record<string, Executable>;
export type ExecutableName = keyof typeof EXECUTABLES;

/**
 * Bundles an executable's code to one CommonJS file. `entry` replaces the stage's own main.ts. Returns the paths of the
 * source files, relative to the project.
 */
export async function bundle(name: ExecutableName, output: string, entry?: string): Promise<string[]> {
  const executable: Executable = EXECUTABLES[name];
  const options = {
    absWorkingDir: ROOT,
    entryPoints: [entry ?? `${executable.stage}/main.ts`],
    outfile: output,
    write: false,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node26",
    // `import()` becomes a `require` made at that moment.
    supported: { "dynamic-import": false },
    // Dependencies read it at their start. Any value will do, because a single file has no modules to find.
    define: { "import.meta.url": '"file:///rkt"' },
    // Identifiers are not minified, so that stacks are readable.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    // A JavaScript engine keeps a text with one character beyond Latin-1 in twice the memory.
    charset: "ascii",
    metafile: true,
    logLevel: "silent",
    external: ["bun:ffi"],
    plugins: [...executable.plugins],
  } satisfies BuildOptions;
  const result = await build(options).catch((cause: BuildFailure) => {
    throw bundleError(name, cause.errors[0], cause);
  });
  if (result.warnings.length > 0) throw bundleError(name, result.warnings[0]);
  checkSources(name, Object.keys(result.metafile.inputs));
  mkdirSync(dirname(output), { recursive: true });
  const temporary = `${output}.${process.pid}.tmp`;
  writeFileSync(temporary, result.outputFiles[0]?.contents ?? "", { mode: 0o755 });
  renameSync(temporary, output);
  return Object.keys(result.metafile.inputs);
}

function bundleError(name: ExecutableName, message: Message | undefined, cause?: unknown): RktError {
  const { file, line } = message?.location ?? {};
  const place = file === undefined ? "" : `${file}:${line}: `;
  return new RktError("bundle-failed", `cannot bundle ${name}: ${place}${message?.text ?? cause}`, { cause });
}

const STAGES = ["stage0", "stage1", "stage2"];

function checkSources(name: ExecutableName, inputs: readonly string[]): void {
  const { stage } = EXECUTABLES[name];
  const stray = inputs.find((input) => STAGES.some((other) => other !== stage && input.startsWith(`${other}/`)));
  if (stray !== undefined)
    throw new RktError("bundle-failed", `${name} contains ${stray}`, {
      hint: "stages import shared/ and themselves, never each other",
    });
}

/** The names by which the executable of the stage1 images is the launcher. By any other it is `init`. */
const LAUNCHERS = [STAGE1.launcher, STAGE1.hostLauncher].map((path) => basename(path));

/**
 * Compiles the two programs of the stage1 images to one executable, because most of it is the runtime. It loads one of
 * the bundles, which have nothing in common and no name for each other.
 */
export async function stage1Executable(bundles: { init: string; launcher: string }, output: string): Promise<void> {
  mkdirSync(dirname(output), { recursive: true });
  const directory = mkdtempSync(`${output}.`);
  try {
    for (const [name, path] of Object.entries(bundles)) copyFileSync(path, join(directory, `${name}.cjs`));
    const main = join(directory, "stage1.cjs");
    writeFileSync(
      main,
      `const name = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);
if (${JSON.stringify(LAUNCHERS)}.includes(name)) require("./launcher.cjs");
else require("./init.cjs");
`,
    );
    await compile(main, output);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
