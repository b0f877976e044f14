/** Who calls rkt as root by a sudo that keeps his environment has no code of his run, and no file written or read. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { DIST } from "../../build/paths.ts";
import { stage1Executable } from "../../build/bundle.ts";
import { bundlePrograms } from "../../build/stage1-image.ts";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { exampleAci, makeRkt, requires, scratchFile } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

/** In place of `@` a path in a directory that must stay empty but for a FIFO, and that nobody may look into. */
const VALUES: Record<string, string> = {
  BUN_BE_BUN: "1",
  BUN_INSPECT: "127.0.0.1:0",
  BUN_INSPECT_CONNECT_TO: "@",
  BUN_INSPECT_NOTIFY: "@",
  BUN_JSC_dumpOptions: "2",
  BUN_JSC_logGC: "2",
  BUN_OPTIONS: "--preload=@ --cpu-prof --cpu-prof-dir=@ --inspect",
  LOCALDOMAIN: "trapped.example",
  NODE_DEBUG: "fs,module,net,worker,child_process",
  NODE_DEBUG_NATIVE: "INSPECTOR_PROFILER,CODE_CACHE,COMPILE_CACHE",
  NODE_OPTIONS: "--require=@ --cpu-prof --cpu-prof-dir=@ --report-on-fatalerror",
  NODE_TEST_CONTEXT: "child-v8",
  RES_OPTIONS: "ndots:15",
  TZ: ":@",
  WATCH_REPORT_DEPENDENCIES: "1",
};

/** What no file here holds as a text of its own, or not each version does. */
const FURTHER =
  "HOSTALIASES ICU_DATA ICU_TIMEZONE_FILES_DIR NODE_CHANNEL_FD NODE_COMPILE_CACHE NODE_EXTRA_CA_CERTS NODE_ICU_DATA NODE_PATH NODE_PENDING_DEPRECATION NODE_PRESERVE_SYMLINKS NODE_REDIRECT_WARNINGS NODE_REPL_EXTERNAL_MODULE NODE_REPL_HISTORY NODE_UNIQUE_ID NODE_V8_COVERAGE OPENSSL_CONF OPENSSL_CONF_INCLUDE OPENSSL_ENGINES OPENSSL_MODULES QLOGDIR CARES_HOSTS RESOLV_HOST_CONF SQLITE_TMPDIR SSLKEYLOGFILE TMPDIR TZDIR LOCPATH NLSPATH GCONV_PATH MALLOC_TRACE UV_THREADPOOL_SIZE UV_USE_IO_URING BUN_CONFIG_FILE BUN_BYTECODE_ORDER_OUT BUN_JSC_dumpOptions BUN_JSC_logGC BUN_JSC_useDollarVM BUN_DEBUG BUN_TMPDIR BUN_INSTALL BUN_CPU_PROFILE_DIR";

/** The dynamic linker's, and what is meant for rkt. */
const NOT_MEANT = /^(?:LD_|GLIBC_TUNABLES$|LISTEN_|NOTIFY_SOCKET$|RKT_)/;

/** Every text of capitals in the executable and in the C library, for any of them may be a variable's name. */
function hostileNames(): string[] {
  const names = new Set([...FURTHER.split(" "), ...Object.keys(VALUES)]);
  for (const file of [join(DIST, "rkt"), "/lib/x86_64-linux-gnu/libc.so.6"])
    for (const [name] of readFileSync(file, "latin1").matchAll(/(?<=\0)[A-Z][A-Z0-9_]{2,40}(?=\0)/g))
      if (name.length > 3 || name.startsWith("TZ")) names.add(name);
  return [...names].filter((name) => !NOT_MEANT.test(name));
}

