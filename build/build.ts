/**
 * `npm run build`: makes everything in dist/. A target whose inputs have not changed is left alone; inputs are compared
 * by content.
 */

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { parseArgs } from "node:util";
import { build as esbuild } from "esbuild";
import { sourceDateEpoch } from "../shared/aci/writer.ts";
import { errorCode, RktError, usageError } from "../shared/errors.ts";
import { DEFAULT_STAGE1_IMAGE } from "../shared/contract/configuration.ts";
import { shortId } from "../shared/contract/image-ids.ts";
import { bundle } from "./bundle.ts";
import { candidateVersions, type Loader, packageLoader } from "./debian.ts";
import { licenceFile } from "./licences.ts";
import { CACHE, DIST, ROOT, RUNTIME_VERSION } from "./paths.ts";
import { megabytes, program } from "./program.ts";
import { type BuiltImage, buildRecipe, exampleNames, loadRecipe, recipeFiles } from "./recipe.ts";
import { compile } from "./runtime.ts";
import { buildStage1, bundlePrograms, type Flavor, FLAVORS, flavorDefaults, flavorSources } from "./stage1-image.ts";

interface Target {
  name: string;
  output: string;
  /** Hash of all inputs except the Debian packages. */
  key(): Promise<string>;
  make(load: Loader): Promise<BuiltImage | undefined>;
}

/** The record of a target that was made. */
interface Made {
  key: string;
  packages: Record<string, string>;
  id?: string | undefined;
  /** Of the output: if it was touched since, it is made again. */
  size: number;
  mtime: number;
}

const STATE = join(DIST, ".build.json");

// --- targets --------------------------------------------------------------------

/** All targets, in the order in which they are made and shown. `--only` takes their names. */
function targets(): Target[] {
  return [rktTarget(), ...FLAVORS.map(stage1Target), ...exampleNames().map(exampleTarget)];
}

function rktTarget(): Target {
  const main = join(CACHE, "rkt.cjs");
  const output = join(DIST, "rkt");
  let licences = "";
  return {
    name: "rkt",
    output,
    key: async () => {
      licences = licenceFile(await bundle("rkt", main));
      return hash([await builderKey(), RUNTIME_VERSION, readFileSync(main), Buffer.from(licences)]);
    },
    make: async () => {
      await compile(main, output);
      writeFileSync(join(DIST, "LICENSES"), licences);
      return undefined;
    },
  };
}

function stage1Target(flavor: Flavor): Target {
  const defaults = flavorDefaults(flavor);
  return {
    // The default image is "stage1"; `--only=stage1` also includes "stage1/…".
    name: basename(defaults.output) === DEFAULT_STAGE1_IMAGE ? "stage1" : `stage1/${flavor}`,
    output: defaults.output,
    key: async () =>
      hash([await builderKey(), RUNTIME_VERSION, ...(await flavorSources(flavor, await bundlePrograms(CACHE)))]),
    make: (load) => buildStage1(defaults, load),
  };
}

function exampleTarget(name: string): Target {
  const output = join(DIST, "examples", `${name}.aci`);
  return {
    name: `examples/${name}`,
    output,
    key: async () => hash([await builderKey(), ...recipeFiles(name).map((path) => readFileSync(path))]),
    make: async (load) => buildRecipe(await loadRecipe(name), output, load),
  };
}

// --- keys -----------------------------------------------------------------------

/** Hash of a list of parts. Each is hashed by itself, so that no two lists give the same text. */
function hash(parts: readonly (string | Uint8Array)[]): string {
  const all = createHash("sha256");
  for (const part of parts) all.update(createHash("sha256").update(part).digest());
  return all.digest("hex");
}

let builder: Promise<string> | undefined;

/** Hash of the builder's own code, and of the time stamp that it writes. */
function builderKey(): Promise<string> {
  builder ??= (async () => {
    const { metafile } = await esbuild({
      absWorkingDir: ROOT,
      entryPoints: ["build/build.ts"],
      bundle: true,
      packages: "external",
      platform: "node",
      format: "esm",
      write: false,
      metafile: true,
      logLevel: "silent",
    });
    const sources = Object.keys(metafile.inputs).sort();
    return hash([String(sourceDateEpoch()), ...sources.map((path) => readFileSync(join(ROOT, path)))]);
  })();
  return builder;
}

