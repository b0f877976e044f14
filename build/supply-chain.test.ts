/** What comes from elsewhere: pinned by its contents, installed without running it, distributed with its licence. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { test } from "node:test";
import { packageLicences } from "./licences.ts";
import { DIST, ROOT, RUNTIME_PACKAGE, RUNTIME_VERSION } from "./paths.ts";

interface Locked {
  version?: string;
  integrity?: string;
  link?: boolean;
  dev?: boolean;
  hasInstallScript?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
}

const json = (path: string) => JSON.parse(readFileSync(join(ROOT, path), "utf8"));
const { lockfileVersion, packages } = json("package-lock.json") as {
  lockfileVersion: number;
  packages: Record<string, Locked>;
};
const foreign = Object.entries(packages).filter(([path, { link }]) => path.includes("node_modules/") && link !== true);

test("every package of the lock file that this platform gets is pinned by its SHA-512", () => {
  assert.equal(lockfileVersion, 3);
  assert.ok(foreign.length > 20, `${foreign.length}`);
  for (const [path, { integrity, version, optional, os, cpu, libc }] of foreign) {
    const fits = os?.includes("linux") !== false && cpu?.includes("x64") !== false && libc?.includes("glibc") !== false;
    // npm writes down what it has seen of packages for other platforms.
    if (optional === true && !fits) continue;
    assert.match(integrity ?? "", /^sha512-[A-Za-z0-9+/]{86}==$/, path);
    assert.match(version ?? "", /^\d+\.\d+\.\d+/, path);
  }
});

test("what the project asks for is a version each, not a range", () => {
  const { dependencies, devDependencies } = json("package.json");
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies }))
    assert.match(String(version), /^\d+\.\d+\.\d+$/, name);
});

test("no install script is run, and none is needed by what is distributed", () => {
  const npmrc = readFileSync(join(ROOT, ".npmrc"), "utf8");
  assert.match(npmrc, /^ignore-scripts=true$/m);
  for (const [path, { dev, hasInstallScript }] of foreign) if (dev !== true) assert.ok(hasInstallScript !== true, path);
  // What npm makes of it, and of the user's configuration.
  const config = spawnSync("npm", ["config", "get", "ignore-scripts"], { cwd: ROOT, encoding: "utf8" });
  assert.equal(config.stdout.trim(), "true", config.stderr);
});

test("the licence of everything in rkt is beside it", (t) => {
  const file = join(DIST, "LICENSES");
  if (!existsSync(file)) return t.skip("not built");
  const text = readFileSync(file, "utf8");
  assert.match(text, /^ {2}rkt \(Apache-2\.0\)$/m);
  for (const name of ["undici", "openpgp", "yargs", "htmlparser2", "tar"]) {
    const { version, license } = json(`node_modules/${name}/package.json`);
    assert.ok(text.includes(`  ${name} ${version} (${license})\n`), name);
  }
  for (const phrase of [
    "Apache License",
    "GNU LESSER GENERAL PUBLIC LICENSE",
    "Bun (https://bun.com) is distributed under the MIT license",
  ])
    assert.ok(text.includes(phrase), phrase);
  assert.ok(json(`node_modules/${RUNTIME_PACKAGE}/package.json`).version === RUNTIME_VERSION);
});

test("a package is found by the files that came from it", () => {
  const found = packageLicences([
    "stage0/main.ts",
    "node_modules/undici/index.js",
    "node_modules/undici/lib/x.js",
    "node_modules/@biomejs/biome/index.js",
  ]);
  assert.deepEqual(
    found.map(({ name, expression }) => [name, expression]),
    [
      ["@biomejs/biome", "MIT OR Apache-2.0"],
      ["undici", "MIT"],
    ],
  );
});

test("a package without a licence is not distributed", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "rkt-licence-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const bare = join(directory, "node_modules/bare");
  mkdirSync(bare, { recursive: true });
  writeFileSync(join(bare, "package.json"), '{"name": "bare", "version": "1.0.0", "license": "MIT"}');
  assert.throws(() => packageLicences([relative(ROOT, join(bare, "index.js"))]), {
    code: "no-licence",
    message: "package bare 1.0.0 comes without a licence",
  });
});
