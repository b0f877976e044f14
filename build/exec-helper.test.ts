import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { execHelper } from "./exec-helper.ts";

const directory = mkdtempSync(join(tmpdir(), "rkt-exec-"));
after(() => rmSync(directory, { recursive: true }));
const helper = join(directory, "exec");
writeFileSync(helper, execHelper(), { mode: 0o755 });

const run = (messages: string | Buffer, ...words: string[]) => {
  // Node.js takes arguments as text; what is none goes through a file.
  const text = join(directory, "messages");
  writeFileSync(text, messages);
  const script = 'import os,sys; m=open(sys.argv[2],"rb").read(); a=[os.fsencode(w) for w in sys.argv[3:]]; os.execve(sys.argv[1],[m]+a,{b"A":b"b c"})';
  const { status, signal, stdout, stderr } = spawnSync("python3", ["-c", script, helper, text, ...words], { encoding: "utf8" });
  return { status, signal, stdout, stderr };
};

const RECORDS = Buffer.concat([
  Buffer.from("\x02no such file\nhint: look\n\x01\x0dclosed\n\x01", "latin1"),
  Buffer.from([0xff]),
  Buffer.from("cannot execute: errno \x01"),
]);

test("it becomes the program, with the arguments and the environment that it was given", () => {
  const done = run(RECORDS, "/bin/sh", "name", "-c", 'echo "$0|$#|$1|$A"; exit 7', "x", "one two");
  assert.deepEqual(done, { status: 7, signal: null, stdout: "x|1|one two|b c\n", stderr: "" });
});

test("the message of the errno, and the status", () => {
  const quiet = { status: 203, signal: null, stdout: "" };
  assert.deepEqual(run(RECORDS, "/nothing", "x"), { ...quiet, stderr: "no such file\nhint: look\n" });
  assert.deepEqual(run(RECORDS, "/etc/passwd", "x"), { ...quiet, stderr: "closed\n" });
  // ENOTDIR.
  assert.deepEqual(run(RECORDS, "/etc/passwd/x", "x"), { ...quiet, stderr: "cannot execute: errno 20\n" });
  // ELOOP, whose number has the same last digit as another.
  const loop = join(directory, "loop");
  spawnSync("ln", ["-s", "loop", loop]);
  assert.deepEqual(run(RECORDS, loop, "x"), { ...quiet, stderr: "cannot execute: errno 40\n" });
});

test("a script that names it as its interpreter does not start itself for ever", () => {
  const script = join(directory, "script");
  writeFileSync(script, "#!/proc/self/exe\n", { mode: 0o755 });
  assert.deepEqual(run(RECORDS, script, "x"), { status: 203, signal: null, stdout: "", stderr: "" });
});

test("objdump and readelf read it as it was meant", (t) => {
  const shown = spawnSync("readelf", ["-lW", helper], { encoding: "utf8" });
  if (shown.error !== undefined) return t.skip("readelf is not installed");
  assert.doesNotMatch(shown.stdout + shown.stderr, /INTERP|[Ww]arning|[Ee]rror/);
  assert.match(shown.stdout, /LOAD .* R E 0x1000\n.*GNU_STACK .* RW /);
});
