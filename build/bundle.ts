/**
 * The three executables: `rkt`, one ELF file with Node.js inside, and `init`
 * and `launcher`, scripts for the Node.js of the stage1 image. Three separate
 * bundles: none contains another stage's code.
 */

import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { build, type Plugin } from "esbuild";
import { RktError } from "../shared/errors.ts";
import { containerLayout, STAGE1 } from "../shared/layout.ts";
import { ROOT } from "./paths.ts";
import { strippedRuntime } from "./runtime.ts";
import { SLIM } from "./slim.ts";

interface Executable {
  entry: string;
  /** Top-level directories its code may come from. */
  sources: readonly string[];
  interpreter?: string;
  plugins: readonly Plugin[];
}

export const EXECUTABLES = {
  rkt: { entry: "stage0/main.ts", sources: ["stage0", "shared", "node_modules"], plugins: SLIM },
  init: {
    entry: "stage1/main.ts",
    sources: ["stage1", "shared", "node_modules"],
    // Relative: it runs on the host, whose working directory is the container's.
    interpreter: containerLayout(".").inStage1(STAGE1.runtime).replace(/^\.\//, ""),
    plugins: [],
  },
  launcher: {
    entry: "stage2/main.ts",
    sources: ["stage2", "shared", "node_modules"],
    interpreter: STAGE1.runtime,
    plugins: [],
  },
} as const satisfies Record<string, Executable>;
export type ExecutableName = keyof typeof EXECUTABLES;

/** Bundles an executable's code to one CommonJS file; the files it was made of, relative to the project. */
export async function bundle(name: ExecutableName, output: string, entry?: string): Promise<string[]> {
  const executable: Executable = EXECUTABLES[name];
  const result = await build({
    absWorkingDir: ROOT,
    entryPoints: [entry ?? executable.entry],
    outfile: output,
    write: false,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node26",
    // `import()` becomes a `require` made at that moment: V8's code cache and `import()` exclude each other.
    supported: { "dynamic-import": false },
    // Names stay, for stacks.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    charset: "utf8",
    metafile: true,
    logLevel: "silent",
    plugins: [...executable.plugins],
    ...(executable.interpreter === undefined ? {} : { banner: { js: `#!${executable.interpreter} --no-warnings` } }),
  });
  const [warning] = result.warnings;
  if (warning !== undefined)
    throw new RktError("bundle-failed", `${warning.location?.file}:${warning.location?.line}: ${warning.text}`);
  const inputs = Object.keys(result.metafile.inputs);
  if (entry === undefined) checkSources(name, inputs);
  mkdirSync(dirname(output), { recursive: true });
  writeFileSync(output, result.outputFiles[0]?.contents ?? "");
  chmodSync(output, 0o755);
  return inputs;
}

function checkSources(name: ExecutableName, inputs: readonly string[]): void {
  const allowed: readonly string[] = EXECUTABLES[name].sources;
  const stray = inputs.find((input) => !allowed.includes(input.split("/", 1)[0] ?? ""));
  if (stray !== undefined)
    throw new RktError("bundle-failed", `${name} contains ${stray}`, {
      hint: "stages import shared/ and themselves, never each other",
    });
}

/** Turns a bundle into a single executable with Node.js inside (nodejs.org, "Single executable applications"). */
export async function singleExecutable(main: string, output: string, cache: string): Promise<void> {
  const config = `${main}.sea.json`;
  const temporary = `${output}.${process.pid}.tmp`;
  const settings = {
    main,
    output: temporary,
    executable: await strippedRuntime(cache),
    disableExperimentalSEAWarning: true,
    useSnapshot: false,
    useCodeCache: true,
    execArgv: ["--no-warnings"],
    // NODE_OPTIONS is for the user's own programs.
    execArgvExtension: "none",
  };
  mkdirSync(dirname(output), { recursive: true });
  writeFileSync(config, JSON.stringify(settings));
  try {
    await promisify(execFile)(process.execPath, [`--build-sea=${config}`]);
    chmodSync(temporary, 0o755);
    renameSync(temporary, output);
  } finally {
    rmSync(config, { force: true });
    rmSync(temporary, { force: true });
  }
}

/** Bundles `init` or `launcher` into `directory`; returns the path. */
export async function bundleScript(name: "init" | "launcher", directory: string): Promise<string> {
  const output = join(directory, name);
  await bundle(name, output);
  return output;
}
