import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { eventually, requires } from "../../test/helpers/rkt.ts";
import { OutputDirectory } from "./output-directory.ts";

function scratch(t: TestContext): string {
  const directory = fs.mkdtempSync(join(tmpdir(), "rkt-output-"));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}

/** Makes `above/out` with a file; `meanwhile` gets the path of the temporary directory. */
function make(above: string, overwrite: boolean, meanwhile: (temporary: string) => void = () => {}): void {
  const output = new OutputDirectory(join(above, "out"));
  try {
    const [temporary = ""] = fs.readdirSync(above).filter((name) => name.startsWith("out."));
    meanwhile(join(above, temporary));
    fs.mkdirSync(output.path);
    fs.writeFileSync(`${output.path}/file`, "ours");
    fs.chmodSync(output.path, 0o700);
    output.place(overwrite);
  } finally {
    output.close();
  }
}

test("the directory appears whole, and nothing else is left", (t) => {
  const above = scratch(t);
  make(above, false);
  assert.deepEqual(fs.readdirSync(above), ["out"]);
  assert.throws(() => make(above, false), { code: "ENOTEMPTY" });
  fs.writeFileSync(join(above, "out/old"), "");
  make(above, true);
  assert.deepEqual(fs.readdirSync(above), ["out"]);
  assert.deepEqual(fs.readdirSync(join(above, "out")), ["file"]);
});

test("a link in the directory's place is replaced, and what it leads to stays", (t) => {
  const above = scratch(t);
  fs.mkdirSync(join(above, "other/kept"), { recursive: true });
  fs.symlinkSync("other", join(above, "out"));
  make(above, true);
  assert.deepEqual(fs.readdirSync(above).sort(), ["other", "out"]);
  assert.deepEqual(fs.readdirSync(join(above, "other")), ["kept"]);
});

test("a failure leaves nothing, and what was there", (t) => {
  const above = scratch(t);
  fs.mkdirSync(join(above, "out/old"), { recursive: true });
  const failing = () => {
    throw new Error("no room");
  };
  assert.throws(() => make(above, true, failing), { message: "no room" });
  assert.deepEqual(fs.readdirSync(above), ["out"]);
  assert.deepEqual(fs.readdirSync(join(above, "out")), ["old"]);
});

test("whatever takes the temporary directory's name, nothing is written or removed there", (t) => {
  const above = scratch(t);
  const victim = join(above, "victim");
  fs.mkdirSync(victim, { mode: 0o755 });
  fs.writeFileSync(join(victim, "file"), "kept");
  for (const prepare of [
    (prepared: string) => fs.symlinkSync(victim, prepared),
    (prepared: string) => {
      fs.mkdirSync(prepared);
      fs.symlinkSync(victim, join(prepared, "new"));
    },
    (prepared: string) => {
      fs.mkdirSync(join(prepared, "new"), { recursive: true });
      fs.symlinkSync(join(victim, "file"), join(prepared, "new/file"));
    },
  ]) {
    let left = "";
    make(above, true, (temporary) => {
      fs.renameSync(temporary, join(above, "stolen"));
      prepare(temporary);
      left = temporary;
    });
    assert.equal(fs.readFileSync(join(above, "out/file"), "utf8"), "ours");
    assert.equal(fs.readFileSync(join(victim, "file"), "utf8"), "kept");
    assert.equal(fs.statSync(victim).mode & 0o777, 0o755);
    assert.deepEqual(fs.readdirSync(join(above, "stolen")), []);
    fs.lstatSync(left);
    for (const path of [left, join(above, "stolen"), join(above, "out")]) fs.rmSync(path, { recursive: true });
  }
});

test("a directory of root's in the temporary one's place, before it is open: nothing in it is removed", async (t) => {
  if (!requires(t, "root", "strace")) return;
  const above = scratch(t);
  const victim = join(above, "victim");
  for (const name of ["new", "old"]) {
    fs.mkdirSync(join(victim, name), { recursive: true, mode: 0o700 });
    fs.writeFileSync(join(victim, name, "file"), "kept");
  }
  const module = JSON.stringify(join(import.meta.dirname, "output-directory.ts"));
  const script = `const { OutputDirectory } = await import(${module});
    try { new OutputDirectory(process.argv[1]).close(); } catch (error) { console.log(error.code); }`;
  // Between mkdirat(2) and the opening there is a second.
  const delay = ["-f", "-o", join(above, "trace"), "-e", "trace=mkdirat", "-e", "inject=mkdirat:delay_exit=1000000"];
  const program = [process.execPath, "--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script];
  const child = spawn("strace", [...delay, ...program, join(above, "out")], { stdio: ["ignore", "pipe", "inherit"] });
  const said = text(child.stdout);
  const temporary = await eventually("the temporary directory", () =>
    fs.readdirSync(above).find((name) => name.startsWith("out.")),
  );
  fs.renameSync(join(above, temporary), join(above, "stolen"));
  fs.renameSync(victim, join(above, temporary));
  assert.equal(await said, "write-failed\n");
  for (const name of ["new", "old"])
    assert.equal(fs.readFileSync(join(above, temporary, name, "file"), "utf8"), "kept", name);
});

test("a default ACL of the directory above lets nobody into what is made", (t) => {
  if (!requires(t, "root", "setfacl")) return;
  const above = scratch(t);
  execFileSync("setfacl", ["-m", "d:u:65534:rwx", above]);
  make(above, false);
  const acl = execFileSync("getfacl", ["--absolute-names", "--numeric", join(above, "out"), join(above, "out/file")], {
    encoding: "utf8",
  });
  assert.doesNotMatch(acl, /65534|mask|default/);
});
