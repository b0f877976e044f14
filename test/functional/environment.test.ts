/** Who calls rkt as root by a sudo that keeps his environment has no code of his run, and no file written or read. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { exampleAci, makeRkt, requires, scratchFile } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

/** In place of `@` a path in a directory that must stay empty, and that nobody may look into. */
const VARIABLES: Record<string, string> = {
  NODE_COMPILE_CACHE: "@",
  NODE_DEBUG: "fs,module,net,worker,child_process",
  NODE_DEBUG_NATIVE: "INSPECTOR_PROFILER,CODE_CACHE,COMPILE_CACHE",
  NODE_EXTRA_CA_CERTS: "@",
  NODE_ICU_DATA: "@",
  NODE_OPTIONS: "--require=@ --cpu-prof --cpu-prof-dir=@ --report-on-fatalerror",
  NODE_PATH: "@",
  NODE_REDIRECT_WARNINGS: "@",
  NODE_REPL_EXTERNAL_MODULE: "@",
  NODE_REPL_HISTORY: "@",
  NODE_TEST_CONTEXT: "child-v8",
  NODE_V8_COVERAGE: "@",
  OPENSSL_CONF: "@",
  OPENSSL_CONF_INCLUDE: "@",
  OPENSSL_ENGINES: "@",
  OPENSSL_MODULES: "@",
  SSLKEYLOGFILE: "@",
  WATCH_REPORT_DEPENDENCIES: "1",
};

for (const [name, text] of Object.entries(VARIABLES))
  test(`${name} is not obeyed: not by rkt, not by stage 1, not by the launcher`, (t) => {
    if (!requires(t, "root", "build", "overlay", "strace")) return;
    const rkt = makeRkt(t);
    const words = ["run", "--mds-register=false", busybox, "--exec=/bin/echo", "--", "hello"];
    const usual = rkt.ok(words);
    const trap = join(rkt.scratch, "trap");
    mkdirSync(trap);
    const log = join(rkt.scratch, "log");
    const env = { ...process.env, [name]: text.replaceAll("@", join(trap, name)) };
    const argv = ["-f", "-o", log, "-e", "trace=file", "--", join(import.meta.dirname, "../../dist/rkt")];
    const done = spawnSync("strace", [...argv, `--dir=${rkt.dir}`, ...words], { env, encoding: "utf8" });
    assert.deepEqual([done.status, done.stdout, done.stderr], [0, usual.stdout, usual.stderr]);
    assert.deepEqual(readdirSync(trap), []);
    const seen = spawnSync("grep", ["-v", "execve(", log], { encoding: "utf8" }).stdout;
    assert.ok(seen.includes("busybox"), "strace has seen something");
    assert.equal(seen.includes(trap), false);
  });

test("programs of the caller's PATH are not run", (t) => {
  if (!requires(t, "root", "build", "overlay", "xz")) return;
  const rkt = makeRkt(t);
  const [path, marker] = [join(rkt.scratch, "bin"), join(rkt.scratch, "ran")];
  mkdirSync(path);
  const names = [
    "sh",
    "bash",
    "cp",
    "rm",
    "mv",
    "cat",
    "xz",
    "gzip",
    "bzip2",
    "zstd",
    "flock",
    "unshare",
    "mount",
    "umount",
  ];
  for (const name of [
    ...names,
    "ip",
    "nsenter",
    "setpriv",
    "iptables",
    "ebtables-nft-restore",
    "kill",
    "node",
    "busybox",
  ]) {
    writeFileSync(join(path, name), `#!/bin/sh\necho ${name} >>${marker}\nexit 1\n`);
    chmodSync(join(path, name), 0o755);
  }
  const entries = [{ name: "rootfs/bin/true", mode: 0o755 }];
  const plain = scratchFile(rkt, "x.aci", makeAci(entries, manifest({ name: "example.com/x" })));
  spawnSync("xz", ["--keep", plain]);
  const env = { PATH: `${path}:${process.env["PATH"]}` };
  rkt.ok(["fetch", `${plain}.xz`], { env });
  for (const options of [["--rm"], ["--no-overlay"], ["--private-users"], ["--net"]])
    rkt.ok(["run", ...options, busybox, "--exec=/bin/true"], { env });
  rkt.ok(["gc", "--grace-period=0"], { env });
  assert.equal(existsSync(marker), false);
});
