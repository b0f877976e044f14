/** Whatever the caller's file mode mask is: containers work, and nobody but root can write to what root trusts. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { NETWORK_STATE, networkClaim, RUNTIME_DIR, USER_RANGES } from "../../shared/contract/host-state.ts";
import { takeOwnHost } from "../helpers/own-host.ts";
import { dist, exampleAci, makeRkt, type Result, type Rkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";

takeOwnHost();

const busybox = exampleAci("busybox");
const MASKS = ["000", "022", "027", "077"] as const;

/** `rkt` started under a mask. */
function masked(rkt: Rkt, mask: string, ...args: string[]): Result {
  const argv = ["-c", `umask ${mask} && exec "$@"`, "sh", rktBinary, `--dir=${rkt.dir}`, ...args];
  const { status, signal, stdout, stderr } = spawnSync("sh", argv, {
    cwd: rkt.scratch,
    encoding: "utf8",
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  return { status, signal, stdout, stderr };
}

/** Files and directories that others than root may write to; /tmp of an app and what is sticky is meant to be so. */
const writable = (...dirs: string[]): string => {
  const there = dirs.filter((dir) => existsSync(dir));
  const find = [...there, "(", "-type", "f", "-o", "-type", "d", ")", "-perm", "/022", "!", "-perm", "-1000", "-print"];
  return spawnSync("find", find, { encoding: "utf8" }).stdout;
};

const APP = ["--user=1000", "--group=1000", "--working-dir=/", "--exec=/bin/sh", "--", "-c", "id -u; umask; ls /bin/sh"];

for (const mask of MASKS)
  test(`with umask ${mask}: run, fetch, prepare, enter, list, gc`, (t) => {
    if (!requires(t, "root", "build")) return;
    // With an empty store, so that the stage1 is imported and rendered under that mask too.
    const rkt = makeRkt(t, { empty: true });
    const out = "1000\n0022\n/bin/sh\n";
    const good = (...args: string[]) => {
      const done = masked(rkt, mask, ...args);
      assert.equal(done.status, 0, `rkt ${args.join(" ")}: ${done.stderr}`);
      return done.stdout;
    };
    const insecure = "--insecure-options=image";
    assert.equal(good(insecure, "run", busybox, ...APP), out);
    assert.equal(good(insecure, "run", "--no-overlay", busybox, ...APP), out);
    assert.equal(good(insecure, "run", "--private-users", busybox, ...APP), out);
    assert.equal(good(insecure, "run", "--net", busybox, ...APP), out);
    assert.equal(good(insecure, "run", `--stage1-path=${join(dist, "stage1-fly.aci")}`, busybox, ...APP), out);
    good(insecure, "fetch", exampleAci("hello-client"));
    const uuid = good(insecure, "prepare", busybox, ...APP).trim();
    assert.equal(good("run-prepared", uuid), out);
    good("list");
    good("gc", "--grace-period=0");
    assert.deepEqual(rkt.containers(), []);
    assert.equal(writable(rkt.dir, RUNTIME_DIR), "");
  });

const OUTPUTS = [
  // 022 holds in any case.
  ["000", "644"],
  ["022", "644"],
  ["077", "600"],
] as const;
test("files that the caller asked for have the modes that the caller's mask leaves, and 022", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const manifest = { acKind: "ImageManifest", acVersion: "0.8.11", name: "example.com/made" };
  const text = scratchFile(rkt, "manifest", JSON.stringify(manifest));
  mkdirSync(join(rkt.scratch, "rootfs"));
  for (const [mask, mode] of OUTPUTS) {
    const path = (name: string) => join(rkt.scratch, `${name}-${mask}`);
    const build = ["image", "build", `--manifest=${text}`, "--rootfs=rootfs", `--output=${path("built")}`];
    const run = ["--insecure-options=image", "run", `--uuid-file-save=${path("uuid")}`, busybox, "--exec=/bin/true"];
    const uuid = () => readFileSync(path("uuid"), "utf8");
    for (const args of [build, run]) assert.equal(masked(rkt, mask, ...args).status, 0);
    for (const args of [
      ["export", uuid(), path("exported")],
      ["image", "export", "example.com/busybox", path("image")],
    ])
      assert.equal(masked(rkt, mask, ...args).status, 0);
    for (const name of ["built", "uuid", "exported", "image"])
      assert.equal((statSync(path(name)).mode & 0o777).toString(8), mode, `${name} with ${mask}`);
  }
});

/**
 * `rkt` with a directory of the test's own in the place of /run/rkt, and a network of its own: nobody else on the machine
 * is to meet what is forged there.
 */
function elsewhere(rkt: Rkt): { own(path: string): string; run(...args: string[]): Result & { rules: string } } {
  const directory = join(rkt.scratch, "run-rkt");
  mkdirSync(directory, { recursive: true });
  rkt.ok(["run", "--help"]);
  const setUp = `mkdir -p ${RUNTIME_DIR}; mount --bind ${directory} ${RUNTIME_DIR}; ip link set lo up`;
  const script = `${setUp}; status=0; "$@" || status=$?; iptables-save >${rkt.scratch}/rules; exit $status`;
  return {
    own: (path) => path.replace(RUNTIME_DIR, directory),
    run(...args) {
      const argv = ["--mount", "--net", "sh", "-ec", script, "sh", rktBinary, `--dir=${rkt.dir}`, ...args];
      const { status, signal, stdout, stderr } = spawnSync("unshare", argv, { encoding: "utf8", timeout: 60_000 });
      return { status, signal, stdout, stderr, rules: readFileSync(join(rkt.scratch, "rules"), "utf8") };
    },
  };
}

test("what others can write to below /run/rkt is not trusted", (t) => {
  if (!requires(t, "root", "build", "mount", "unshare", "iptables")) return;
  const rkt = makeRkt(t);
  const { own, run } = elsewhere(rkt);
  const refused = (args: string[], message: RegExp): string => {
    const { status, stderr } = run(...args);
    assert.equal(status, 254, stderr);
    assert.match(stderr, message);
    return stderr;
  };
  const victim = scratchFile(rkt, "victim", "untouched");
  const insecure = "--insecure-options=image";
  const net = [insecure, "run", "--net", busybox, "--exec=/bin/true"];
  const users = [insecure, "run", "--private-users", busybox, "--exec=/bin/true"];
  const hint = /^hint: when no container with a network or users of its own runs: rm -r \/run\/rkt$/m;
  const state = own(NETWORK_STATE.dir);
  mkdirSync(state, { recursive: true });
  for (const [directory, mode, args] of [
    [RUNTIME_DIR, 0o777, net],
    [RUNTIME_DIR, 0o777, users],
    [NETWORK_STATE.dir, 0o777, net],
    [NETWORK_STATE.dir, 0o775, net],
  ] as const) {
    chmodSync(own(directory), mode);
    assert.match(refused(args, new RegExp(`${directory} can be written to by others than root`)), hint);
    chmodSync(own(directory), 0o755);
  }
  // What releases networks is run by every rkt of root's.
  const claim = networkClaim("3f8f4d7e-0000-4000-8000-000000000000");
  mkdirSync(own(claim.dir), { recursive: true });
  writeFileSync(own(claim.teardown), `echo forged >${victim}\n`);
  chmodSync(own(NETWORK_STATE.claims), 0o777);
  for (const args of [net, ["gc"]])
    refused(args, new RegExp(`${NETWORK_STATE.claims} can be written to by others than root`));
  assert.equal(readFileSync(victim, "utf8"), "untouched");
  rmSync(state, { recursive: true });
  symlinkSync(dirname(victim), state);
  refused(net, /\/run\/rkt\/net is no directory: what lies there cannot be trusted/);
  rmSync(state);

  // Files that are links: nothing is written where they lead.
  mkdirSync(state);
  symlinkSync(victim, own(NETWORK_STATE.lock("default")));
  refused(net, /default\.lock.*ELOOP|ELOOP.*default\.lock/);
  rmSync(own(NETWORK_STATE.lock("default")));
  symlinkSync(victim, own(USER_RANGES));
  refused(users, /ELOOP/);
  rmSync(own(USER_RANGES));
  symlinkSync(victim, own(NETWORK_STATE.subnets));
  assert.equal(run(...net).status, 0);
  assert.equal(readFileSync(victim, "utf8"), "untouched");
  assert.ok(lstatSync(victim).isFile());
  assert.equal(run("gc", "--grace-period=0").status, 0);
  assert.deepEqual(rkt.containers(), []);
});

test("what the file of the default network's subnets says becomes a part of rules only if it is subnets", (t) => {
  if (!requires(t, "root", "build", "mount", "unshare", "iptables")) return;
  const rkt = makeRkt(t);
  const { own, run } = elsewhere(rkt);
  const forged = { ipv4: "10.0.0.0/8 -j ACCEPT\n-A INPUT -s 0.0.0.0/0" };
  const leases = own(`${NETWORK_STATE.leases}/default`);
  mkdirSync(leases, { recursive: true });
  writeFileSync(join(leases, "10.1.2.3"), "somebody");
  writeFileSync(own(NETWORK_STATE.subnets), JSON.stringify(forged));
  const done = run("--insecure-options=image", "run", "--net", busybox, "--exec=/bin/true");
  assert.equal(done.status, 0, done.stderr);
  assert.doesNotMatch(done.rules, /0\.0\.0\.0\/0 -j|-s 10\.0\.0\.0\/8/);
  assert.match(done.rules, /RKT-/);
});
