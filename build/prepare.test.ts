import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ROOT } from "./paths.ts";

/** Programs of this machine that the script may use as they are. */
const REAL = ["awk", "dirname", "find", "sh", "sort", "touch"];

/** A machine as far as the script can see: each program is a stand-in that records its arguments. */
function machine(t: TestContext, programs: Record<string, string>) {
  const directory = mkdtempSync(join(tmpdir(), "rkt-prepare-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const bin = join(directory, "bin");
  mkdirSync(join(directory, "build"), { recursive: true });
  mkdirSync(bin);
  for (const name of REAL) {
    const path = spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).stdout.trim();
    symlinkSync(path, join(bin, name));
  }
  for (const [name, script] of Object.entries(programs)) {
    writeFileSync(join(bin, name), `#!/bin/sh\necho "${name} $*" >>${directory}/calls\n${script}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  for (const name of ["prepare.sh", "packages.txt"]) cpSync(join(ROOT, "build", name), join(directory, "build", name));
  writeFileSync(join(directory, "package-lock.json"), "{}");
  mkdirSync(join(directory, "node_modules"));
  writeFileSync(join(directory, "node_modules/.package-lock.json"), "{}");
  const run = (...groups: string[]) =>
    spawnSync("sh", ["build/prepare.sh", ...groups], {
      cwd: directory,
      env: { PATH: bin, npm_lifecycle_event: "test" },
      encoding: "utf8",
    });
  const calls = () => readFileSync(join(directory, "calls"), "utf8");
  return { directory, run, calls };
}

const debian = {
  uname: "case $1 in -s) echo Linux ;; -m) echo x86_64 ;; esac",
  id: "echo 0",
  "apt-get": "",
  // Everything is installed but binutils.
  "dpkg-query": 'for last; do :; done; [ "$last" = binutils ] || printf installed',
  npm: "",
};
const without = (name: keyof typeof debian) => Object.fromEntries(Object.entries(debian).filter(([n]) => n !== name));

const refused = [
  {
    name: "another system",
    programs: { ...debian, uname: "case $1 in -s) echo Darwin ;; -m) echo arm64 ;; esac" },
    stderr: "rkt: this is Darwin on arm64, and rkt is for Linux on amd64\nhint: use a virtual machine with Debian 12\n",
  },
  {
    name: "not root",
    programs: { ...debian, id: "echo 1000" },
    stderr: "rkt: not root, and containers need namespaces and mounts\nhint: sudo npm run test\n",
  },
  {
    name: "no apt",
    programs: without("apt-get"),
    stderr:
      "rkt: no apt here, and the images are made of Debian's packages\nhint: use a machine or container with Debian 12\n",
  },
  {
    name: "no npm",
    programs: without("npm"),
    stderr: "rkt: npm is missing\nhint: install Node.js 20 or newer with npm: https://nodejs.org/en/download\n",
  },
  {
    name: "packages that cannot be installed",
    programs: { ...debian, "apt-get": "[ $1 = update ]" },
    stderr: "rkt: cannot install binutils\nhint: see what apt-get said above\n",
  },
];

for (const c of refused)
  test(`refused: ${c.name}`, (t) => {
    const result = machine(t, c.programs).run("build");
    assert.equal(result.stderr, c.stderr);
    assert.equal(result.status, 1);
  });

test("installs what is missing of the named groups, and nothing else", (t) => {
  const { run, calls } = machine(t, debian);
  assert.equal(run("build", "quickstart").status, 0);
  const installs = calls().match(/^apt-get install .*$/gm);
  assert.deepEqual(installs, ["apt-get install -y -qq --no-install-recommends binutils"]);
  assert.match(calls(), /dpkg-query .* curl$/m);
  assert.doesNotMatch(calls(), /tmux/);
});

test("npm ci runs when the lock file is newer than what is installed, and not again", (t) => {
  const { directory, run, calls } = machine(t, debian);
  run("build");
  assert.doesNotMatch(calls(), /^npm/m);
  const record = join(directory, "node_modules/.package-lock.json");
  spawnSync("touch", ["-d", "1 hour ago", record]);
  run("build");
  run("build");
  assert.deepEqual(calls().match(/^npm .*$/gm), ["npm ci --loglevel=error"]);
});

test("the programs that run the project prepare the machine first", () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  assert.match(scripts.test, /^sh build\/prepare\.sh build test && /);
  assert.match(readFileSync(join(ROOT, "build/quickstart.sh"), "utf8"), /^sh build\/prepare\.sh build quickstart$/m);
});

test("the list names a purpose and a package per line, each pair once", () => {
  const lines = readFileSync(join(ROOT, "build/packages.txt"), "utf8").split("\n");
  const entries = lines.filter((line) => line !== "" && !line.startsWith("#"));
  for (const line of entries) assert.match(line, /^(build|quickstart|test) +[a-z0-9.+-]+( |$)/);
  const pairs = entries.map((line) => line.split(/ +/, 2).join(" "));
  assert.equal(new Set(pairs).size, pairs.length);
});

test("what the tests ask the machine for, the listed packages bring", () => {
  const sources = globSync("{stage0,stage1,stage2,shared,build,test,examples}/**/*.test.ts", { cwd: ROOT });
  const asked = sources.flatMap((source) =>
    [...readFileSync(join(ROOT, source), "utf8").matchAll(/requires\(t, ([^)]*)\)/g)].flatMap(([, words = ""]) =>
      [...words.matchAll(/"([^"]+)"/g)].map(([, word = ""]) => word),
    ),
  );
  // Not programs: test/helpers/rkt.ts.
  const programs = [...new Set(asked)].filter((word) => !["root", "build", "overlay"].includes(word));
  assert.ok(programs.includes("iptables-save") && programs.includes("strace"));
  const listed = readFileSync(join(ROOT, "build/packages.txt"), "utf8")
    .split("\n")
    .flatMap((line) => /^(?:build|test) +(\S+)/.exec(line)?.[1] ?? []);
  const lines = (command: string, ...args: string[]) =>
    spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 26 })
      .stdout.trim()
      .split("\n");
  const onlyNeeded = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"].map(
    (no) => `--no-${no}`,
  );
  const brought = new Set([
    ...lines("apt-cache", "depends", "--recurse", ...onlyNeeded, ...listed).filter((line) => /^\S/.test(line)),
    // What no Debian is without.
    ...lines("dpkg-query", "--show", "--showformat=$" + "{Package} $" + "{Essential}\\n").flatMap(
      (line) => /^(\S+) yes$/.exec(line)?.[1] ?? [],
    ),
  ]);
  const where = lines("sh", "-c", `for p in ${programs.join(" ")}; do readlink -f "$(command -v $p)"; done`);
  // Debian 12 knows some by their old place.
  const short = (path: string) => path.replace(/^\/usr\//, "/");
  const owners = lines("dpkg", "-S", ...where, ...where.map(short)).flatMap((line) => {
    const [, owner = "", path = ""] = /^([^:,]+)(?::\w+)?: (.*)$/.exec(line) ?? [];
    return brought.has(owner) ? short(path) : [];
  });
  assert.equal(where.length, programs.length);
  for (const [i, path] of where.entries())
    assert.ok(owners.includes(short(path)), `${programs[i]} (${path}) is in no package of packages.txt`);
});