// --- records of made targets ----------------------------------------------------

function readState(): Record<string, Made> {
  try {
    return JSON.parse(readFileSync(STATE, "utf8")) as Record<string, Made>;
  } catch (error) {
    if (errorCode(error) === "ENOENT" || error instanceof SyntaxError) return {};
    throw error;
  }
}

/** Adds to the records, which another build may have changed meanwhile. */
function recordMade(made: Record<string, Made>): void {
  const temporary = `${STATE}.${process.pid}.tmp`;
  writeFileSync(temporary, `${JSON.stringify({ ...readState(), ...made }, null, 2)}\n`);
  renameSync(temporary, STATE);
}

function isCurrent(target: Target, made: Made | undefined, key: string, versions: Record<string, string>): boolean {
  const stat = statSync(target.output, { throwIfNoEntry: false });
  if (made === undefined || stat === undefined) return false;
  const untouched = stat.size === made.size && stat.mtimeMs === made.mtime;
  return untouched && made.key === key && Object.entries(made.packages).every(([name, v]) => versions[name] === v);
}

// --- the program ------------------------------------------------------------------

export async function buildAll(only: readonly string[], force: boolean, report: (line: string) => void): Promise<void> {
  const chosen = choose(targets(), only);
  mkdirSync(DIST, { recursive: true });
  const state = readState();
  const names = new Set(chosen.flatMap((t) => Object.keys(state[t.name]?.packages ?? {})));
  const [versions, keys] = await Promise.all([
    candidateVersions([...names]),
    Promise.all(chosen.map((target) => target.key())),
  ]);
  const load = packageLoader("debian", CACHE);
  await Promise.all(
    chosen.map(async (target, i) => {
      const key = keys[i] ?? "";
      const before = state[target.name];
      if (!force && isCurrent(target, before, key, versions)) {
        report(line(target, before?.id, "unchanged"));
        return;
      }
      const start = performance.now();
      // Removed first, so that the output of a failed build does not look current.
      rmSync(target.output, { force: true });
      const image = await target.make(load);
      const stat = statSync(target.output);
      const packages = Object.fromEntries((image?.packages ?? []).map((p) => [p.name, p.version]));
      recordMade({ [target.name]: { key, packages, id: image?.id, size: stat.size, mtime: stat.mtimeMs } });
      report(line(target, image?.id, `${((performance.now() - start) / 1000).toFixed(1)} s`));
    }),
  );
}

function line(target: Target, id: string | undefined, took: string): string {
  const path = relative(ROOT, target.output).padEnd(30);
  const size = megabytes(statSync(target.output).size).padStart(9);
  return `${path} ${size}  ${took.padStart(9)}  ${id === undefined ? "" : shortId(id)}`.trimEnd();
}

/** A name stands for the target and for those below it: "examples" for "examples/…". */
function choose(all: readonly Target[], only: readonly string[]): Target[] {
  const matches = (target: Target, name: string) => target.name === name || target.name.startsWith(`${name}/`);
  const unknown = only.find((name) => !all.some((target) => matches(target, name)));
  if (unknown !== undefined)
    throw usageError(`nothing to build is called ${unknown}`, `there is: ${all.map((t) => t.name).join(", ")}`);
  return all.filter((target) => only.length === 0 || only.some((name) => matches(target, name)));
}

const HELP = `Usage: npm run build -- [--only=NAME,...] [--force]

Makes dist/rkt, dist/stage1-nspawn.aci, dist/stage1-fly.aci and the example
images in dist/examples. A target whose inputs have not changed is left alone.

  --only=NAME,...   only these; "examples" is all of them:
                    ${targets()
                      .map((target) => target.name)
                      .join("\n                    ")}
  --force           make everything again
  --help

Downloads (Debian packages) and intermediate files are kept in .cache.
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: "string", multiple: true, default: [] },
      force: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new RktError("bad-platform", `rkt is built on amd64 Linux, not ${process.arch} ${process.platform}`);
  const only = values.only.flatMap((names) => names.split(",")).filter((name) => name !== "");
  const start = performance.now();
  await buildAll(only, values.force, (text) => process.stdout.write(`${text}\n`));
  process.stdout.write(`built in ${((performance.now() - start) / 1000).toFixed(1)} s\n`);
}

if (import.meta.main) await program("build", main);
