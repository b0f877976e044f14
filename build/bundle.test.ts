import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { bundle, bundleScript, type ExecutableName, singleExecutable } from "./bundle.ts";
import { CACHE, ROOT } from "./paths.ts";
import { stage1Runtime } from "./runtime.ts";

/** A directory with the named files. */
function files(t: TestContext, contents: Record<string, string>): string {
  const directory = mkdtempSync(join(tmpdir(), "rkt-bundle-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(contents)) writeFileSync(join(directory, name), text);
  return directory;
}

test("rkt is one file: lazy imports are lazy, warnings silent, no variable its own", async (t) => {
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
  await singleExecutable(join(directory, "main.cjs"), program, CACHE);
  const env = { ...process.env, NODE_OPTIONS: "--trace-exit" };
  const run = spawnSync(program, ["--version", "x"], { env, encoding: "utf8" });
  assert.equal(run.stderr, "");
  assert.equal(
    run.stdout,
    "start end of main late evaluated late function --version x --no-warnings --disable-sigusr1 --min-semi-space-size=16 0\n",
  );
});

test("a script runs by its interpreter, relative to the working directory for init", async (t) => {
  const directory = files(t, {
    "main.ts": `process.emitWarning("of an experiment");
      console.log(process.argv[1]?.split("/").at(-1), process.execArgv.join(), Object.keys(process.env).length);`,
  });
  const runtime = join(directory, "stage1/rootfs/usr/lib/rkt");
  mkdirSync(runtime, { recursive: true });
  symlinkSync(await stage1Runtime(CACHE), join(runtime, "node"));
  await bundleScript("init", runtime, join(directory, "main.ts"));
  symlinkSync("stage1/rootfs/usr/lib/rkt/init", join(directory, "gc"));
  const run = spawnSync("./gc", { cwd: directory, encoding: "utf8" });
  assert.equal(run.stdout, "gc --no-warnings,--disable-sigusr1,--min-semi-space-size=16,--preserve-symlinks-main 0\n");
  assert.equal(run.stderr, "");
  const [launcher = ""] = await bundleScript("launcher", directory, join(directory, "main.ts"));
  assert.match(readFileSync(launcher, "utf8"), /^#!\/usr\/lib\/rkt\/node\n/);
});

test("a script's bytecode is the same each time, and used", async (t) => {
  const directory = files(t, { "main.ts": "export const answer = () => 42;" });
  const cacheOf = async (name: string) => {
    mkdirSync(join(directory, name));
    const [, code = "", cache = ""] = await bundleScript("launcher", join(directory, name), join(directory, "main.ts"));
    return { code: readFileSync(code, "utf8"), cachedData: readFileSync(cache) };
  };
  const { code, cachedData } = await cacheOf("one");
  assert.deepEqual((await cacheOf("two")).cachedData, cachedData);
  const tried = spawnSync(
    process.execPath,
    [
      "--no-warnings",
      "-e",
      "const [code, data] = require('node:fs').readFileSync(0, 'utf8').split('\\0'); const cachedData = Buffer.from(data, 'base64');" +
        "console.log(new (require('node:vm').Script)(code, { cachedData }).cachedDataRejected)",
    ],
    { input: `${code}\0${cachedData.toString("base64")}`, encoding: "utf8" },
  );
  assert.equal(tried.stdout, "false\n", tried.stderr);
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
