/** Who calls rkt as root by a sudo that keeps his environment has no code of his run, and no file written or read. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
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
  mkdirSync(join(rkt.scratch, "root"));
  const build = ["--manifest=manifest.json", "--rootfs=root", "--compression=xz", "--output=built.aci"];
  scratchFile(rkt, "manifest.json", manifest({ name: "example.com/built" }));
  rkt.ok(["image", "build", ...build], { env });
  for (const options of [["--rm"], ["--no-overlay"], ["--private-users"], ["--net"]])
    rkt.ok(["run", ...options, busybox, "--exec=/bin/true"], { env });
  rkt.ok(["gc", "--grace-period=0"], { env });
  assert.equal(existsSync(marker), false);
});

for (const [program, variable] of [
  ["bzip2", "BZIP2"],
  ["bzip2", "BZIP"],
  ["xz", "XZ_OPT"],
  ["xz", "XZ_DEFAULTS"],
] as const)
  test(`${variable} gives ${program} no arguments: a fetch takes what is in its file, a build writes all of it`, (t) => {
    if (!requires(t, "root", "build", program)) return;
    const rkt = makeRkt(t);
    const entries = [{ name: "rootfs/bin/true", mode: 0o755 }];
    const [good, evil] = ["good", "evil"].map((name) => {
      const path = scratchFile(rkt, `${name}.aci`, makeAci(entries, manifest({ name: `example.com/${name}` })));
      spawnSync(program, ["--keep", "--suffix=.x", path].filter((word) => program === "xz" || !/suffix/.test(word)));
      return `${path}.${program === "xz" ? "x" : "bz2"}`;
    });
    const env = { [variable]: program === "xz" ? "--format=raw --decompress" : (evil ?? "") };
    const id = rkt.ok(["fetch", good ?? ""], { env }).stdout.trim();
    assert.match(rkt.ok(["image", "cat-manifest", id]).stdout, /example\.com\/good/);
    if (program !== "xz") return;
    mkdirSync(join(rkt.scratch, "root"));
    scratchFile(rkt, "manifest.json", manifest({ name: "example.com/built" }));
    const words = ["image", "build", "--manifest=manifest.json", "--rootfs=root", "--compression=xz"];
    rkt.ok([...words, "--output=a.aci"]);
    rkt.ok([...words, "--output=b.aci"], { env: { [variable]: "--check=none" } });
    const bytes = (name: string) => readFileSync(join(rkt.scratch, name));
    assert.ok(bytes("a.aci").equals(bytes("b.aci")));
  });

test("--uuid-file-save and --pid-file follow no link", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const [victim, link] = [scratchFile(rkt, "victim", "precious"), join(rkt.scratch, "link")];
  symlinkSync(victim, link);
  rkt.fails(["prepare", `--uuid-file-save=${link}`, busybox], 254, /cannot write the UUID to \S+link: \S+link is a link/);
  rkt.fails(["metadata-service", "--listen=127.0.0.1:0", `--pid-file=${link}`], 254, /link is a link/);
  assert.equal(readFileSync(victim, "utf8"), "precious");
  assert.deepEqual(rkt.containers().filter((path) => /^[^/]+\/[0-9a-f-]{36}$/.test(path)), []);
  const other = scratchFile(rkt, "other", "an older and much longer text than a UUID is, which goes");
  const uuid = rkt.ok(["prepare", `--uuid-file-save=${other}`, busybox]).stdout.trim();
  assert.equal(readFileSync(other, "utf8"), uuid);
});

test("the script that releases a container's networks gets PATH alone: iptables obeys XTABLES_LIBDIR", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const file = join(rkt.scratch, "uuid");
  rkt.ok(["run", `--uuid-file-save=${file}`, "--mds-register=false", busybox, "--exec=/bin/true"]);
  const uuid = readFileSync(file, "utf8");
  const parent = rkt.containers().find((path) => path.endsWith(`/${uuid}`)) ?? "";
  const net = join(rkt.dir, "containers", parent, "net");
  mkdirSync(net, { recursive: true });
  const seen = join(rkt.scratch, "seen");
  writeFileSync(join(net, "teardown"), `tr '\\0' '\\n' </proc/$$/environ >${seen}\n`);
  rkt.ok(["rm", uuid], { env: { XTABLES_LIBDIR: rkt.scratch, TERM: "xterm" } });
  assert.deepEqual(readFileSync(seen, "utf8"), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
});

test("NODE_CHANNEL_FD and NODE_UNIQUE_ID make rkt no part of the caller's cluster, who would listen in its place", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const argv = [`--dir=${rkt.dir}`, "metadata-service", "--listen=127.0.0.1:0"];
  const child = spawn(join(import.meta.dirname, "../../dist/rkt"), argv, {
    env: { ...process.env, NODE_UNIQUE_ID: "1" },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  t.after(() => child.kill("SIGKILL"));
  const first = await new Promise<string>((resolve) => {
    child.once("internalMessage", (message: object) => resolve(JSON.stringify(message)));
    child.stderr?.once("data", (text: Buffer) => resolve(text.toString()));
  });
  assert.match(first, /^rkt: metadata service at /);
});
