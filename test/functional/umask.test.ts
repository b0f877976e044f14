/** Whatever the caller's file mode mask is: containers work, and nobody but root can write to what root trusts. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { NETWORK_STATE, networkClaim, RUNTIME_DIR, USER_RANGES } from "../../shared/layout.ts";
import { dist, exampleAci, makeRkt, type Result, type Rkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";

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

/** A directory of the host's that is put back as it was. */
function borrowed(t: { after(done: () => void): void }): void {
  const aside = `${RUNTIME_DIR}.test`;
  const there = existsSync(RUNTIME_DIR);
  // Under a mount, as where tests have a /run/rkt of their own, it cannot be moved.
  if (there) spawnSync("sh", ["-ec", `mkdir ${aside}; mount --bind ${aside} ${RUNTIME_DIR}`]);
  t.after(() => {
    if (there) spawnSync("umount", [RUNTIME_DIR]);
    rmSync(there ? aside : RUNTIME_DIR, { recursive: true, force: true });
  });
}

test("what others can write to below /run/rkt is not trusted", (t) => {
  if (!requires(t, "root", "build", "mount")) return;
  borrowed(t);
  const rkt = makeRkt(t);
  const victim = scratchFile(rkt, "victim", "untouched");
  const net = ["run", "--net", busybox, "--exec=/bin/true"];
  const users = ["run", "--private-users", busybox, "--exec=/bin/true"];
  const hint = /^hint: when no container with a network or users of its own runs: rm -r \/run\/rkt$/m;
  mkdirSync(NETWORK_STATE.dir, { recursive: true });
  for (const [directory, mode, args] of [
    [RUNTIME_DIR, 0o777, net],
    [RUNTIME_DIR, 0o777, users],
    [NETWORK_STATE.dir, 0o777, net],
    [NETWORK_STATE.dir, 0o775, net],
  ] as const) {
    chmodSync(directory, mode);
    const { stderr } = rkt.fails(args, 254, new RegExp(`${directory} can be written to by others than root`));
    assert.match(stderr, hint);
    chmodSync(directory, 0o755);
  }
  // What releases networks is run by every rkt of root's.
  const claim = networkClaim("3f8f4d7e-0000-4000-8000-000000000000");
  mkdirSync(claim.dir, { recursive: true });
  writeFileSync(claim.teardown, `echo forged >${victim}\n`);
  chmodSync(NETWORK_STATE.claims, 0o777);
  for (const args of [net, ["gc"]])
    rkt.fails(args, 254, new RegExp(`${NETWORK_STATE.claims} can be written to by others than root`));
  assert.equal(readFileSync(victim, "utf8"), "untouched");
  rmSync(NETWORK_STATE.dir, { recursive: true });
  symlinkSync(dirname(victim), NETWORK_STATE.dir);
  rkt.fails(net, 254, /\/run\/rkt\/net is no directory: what lies there cannot be trusted/);
  rmSync(NETWORK_STATE.dir);

  // Files that are links: nothing is written where they lead.
  mkdirSync(NETWORK_STATE.dir);
  symlinkSync(victim, NETWORK_STATE.lock("default"));
  rkt.fails(net, 254, /default\.lock.*ELOOP|ELOOP.*default\.lock/);
  rmSync(NETWORK_STATE.lock("default"));
  symlinkSync(victim, USER_RANGES);
  rkt.fails(users, 254, /ELOOP/);
  rmSync(USER_RANGES);
  symlinkSync(victim, NETWORK_STATE.subnets);
  rkt.ok(net);
  assert.equal(readFileSync(victim, "utf8"), "untouched");
  assert.ok(lstatSync(victim).isFile());
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
});

test("what the file of the default network's subnets says becomes a part of rules only if it is subnets", async (t) => {
  if (!requires(t, "root", "build", "mount", "iptables")) return;
  borrowed(t);
  const rkt = makeRkt(t);
  const forged = { ipv4: "10.0.0.0/8 -j ACCEPT\n-A INPUT -s 0.0.0.0/0" };
  mkdirSync(`${NETWORK_STATE.leases}/default`, { recursive: true });
  writeFileSync(`${NETWORK_STATE.leases}/default/10.1.2.3`, "somebody");
  writeFileSync(NETWORK_STATE.subnets, JSON.stringify(forged));
  rkt.ok(["run", "--net", busybox, "--exec=/bin/true"]);
  const rules = spawnSync("iptables-save", { encoding: "utf8" }).stdout;
  assert.doesNotMatch(rules, /0\.0\.0\.0\/0 -j|-s 10\.0\.0\.0\/8/);
});