/** The program under strace, with all those variables and no others: how it ends, and the calls that name a trap. */
function trapped(scratch: string, argv: readonly string[], without = /^$/) {
  const trap = join(scratch, "trap");
  mkdirSync(trap);
  // Whoever opens it waits until he is killed.
  spawnSync("mkfifo", [join(trap, "TZ")]);
  const variables = hostileNames()
    .filter((name) => !without.test(name))
    .flatMap((name) => ["-E", `${name}=${(VALUES[name] ?? "@").replaceAll("@", join(trap, name))}`]);
  const log = join(scratch, "log");
  const options = ["-f", "-s", "200", "-o", log, "-e", "trace=file,network", "-e", "signal=none", ...variables];
  const done = spawnSync("strace", [...options, "--", ...argv], {
    cwd: scratch,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    encoding: "utf8",
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  const calls = readFileSync(log, "utf8").split("\n");
  const seen = calls.filter((call) => !call.includes("execve(") && (call.includes(trap) || call.includes("trapped")));
  assert.ok(calls.length > 20, "strace has seen something");
  const left = readdirSync(trap);
  rmSync(trap, { recursive: true });
  return { names: variables.length / 2, seen, left, status: done.status, stdout: done.stdout, stderr: done.stderr };
}

const NOTHING = { seen: [], left: ["TZ"] };

test("no variable steers a run, whatever name of the runtime's and its libraries it has", (t) => {
  if (!requires(t, "root", "build", "overlay", "strace")) return;
  const rkt = makeRkt(t);
  const words = ["run", "--mds-register=false", busybox, "--exec=/bin/echo", "--", "hello"];
  const usual = rkt.ok(words);
  const { names, ...done } = trapped(rkt.scratch, [join(DIST, "rkt"), `--dir=${rkt.dir}`, ...words]);
  assert.deepEqual(done, { ...NOTHING, status: 0, stdout: usual.stdout, stderr: usual.stderr });
  assert.ok(names > 500, `${names} names`);
});

for (const words of [["version"], ["image", "list"], ["list"], ["help"]])
  test(`no variable steers rkt ${words.join(" ")}`, (t) => {
    if (!requires(t, "root", "build", "strace")) return;
    const rkt = makeRkt(t);
    const usual = rkt.ok(words);
    const { names: _, ...done } = trapped(rkt.scratch, [join(DIST, "rkt"), `--dir=${rkt.dir}`, ...words]);
    assert.deepEqual(done, { ...NOTHING, status: 0, stdout: usual.stdout, stderr: usual.stderr });
  });

test("no variable steers the resolver: no file of aliases, no domain of the caller's", (t) => {
  if (!requires(t, "root", "build", "strace")) return;
  const rkt = makeRkt(t);
  const url = "http://nowhere.invalid/x.aci";
  const argv = [join(DIST, "rkt"), `--dir=${rkt.dir}`, "--insecure-options=image,http", "fetch", url];
  // A proxy is meant for rkt, which would then not ask for the host.
  const { seen, left, status, stderr } = trapped(rkt.scratch, argv, /_PROXY$/);
  assert.deepEqual({ seen, left, status }, { ...NOTHING, status: 254 });
  assert.match(stderr, /no such host|name service|getaddrinfo/);
});

for (const name of ["init", "host-launcher"])
  test(`no variable steers stage 1's runtime: ${name} in a directory that is no container's`, async (t) => {
    if (!requires(t, "root", "build", "strace")) return;
    const { scratch } = makeRkt(t);
    const directory = join(scratch, "stage1/rootfs/usr/lib/rkt");
    mkdirSync(directory, { recursive: true });
    await stage1Executable(await bundlePrograms(scratch), join(directory, name));
    const script = `stage1/rootfs/usr/lib/rkt/${name}`;
    const usual = spawnSync(script, { cwd: scratch, encoding: "utf8" });
    assert.match(usual.stderr, /manifest|UUID/);
    const { names: _, ...done } = trapped(scratch, [script]);
    assert.deepEqual(done, { ...NOTHING, status: usual.status, stdout: "", stderr: usual.stderr });
  });

test("--inherit-env gives the app every variable that the caller has; the stages between see none", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const env: Record<string, string> = {
    ...{ NODE_OPTIONS: "--nonsense", BUN_OPTIONS: "--nonsense", TZ: ":/nowhere", LOCALDOMAIN: "x.example", EMPTY: "", LINES: "a\nb=c\n" },
    ...Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`V${i}`, `\u00e4\u{1f600}${i}`])),
  };
  const words = ["run", "--mds-register=false", "--inherit-env", busybox, "--exec=/bin/sh"];
  const { stdout } = rkt.ok([...words, "--", "-c", "cat /proc/self/environ"], { env });
  const variables = new Set(stdout.split("\0"));
  for (const [name, value] of Object.entries(env)) assert.ok(variables.has(`${name}=${value}`), name);
});

test("a variable that is no UTF-8 has replacement characters in the app, for a manifest is text", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  rkt.ok(["run", "--mds-register=false", busybox, "--exec=/bin/true"]);
  const script = `A=$(printf 'x\\377y') exec "$@"`;
  const words = ["run", "--mds-register=false", "--inherit-env", busybox, "--exec=/bin/sh", "--", "-c", "echo $A"];
  const argv = ["-c", script, "sh", join(DIST, "rkt"), `--dir=${rkt.dir}`, ...words];
  assert.equal(spawnSync("sh", argv, { encoding: "utf8" }).stdout, "x\ufffdy\n");
});

test("rkt starts with no variable, and with nothing for arguments", (t) => {
  if (!requires(t, "build")) return;
  const done = spawnSync(join(DIST, "rkt"), ["version"], { env: {}, encoding: "utf8" });
  assert.deepEqual([done.status, done.stderr], [0, ""]);
  assert.match(done.stdout, /^rkt version /);
  const script = `import ctypes, sys
ctypes.CDLL(None).execve(sys.argv[1].encode(), (ctypes.c_char_p * 1)(None), (ctypes.c_char_p * 3)(b"WORD", b"=x", None))`;
  const bare = spawnSync("python3", ["-c", script, join(DIST, "rkt")], { encoding: "utf8" });
  assert.deepEqual([bare.status, bare.stdout], [2, ""]);
  assert.match(bare.stderr, /^rkt: there is no command\n/);
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
