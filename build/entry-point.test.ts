import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, test } from "node:test";
import { withOwnEntryPoint } from "./entry-point.ts";
import { compile } from "./runtime.ts";

const directory = mkdtempSync(join(tmpdir(), "rkt-entry-"));
after(() => rmSync(directory, { recursive: true }));

/** A program of this machine with our entry point. */
function patched(program: string): string {
  const path = join(directory, basename(program));
  writeFileSync(path, withOwnEntryPoint(readFileSync(realpathSync(program))), { mode: 0o755 });
  return path;
}

const run = (program: string, args: readonly string[], env: Record<string, string> = {}) => {
  const { status, stdout, stderr } = spawnSync(program, args, { env, encoding: "utf8" });
  return { status, stdout, stderr };
};

/** execve(2) with just these arguments and variables, which need be none, nor look like any. */
function execve(path: string, argv: readonly string[], env: readonly string[]) {
  const script =
    "import ctypes, json, sys\n" +
    "path, argv, env = json.loads(sys.argv[1])\n" +
    "array = lambda words: (ctypes.c_char_p * (len(words) + 1))(*[w.encode('latin1') for w in words], None)\n" +
    "ctypes.CDLL(None).execve(path.encode(), array(argv), array(env))";
  return run("/usr/bin/python3", ["-c", script, JSON.stringify([path, argv, env])]);
}

test("the environment is empty, for the program and for what it starts", () => {
  const env = patched("/usr/bin/env");
  assert.deepEqual(run(env, [], { A: "1", B: "2" }), { status: 0, stdout: "", stderr: "" });
  assert.deepEqual(run(env, ["C=3", "/usr/bin/env"], { A: "1" }), { status: 0, stdout: "C=3\n", stderr: "" });
  const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`V${i}`, "x".repeat(20)]));
  assert.deepEqual(run(env, [], many), { status: 0, stdout: "", stderr: "" });
});

for (const { name, argv, env } of [
  { name: "no variable", argv: ["env"], env: [] },
  { name: "variables without = or without a name", argv: ["env"], env: ["WORD", "=x", "", "A=\xff\xfe"] },
  { name: "no argument at all", argv: [], env: ["A=1"] },
])
  test(`what the kernel can start a program with: ${name}`, () => {
    assert.deepEqual(execve(patched("/usr/bin/env"), argv, env), { status: 0, stdout: "", stderr: "" });
  });

test("the caller's descriptors from 3 on stay this program's alone", () => {
  const script = "import os; os.execv('/bin/ls', ['ls', '/proc/self/fd'])";
  const list = (program: string) =>
    spawnSync("sh", ["-c", 'exec 3</etc/passwd 9</etc/passwd; exec "$0" -c "$1"', program, script], { encoding: "utf8" });
  assert.match(list("/usr/bin/python3").stdout, /^9$/m);
  assert.equal(list(patched("/usr/bin/python3")).stdout, "0\n1\n2\n3\n");
});

test("the auxiliary vector, the arguments and the texts of the environment are as the kernel made them", () => {
  const script = `import ctypes, os, sys
getauxval = ctypes.CDLL(None).getauxval
getauxval.restype = ctypes.c_ulong
print(getauxval(6), getauxval(4), sys.argv[1:], dict(os.environ), open("/proc/self/environ").read())`;
  const done = run(patched("/usr/bin/python3"), ["-c", script, "x"], { A: "1" });
  assert.deepEqual(done, { status: 0, stdout: "4096 56 ['x'] {'LC_CTYPE': 'C.UTF-8'} A=1\0\n", stderr: "" });
});

/** A compiled script. */
async function compiled(name: string, script: string): Promise<string> {
  writeFileSync(join(directory, `${name}.cjs`), script);
  await compile(join(directory, `${name}.cjs`), join(directory, name));
  return join(directory, name);
}

test("Bun, with a fixed address: no variable, and what it sets itself", async () => {
  const script =
    "const seen = { ...process.env }; process.env.A = '2'; console.log(JSON.stringify([seen, process.env, process.argv.slice(2)]))";
  const done = run(await compiled("seen", script), ["x"], { A: "1", BUN_OPTIONS: "--nonsense", BUN_BE_BUN: "1" });
  assert.deepEqual(JSON.parse(done.stdout), [{}, { A: "2" }, ["x"]], done.stderr);
});

test("a signal opens no debugger's port, whatever the caller's variables say", async () => {
  const program = await compiled("signal", "process.kill(process.pid, 'SIGUSR1'); setTimeout(() => console.log('went on'), 300);");
  const env = { BUN_INSPECT: "127.0.0.1:0", BUN_OPTIONS: "--inspect" };
  const { signal, stdout, stderr } = spawnSync(program, { env, encoding: "utf8" });
  assert.deepEqual({ signal, stdout, stderr }, { signal: "SIGUSR1", stdout: "", stderr: "" }, "it has no handler");
});

test("readelf reads it as it was meant", async () => {
  for (const program of [patched("/usr/bin/env"), await compiled("nothing", "")]) {
    const shown = run("readelf", ["-lW", program], { PATH: "/usr/bin", LC_ALL: "C" });
    assert.doesNotMatch(shown.stdout + shown.stderr, /[Ww]arning|[Ee]rror/);
    const [, entry] = /^Entry point 0x([0-9a-f]+)$/m.exec(shown.stdout) ?? [];
    const segments = [...shown.stdout.matchAll(/^ {2}(LOAD|PHDR) +0x\S+ 0x0*(\S+) \S+ 0x(\S+) \S+ (.{3})/gm)];
    const own = segments.findLast(([, type]) => type === "LOAD");
    const [, , address = "", size = "", flags] = own ?? [];
    assert.equal(flags, "R E");
    const start = Number.parseInt(address, 16);
    const at = Number.parseInt(entry ?? "", 16);
    assert.ok(at > start && at < start + Number.parseInt(size, 16));
    assert.equal(segments.find(([, type]) => type === "PHDR")?.[2], address);
  }
});

const program = readFileSync("/usr/bin/env");
const changed = (change: (copy: Buffer) => void) => {
  const copy = Buffer.from(program);
  change(copy);
  return copy;
};
const cases: { name: string; bytes: Buffer; message: string }[] = [
  { name: "nothing", bytes: Buffer.alloc(0), message: "it is no ELF executable of x86-64" },
  { name: "a script", bytes: Buffer.from(`#!/bin/sh\n${" ".repeat(100)}`), message: "it is no ELF executable of x86-64" },
  {
    name: "another machine's",
    bytes: changed((copy) => copy.writeUInt16LE(183, 18)),
    message: "it is no ELF executable of x86-64",
  },
  {
    name: "an object file",
    bytes: changed((copy) => copy.writeUInt16LE(1, 16)),
    message: "it is no ELF executable that this build knows",
  },
  { name: "one cut off", bytes: program.subarray(0, 100), message: "its table of segments is cut off" },
  { name: "a static one", bytes: readFileSync("/bin/busybox"), message: "it is linked statically" },
  {
    name: "one that starts in its data",
    bytes: changed((copy) => copy.writeBigUInt64LE(1n, 24)),
    message: "its entry point is not in its code",
  },
];

for (const { name, bytes, message } of cases)
  test(`the build fails for what it does not know: ${name}`, () => {
    assert.throws(() => withOwnEntryPoint(bytes), {
      code: "bad-runtime",
      message: `cannot give the runtime an entry point of ours: ${message}`,
    });
  });
