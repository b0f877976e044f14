import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { bundle, type ExecutableName, stage1Executable } from "./bundle.ts";
import { ROOT } from "./paths.ts";
import { compile } from "./runtime.ts";
import { bundlePrograms } from "./stage1-image.ts";

/** A directory with the named files. */
function files(t: TestContext, contents: Record<string, string>): string {
  const directory = mkdtempSync(join(tmpdir(), "rkt-bundle-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(contents)) writeFileSync(join(directory, name), text);
  return directory;
}

test("an executable is one file: lazy imports are lazy, its arguments its own, and no variable reaches it", async (t) => {
  const directory = files(t, {
    "main.ts": `
      const order: string[] = ["start"];
      (globalThis as any).order = order;
      const { late } = await_();
      function await_() { return { late: import("./late.ts") }; }
      late.then(async ({ name }) => {
        const { DatabaseSync } = await import("node:sqlite");
        order.push(name, typeof DatabaseSync, ...process.argv.slice(2), ...process.execArgv);
        console.log(order.join(" "), Object.keys(process.env).length);
      });
      order.push("end of main");`,
    "late.ts": `(globalThis as any).order.push("late evaluated"); export const name: string = "late";`,
  });
  await bundle("rkt", join(directory, "main.cjs"), join(directory, "main.ts"));
  const program = join(directory, "program");
  await compile(join(directory, "main.cjs"), program);
  const env = { ...process.env, BUN_OPTIONS: "--print 1", BUN_BE_BUN: "1" };
  const run = spawnSync(program, ["--version", "x"], { env, encoding: "utf8" });
  assert.equal(run.stderr, "");
  assert.equal(
    run.stdout,
    "start end of main late evaluated late function --version x 0\n",
  );
});

test("the executable of the stage1 images is init or the launcher by its name", async (t) => {
  const bundles = { init: "init.cjs", launcher: "launcher.cjs" };
  const texts = Object.entries(bundles).map(([name, file]) => [file, `console.log("${name}", process.argv.length);`]);
  const directory = files(t, Object.fromEntries(texts));
  const program = join(directory, "stage1");
  await stage1Executable({ init: join(directory, "init.cjs"), launcher: join(directory, "launcher.cjs") }, program);
  for (const [name, says] of [
    ["launcher", "launcher"],
    ["host-launcher", "launcher"],
    ["init", "init"],
    ["enter", "init"],
    ["stage1", "init"],
  ] as const) {
    if (name !== "stage1") symlinkSync("stage1", join(directory, name));
    assert.equal(spawnSync(`./${name}`, ["x"], { cwd: directory, encoding: "utf8" }).stdout, `${says} 3\n`, name);
  }
});

test("a bundle loads nothing but the runtime's own modules: init can't call the launcher, nor it init", async (t) => {
  const directory = files(t, {});
  for (const path of Object.values(await bundlePrograms(directory))) {
    const loaded = [...readFileSync(path, "utf8").matchAll(/(?<![\w.$])(?:require|import)\(([^)]*)\)/g)].map(([, name]) => name);
    assert.ok(loaded.length > 3, path);
    for (const name of loaded) assert.match(name ?? "", /^"(?:node:[a-z_/]+|bun:ffi)"$/, path);
  }
});

test("the same sources give the same executable", async (t) => {
  const directory = files(t, { "main.cjs": "console.log(1);" });
  const made = async (name: string) => {
    await compile(join(directory, "main.cjs"), join(directory, name, "program"));
    return readFileSync(join(directory, name, "program"));
  };
  assert.ok((await made("one")).equals(await made("two")));
});

test("an executable reads no file of the directory in which it is started", async (t) => {
  const directory = files(t, { "main.cjs": "console.log(Object.keys(process.env).length);" });
  await compile(join(directory, "main.cjs"), join(directory, "program"));
  const place = join(directory, "place");
  mkdirSync(place);
  const preload = 'preload = ["./evil.js"]';
  for (const [name, text] of [
    [".env", "EVIL=1"],
    [".env.local", "EVIL=1"],
    [".env.production", "EVIL=1"],
    ["bunfig.toml", preload],
    [".bunfig.toml", preload],
    ["package.json", '{"type":"module","imports":{"#x":"./evil.js"}}'],
    ["tsconfig.json", '{"compilerOptions":{"paths":{"*":["./evil.js"]}}}'],
    ["jsconfig.json", "{}"],
    ["evil.js", 'console.log("evil");'],
  ] as const)
    writeFileSync(join(place, name), text);
  const log = join(directory, "log");
  const argv = ["-f", "-o", log, "-e", "trace=file", "-e", "signal=none", "../program"];
  const run = spawnSync("strace", argv, { cwd: place, env: { HOME: place, XDG_CONFIG_HOME: place }, encoding: "utf8" });
  assert.deepEqual([run.stdout, run.stderr], ["0\n", ""]);
  assert.doesNotMatch(readFileSync(log, "utf8"), /\.env|bunfig|package\.json|[tj]sconfig|evil/);
});

test("a stage with another stage's code in it is not built", async (t) => {
  const cases: [ExecutableName, string][] = [
    ["rkt", "stage1/network/subnet.ts"],
    ["init", "stage0/container/lock.ts"],
    ["launcher", "stage1/network/subnet.ts"],
  ];
  for (const [name, stray] of cases) {
    const directory = files(t, { "main.ts": `import ${JSON.stringify(join(ROOT, stray))};` });
    await assert.rejects(bundle(name, join(directory, "out"), join(directory, "main.ts")), {
      code: "bundle-failed",
      message: new RegExp(`^${name} contains ${stray.split("/")[0]}/`),
    });
  }
});
