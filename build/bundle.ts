/**
 * Bundles the executables: `rkt`, one ELF file with Node.js inside, and `init` and `launcher`, scripts for the Node.js
 * of the stage1 image. No bundle contains another stage's code.
 */

import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { type BuildFailure, type BuildOptions, build, type Message, type Plugin } from "esbuild";
import { RktError } from "../shared/errors.ts";
import { containerLayout } from "../shared/contract/container-directory.ts";
import { STAGE1 } from "../shared/contract/stage1-root.ts";
import { ROOT } from "./paths.ts";
import { giveEntryPoint, HEAP, OPTIONS, strippedRuntime } from "./runtime.ts";
import { lazyBuiltins, SLIM } from "./slim.ts";

interface Executable {
  /** The directory of its code; the entry point is main.ts. */
  stage: string;
  interpreter?: string;
  plugins: readonly Plugin[];
}

/** The path relative to the container directory, in which programs on the host start. */
function onHost(path: string): string {
  return containerLayout(".").inStage1(path).replace(/^\.\//, "");
}

export const EXECUTABLES = {
  rkt: { stage: "stage0", plugins: SLIM },
  init: {
    stage: "stage1",
    interpreter: onHost(STAGE1.runtime),
    plugins: [lazyBuiltins],
  },
  launcher: {
    stage: "stage2",
    interpreter: STAGE1.runtime,
    plugins: [lazyBuiltins],
  },
  // The launcher once more, for the host.
  "host-launcher": {
    stage: "stage2",
    interpreter: onHost(STAGE1.runtime),
    plugins: [lazyBuiltins],
  },
} as const satisfies Record<string, Executable>;
export type ExecutableName = keyof typeof EXECUTABLES;
export type ScriptName = Exclude<ExecutableName, "rkt">;

/** Wraps code that `Script` runs, so that it has the variables of a CommonJS module. */
const FUNCTION = { banner: { js: "(function (require, module, exports) {" }, footer: { js: "})" } };

const CODE_CACHE = join(import.meta.dirname, "code-cache.cjs");

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
    // `import()` becomes a `require` made at that moment: V8's code cache and `import()` exclude each other.
    supported: { "dynamic-import": false },
    // Dependencies read it at their start. Any value will do, because a single file has no modules to find.
    define: { "import.meta.url": '"file:///rkt"' },
    // Identifiers are not minified, so that stacks are readable.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    // V8 keeps a text with one character beyond Latin-1 in twice the memory, and takes 4 ms longer to load it.
    charset: "ascii",
    metafile: true,
    logLevel: "silent",
    plugins: [...executable.plugins],
    ...(executable.interpreter === undefined ? {} : FUNCTION),
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

/** Turns a bundle into a single executable with Node.js inside (nodejs.org, "Single executable applications"). */
export async function singleExecutable(main: string, output: string, cache: string): Promise<void> {
  mkdirSync(dirname(output), { recursive: true });
  const directory = mkdtempSync(`${output}.`);
  const config = join(directory, "sea.json");
  const settings = {
    // Stacks show this name. It is relative, so that it does not depend on the machine that built it.
    main: basename(main),
    output: join(directory, "output"),
    executable: await strippedRuntime(cache),
    disableExperimentalSEAWarning: true,
    useSnapshot: false,
    useCodeCache: true,
    execArgv: [...OPTIONS],
    execArgvExtension: "none",
  };
  try {
    writeFileSync(config, JSON.stringify(settings));
    await promisify(execFile)(process.execPath, [HEAP, `--build-sea=${config}`], { cwd: dirname(main) });
    const program = join(directory, "program");
    giveEntryPoint(settings.output, program);
    renameSync(program, output);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * Bundles an executable of a stage1 image into `directory`: a script NAME for the
 * kernel, the code NAME.js, and its V8 bytecode NAME.cache, so that a start need not compile the code. Returns the
 * paths, NAME's first. The files belong in the directory of the runtime.
 */
export async function bundleScript(name: ScriptName, directory: string, entry?: string): Promise<string[]> {
  const { interpreter } = EXECUTABLES[name];
  const [script, code, cache] = [name, `${name}.js`, `${name}.cache`].map((file) => join(directory, file)) as [
    string,
    string,
    string,
  ];
  await bundle(name, code, entry);
  // V8 refuses bytecode that was made with other flags. The seed is fixed, so that the same code gives the same bytes.
  await promisify(execFile)(process.execPath, ["--random-seed=1", HEAP, CODE_CACHE, code, cache]);
  const beside = (path: string) => JSON.stringify(join(dirname(interpreter), basename(path)));
  writeFileSync(
    script,
    `#!${interpreter}
"use strict";
// If V8 refuses the bytecode, it compiles the code.
const { readFileSync } = require("node:fs");
const { Script } = require("node:vm");
const code = readFileSync(${beside(code)}, "utf8");
const script = new Script(code, { filename: ${beside(code)}, cachedData: readFileSync(${beside(cache)}) });
script.runInThisContext()(require, module, exports);
`,
  );
  chmodSync(script, 0o755);
  return [script, code, cache];
}
