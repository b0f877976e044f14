import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { readBeginning, readBounded, readLines, readNamed, readRegular } from "./bounded-read.ts";
import { mkfifo } from "./syscall/file.ts";

function scratch(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "rkt-read-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return join(dir, "file");
}

test("a file that fits is read whole, one byte more is refused", (t) => {
  const file = scratch(t);
  for (const size of [0, 1, 65535, 65536, 200_000]) {
    writeFileSync(file, "é".repeat(size / 2) + (size % 2 === 1 ? "x" : ""));
    assert.equal(Buffer.byteLength(readBounded(file, size)), size);
    if (size > 0) assert.throws(() => readBounded(file, size - 1), { code: "too-large" });
  }
  truncateSync(file, 2 ** 40);
  assert.throws(() => readBounded(file, 4096), { code: "too-large" });
});

test("what is no regular file is refused and never waited for", (t) => {
  const file = scratch(t);
  mkfifo(file, 0o600);
  assert.throws(() => readBounded(file, 10), { code: "not-a-file" });
  rmSync(file);
  symlinkSync("/etc/passwd", file);
  assert.throws(() => readBounded(file, 10_000_000), { code: "ELOOP" });
  assert.throws(() => readBounded("/dev/zero", 10), { code: "not-a-file" });
  assert.throws(() => readBounded(`${file}/no`, 10), { code: "ENOTDIR" });
});

test("a file that rkt has found: a link may lead to it, and it is nothing else than a file of bounded size", (t) => {
  const file = scratch(t);
  writeFileSync(`${file}.real`, "text");
  symlinkSync(`${file}.real`, file);
  assert.equal(readRegular(file, 4).toString(), "text");
  assert.throws(() => readRegular(file, 3), { code: "too-large" });
  rmSync(file);
  mkfifo(file, 0o600);
  assert.throws(() => readRegular(file, 4), { code: "not-a-file" });
  assert.throws(() => readRegular("/dev/zero", 4), { code: "not-a-file" });
});

test("a file that a person has named may be the end of a pipe; it has a bound in any case", (t) => {
  const file = scratch(t);
  writeFileSync(file, "text");
  assert.equal(readNamed(file, 4).toString(), "text");
  assert.throws(() => readNamed(file, 3), { code: "too-large" });
  assert.throws(() => readNamed("/dev/zero", 100_000), { code: "too-large" });
  assert.throws(() => readNamed(`${file}.none`, 4), { code: "ENOENT", path: `${file}.none` });
  const program = `import { readNamed } from ${JSON.stringify(import.meta.resolve("./bounded-read.ts"))};
    for (const path of process.argv.slice(1)) process.stdout.write(readNamed(path, 200_000));`;
  const node = `"${process.execPath}" --no-warnings --input-type=module -e "$0"`;
  mkfifo(`${file}.fifo`, 0o600);
  const script = `{ sleep 0.1; head -c 100000 /dev/zero | tr '\\0' a; } >"$1" & head -c 100000 /dev/zero | tr '\\0' b |
    ${node} /dev/stdin "$1" <(sleep 0.1; echo c)`;
  const read = execFileSync("bash", ["-c", script, program, `${file}.fifo`]).toString();
  assert.equal(read, `${"b".repeat(100_000)}${"a".repeat(100_000)}c\n`);
});

test("of a file without an end the beginning is read", () => {
  assert.equal(readBeginning("/dev/zero", 100_000), "\0".repeat(100_000));
  assert.match(readBeginning("/proc/self/stat", 4096), /^\d+ \(.*\) R .*\n$/s);
});

test("lines: whatever their number, and none longer than the limit and a chunk", (t) => {
  const file = scratch(t);
  const lines = Array.from({ length: 5000 }, (_, i) => `${i} ${"x".repeat(i % 70)}`);
  for (const end of ["", "\n"]) {
    writeFileSync(file, lines.join("\n") + end);
    assert.deepEqual([...readLines(file, 100)], lines);
  }
  writeFileSync(file, "y".repeat(1000));
  const pieces = [...readLines(file, 100)];
  assert.equal(pieces.join(""), "y".repeat(1000));
  assert.ok(pieces.every((piece) => piece.length <= 200));
});
