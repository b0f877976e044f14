import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { before, test } from "node:test";
import { build, type Metafile, type Plugin } from "esbuild";
import { ROOT } from "./paths.ts";
import { SLIM } from "./slim.ts";

/** Every module says on stderr when it is evaluated. */
const witness: Plugin = {
  name: "witness",
  setup(b) {
    b.onLoad({ filter: /\.(?:ts|js|mjs)$/, namespace: "file" }, ({ path }) => ({
      contents: `${readFileSync(path, "utf8")}\n;process.stderr.write(${JSON.stringify(`${relative(ROOT, path)}\n`)});`,
      loader: path.endsWith(".ts") ? "ts" : "js",
    }));
  },
};

const dir = mkdtempSync(join(tmpdir(), "rkt-slim-"));
test.after(() => rmSync(dir, { recursive: true }));
const program = join(dir, "rkt.cjs");
let inputs: Metafile["inputs"];

before(async () => {
  const result = await build({
    external: ["bun:ffi"],
    absWorkingDir: ROOT,
    entryPoints: ["stage0/main.ts"],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node26",
    supported: { "dynamic-import": false },
    metafile: true,
    logLevel: "silent",
    plugins: [witness, ...SLIM],
  });
  inputs = result.metafile.inputs;
});

function rkt(...words: string[]): { stdout: string; modules: string[]; status: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--no-warnings", program, ...words], {
    encoding: "utf8",
  });
  return { stdout, status, modules: stderr.split("\n").filter((line) => /\.(?:ts|js|mjs)$/.test(line)) };
}

test("slim: rkt version loads nothing it does not need", () => {
  const { stdout, modules, status } = rkt("version");
  assert.equal(status, 0);
  assert.match(stdout, /^rkt version /);
  assert.deepEqual(
    modules.filter((path) => path.startsWith("node_modules/")),
    [],
  );
  assert.deepEqual(modules.filter((path) => !path.startsWith("shared/")).sort(), [
    "stage0/cli/dispatch.ts",
    "stage0/cli/find-command.ts",
    "stage0/cli/globals.ts",
    "stage0/cli/options.ts",
    "stage0/cli/words.ts",
    "stage0/command-table.ts",
    "stage0/commands/version.ts",
    "stage0/config/insecure-options.ts",
    "stage0/host/caller-mask.ts",
    "stage0/main.ts",
    "stage0/terminal/output.ts",
  ]);
});

test("slim: what yargs needs of a platform is left out, and it works without", () => {
  const packages = new Set(
    Object.keys(inputs).flatMap((path) => /(?:^|.*\/)node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []),
  );
  for (const name of ["string-width", "wrap-ansi", "strip-ansi", "y18n", "escalade", "get-caller-file"])
    assert.ok(!packages.has(name), `${name} is in the bundle`);
  assert.ok(packages.has("yargs"));

  const { status, modules } = rkt("help");
  assert.equal(status, 0);
  assert.ok(modules.includes("node_modules/yargs/browser.mjs"));
});

test("slim: yargs is for help alone: reading options loads no package", () => {
  const { status, modules } = rkt("--dir=/nonexistent", "list", "--full");
  assert.equal(status, 0);
  assert.ok(modules.includes("stage0/commands/list.ts"));
  assert.deepEqual(
    modules.filter((path) => path.startsWith("node_modules/")),
    [],
  );
});

/** Whether loading a module loads one of a package, by imports that are not late. */
function loads(module: string, name: string, seen = new Set<string>()): boolean {
  if (module.startsWith(`node_modules/${name}/`)) return true;
  if (seen.has(module)) return false;
  seen.add(module);
  const imports = inputs[module]?.imports.filter(({ kind }) => kind !== "dynamic-import") ?? [];
  return imports.some(({ path }) => loads(path, name, seen));
}

test("slim: node-tar is loaded where an archive is written, and by no command before that", () => {
  const late = Object.entries(inputs).flatMap(([from, { imports }]) =>
    imports
      .filter(({ kind, path }) => kind === "dynamic-import" && loads(path, "tar"))
      .map(({ path }) => `${from} → ${path}`),
  );
  assert.deepEqual(late.sort(), [
    "stage0/commands/export.ts → stage0/container/export.ts",
    "stage0/commands/image-build.ts → shared/aci/directory-image.ts",
    "stage0/store/export-image.ts → stage0/store/export-oci.ts",
    "stage0/store/image-imports.ts → stage0/store/oci-import.ts",
  ]);
  assert.ok(!loads("stage0/main.ts", "tar"));
  const parts = Object.keys(inputs).filter((path) => path.startsWith("node_modules/tar/"));
  assert.deepEqual(
    parts.map((path) => path.replace(/.*\//, "")).sort(),
    ["header.js", "large-numbers.js", "pax.js", "types.js"],
  );
});

for (const words of [["help"], ["help", "run"], ["help", "fetch"]])
  test(`slim: the page of rkt ${words.join(" ")} is yargs' own`, () => {
    const source = spawnSync(process.execPath, ["--no-warnings", join(ROOT, "stage0/main.ts"), ...words], {
      encoding: "utf8",
    });
    assert.equal(source.status, 0, source.stderr);
    assert.equal(rkt(...words).stdout, source.stdout);
  });
