/** The contract between the stages: either side can be somebody else's. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { dist, exampleAci, makeRkt, requires } from "../helpers/rkt.ts";
import { shellStage1 } from "../helpers/stage1-image.ts";

const busybox = exampleAci("busybox");

test("a stage1 of ten lines of shell runs with our rkt", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const aci = shellStage1(
    rkt,
    `[ $# -eq 0 ] || exit 90
[ -f container ] && [ -f stage1/manifest ] && [ -d stage1/rootfs ] || exit 91
app=$(ls stage1/rootfs/opt/stage2)
[ -f "stage1/rootfs/opt/stage2/$app/manifest" ] || exit 92
[ "$(readlink "/proc/self/fd/$RKT_LOCK_FD")" = "$PWD" ] || exit 93
flock -n . true && exit 94
echo $$ >pid
chroot "stage1/rootfs/opt/stage2/$app/rootfs" /bin/sh -c 'echo from the app; exit 3'
status=$?
echo $status >status/busybox
exit $status
`,
  );
  const done = rkt.run(["run", "--insecure-options=image", `--stage1-image=${aci}`, busybox]);
  assert.equal(done.status, 3, done.stderr);
  assert.equal(done.stdout, "from the app\n");
  assert.equal(rkt.ok(["list", "--format=json"]).stdout.includes('"exitCode":3'), true);
});

test("our init works in a directory that somebody laid out by hand", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = randomUUID();
  const dir = join(rkt.scratch, uuid);
  const rootfs = join(dir, "stage1/rootfs");
  for (const path of ["status", "log", "volumes", "stage1"]) mkdirSync(join(dir, path), { recursive: true });
  const untar = (aci: string, to: string) => {
    mkdirSync(to, { recursive: true });
    const tar = spawnSync("tar", ["-xzf", aci, "-C", to], { encoding: "utf8" });
    assert.equal(tar.status, 0, tar.stderr);
  };
  untar(join(dist, "stage1-nspawn.aci"), join(dir, "stage1"));
  const id = `sha512-${"0".repeat(128)}`;
  untar(busybox, join(rootfs, "opt/stage2", id.slice(0, 39)));
  const app = { exec: ["/bin/sh", "-c", "echo by hand; exit 4"], user: "0", group: "0" };
  writeFileSync(
    join(dir, "container"),
    JSON.stringify({ acVersion: "0.8.11", acKind: "PodManifest", apps: [{ name: "x", image: { id }, app }] }),
  );
  const done = spawnSync("stage1/rootfs/init", [], { cwd: dir, encoding: "utf8", input: "" });
  assert.equal(done.stdout, "by hand\n", done.stderr);
  assert.equal(done.status, 4);
  assert.equal(readFileSync(join(dir, "status/x"), "utf8"), "4\n");
  const cgroups = readFileSync(join(dir, "cgroups"), "utf8").trim().split("\n");
  for (const cgroup of cgroups) spawnSync("find", [cgroup, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
});
