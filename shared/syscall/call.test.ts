import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { call, cString, SyscallError, tryCall } from "./call.ts";
import { ENTRY, sharedObject } from "./calls-library.ts";

test("a call returns what the kernel answers", () => {
  assert.equal(tryCall("fcntl", 99999, 1), -9, "EBADF");
  assert.equal(tryCall("chroot", cString("/nowhere/at/all")), -2, "ENOENT");
  assert.throws(() => call("prctl", 24, 63), new SyscallError("prctl", 22));
});

test("negative numbers and all five arguments arrive", () => {
  const AT_FDCWD = -100;
  const data = Buffer.alloc(256);
  assert.equal(call("statx", AT_FDCWD, cString("/proc/self/stat"), 0, 0x7ff, data), 0);
  assert.equal(data.readUInt32LE(0) & 0x7ff, 0x7ff, "stx_mask, by the fifth argument");
});

test("an errno survives what the runtime does meanwhile", () => {
  // PR_CAPBSET_DROP of a capability that no kernel has. Each round makes garbage, and so system calls.
  for (let i = 0; i < 2000; i++) {
    const result = tryCall("prctl", 24, 63);
    const garbage = Array.from({ length: 100 }, () => new Uint8Array(1000));
    assert.equal(result, -22, String(garbage.length));
  }
});

test("no name of the host's libc stands between", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "rkt-calls-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "calls.so");
  writeFileSync(file, sharedObject());
  // The judge is binutils.
  const symbols = execFileSync("readelf", ["--use-dynamic", "--syms", "--wide", file], { encoding: "utf8" });
  assert.match(symbols, new RegExp(`FUNC +GLOBAL +DEFAULT +\\d+ ${ENTRY}$`, "m"));
  assert.doesNotMatch(symbols, /UND \w/);
  const segments = execFileSync("readelf", ["--segments", "--wide", file], { encoding: "utf8" });
  assert.match(segments, /LOAD .* RW +0x1000\n +LOAD .* R E +0x1000\n/, "nothing is writable and executable");
});

test("the file that it is loaded from is closed, and is in memory alone", () => {
  tryCall("fcntl", 99999, 1);
  assert.match(readFileSync("/proc/self/maps", "utf8"), /r-xp .*\/memfd:rkt-system-calls \(deleted\)$/m);
  for (const fd of readdirSync("/proc/self/fd"))
    try {
      assert.doesNotMatch(readlinkSync(`/proc/self/fd/${fd}`), /memfd:rkt/);
    } catch (error) {
      // The descriptor of the list itself.
      assert.equal((error as NodeJS.ErrnoException).code, "ENOENT");
    }
});
