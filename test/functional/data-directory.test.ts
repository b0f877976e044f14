/** Nobody but root gets below the data directory, whichever command made it. */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, lchownSync, mkdirSync, readdirSync, statSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { type Entry, gzipped, makeAci, manifest } from "../fixtures/aci.ts";
import { exampleAci, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

/** What an unprivileged user of the host gets done with a shell. */
function nobody(script: string, ...args: string[]): string {
  const id = ["--reuid=65534", "--regid=65534", "--clear-groups"];
  const done = spawnSync("setpriv", [...id, "sh", "-c", script, "sh", ...args], { encoding: "utf8", cwd: "/" });
  return done.stdout;
}

/** A data directory that only its own modes protect. */
function reachable(rkt: Rkt): Rkt {
  chmodSync(dirname(rkt.dir), 0o755);
  return rkt;
}

const commands: [name: string, ...words: string[]][] = [
  ["image list"],
  ["list"],
  ["gc"],
  ["image gc"],
  ["fetch", "example.com/nothing", "--pull-policy=never"],
  ["run", "example.com/nothing", "--pull-policy=never"],
  ["prepare", "example.com/nothing", "--pull-policy=never"],
  ["prepare", exampleAci("busybox")],
];

/** Has an image rendered that has a setuid-root file and a world-writable directory. */
function renderDangerous(rkt: Rkt): void {
  const entries = [
    { name: "rootfs/tmp", type: "5", mode: 0o1777 },
    { name: "rootfs/su", data: "#!/bin/sh\necho got-root\n", mode: 0o4755 },
    { name: "rootfs/bin/true", mode: 0o755 },
  ];
  const aci = scratchFile(rkt, "setuid.aci", gzipped(makeAci(entries)));
  rkt.ok(["prepare", "--insecure-options=image", aci]);
}

const GET_IN = `
find "$1" -mindepth 2
for at in "$1"/* "$1"/*/* "$1"/cas/blob/sha512 "$1"/cas/tree/* "$1"/containers/prepared; do
  ls "$at"; ( : >"$at/nobody" ) && echo "wrote $at"
done
for tree; do
  [ "$tree" = "$1" ] || { "$tree/rootfs/su"; : >"$tree/rootfs/tmp/x" && echo "wrote $tree"; cat "$tree/manifest"; }
done
for file in index.sqlite index.sqlite-wal index.sqlite-shm locks/store; do
  ( exec 9<"$1/cas/$file" && echo "opened $file" )
done
exit 0`;

for (const [name, ...words] of commands)
  test(`an unprivileged user gets nowhere below it: ${[name, ...words.slice(0, 1)].join(" ")} first`, (t) => {
    if (!requires(t, "root", "build", "setpriv")) return;
    const rkt = reachable(makeRkt(t));
    rkt.run([...name.split(" "), ...words]);
    renderDangerous(rkt);
    const trees = readdirSync(join(rkt.dir, "cas/tree")).map((id) => join(rkt.dir, "cas/tree", id));
    assert.ok(trees.length >= 2);
    // To find nothing means something only when the same script finds it as root.
    const asRoot = spawnSync("sh", ["-c", "$0/rootfs/su", trees.find((tree) => existsSync(`${tree}/rootfs/su`)) ?? ""]);
    assert.equal(asRoot.stdout.toString(), "got-root\n");
    assert.equal(nobody(GET_IN, rkt.dir, ...trees), "");
  });

test("directories that are too open are closed, by a command that only looks too", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  renderDangerous(rkt);
  const modes = () =>
    ["", "cas", "cas/tree", "cas/blob", "containers"].map((path) => statSync(join(rkt.dir, path)).mode & 0o7777);
  for (const words of [["list"], ["image", "list"], ["gc"]]) {
    for (const path of ["", "cas", "cas/tree", "cas/blob", "containers"]) chmodSync(join(rkt.dir, path), 0o777);
    rkt.ok(words);
    assert.deepEqual(modes(), [0o755, 0o700, 0o700, 0o700, 0o700], words.join(" "));
  }
});

test("a directory of somebody else's is refused, and so is his link", (t) => {
  if (!requires(t, "root", "build")) return;
  const cases: [path: string, words: string[]][] = [
    ["", ["image", "list"]],
    ["", ["list"]],
    ["cas", ["image", "list"]],
    ["cas/tree", ["fetch", exampleAci("busybox")]],
    ["containers", ["list"]],
    ["metadata", ["metadata-service", "--listen=127.0.0.1:0"]],
  ];
  for (const [path, words] of cases) {
    const rkt = makeRkt(t);
    const at = join(rkt.dir, path);
    mkdirSync(at, { recursive: true });
    chownSync(at, 65534, 65534);
    rkt.fails(words, 254, /data directory: \S+ belongs to user 65534\nhint: if nobody else .*chown root \S+;/);
  }
  const rkt = makeRkt(t);
  mkdirSync(rkt.dir);
  symlinkSync(rkt.scratch, join(rkt.dir, "cas"));
  rkt.ok(["image", "list"]);
  lchownSync(join(rkt.dir, "cas"), 65534, 65534);
  rkt.fails(["image", "list"], 254, /\/cas belongs to user 65534\nhint: .*chown -h root/);
});

test("a directory that others use keeps its mode", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  mkdirSync(rkt.dir);
  chmodSync(rkt.dir, 0o1777);
  rkt.ok(["image", "list"]);
  assert.equal(statSync(rkt.dir).mode & 0o7777, 0o1777);
});

test("a default ACL of the directory above gives nobody a part of the data directory, nor of a tree", (t) => {
  if (!requires(t, "root", "build", "overlay", "setfacl")) return;
  const rkt = makeRkt(t, { empty: true });
  execFileSync("setfacl", ["-m", "d:u:65534:rwx", dirname(rkt.dir)]);
  const share: Entry = { name: "rootfs/share", type: "5", mode: 0o2775 };
  const image = scratchFile(rkt, "share.aci", makeAci([share], manifest({ name: "example.com/share" })));
  rkt.ok(["prepare", "--insecure-options=image", image, "--exec=/x"]);
  const acls = execFileSync("getfacl", ["-R", "--absolute-names", "--numeric", rkt.dir], { encoding: "utf8" });
  assert.match(acls, /rootfs\/share$/m);
  assert.doesNotMatch(acls, /65534|default:/);
});

test("a set-group-ID directory hands its group nothing", (t) => {
  if (!requires(t, "root", "build", "setpriv", "flock")) return;
  const rkt = reachable(makeRkt(t));
  mkdirSync(rkt.dir);
  chownSync(rkt.dir, 0, 4242);
  chmodSync(rkt.dir, 0o2750);
  const uuid = rkt.ok(["prepare", "--insecure-options=image", exampleAci("busybox")]).stdout.trim();
  const dir = join(rkt.dir, "containers/prepared", uuid);
  const member = ["--reuid=65534", "--regid=4242", "--clear-groups", "sh", "-c"];
  const script = 'cat "$0/container"; ls "$0/overlay"; flock -n "$0" true; ls "$0/.." "$0/../.."; ls -d "$1"';
  const done = spawnSync("setpriv", [...member, script, dir, rkt.dir], { encoding: "utf8" });
  assert.equal(done.stdout, `${rkt.dir}\n`, "the group enters the directory that it was given, and none below");
  for (const below of ["containers", "containers/prepared", `containers/prepared/${uuid}`, "cas", "cas/tree"]) {
    const { gid, mode } = statSync(join(rkt.dir, below));
    assert.deepEqual([gid, mode & 0o7777], [0, 0o700], below);
  }
  // One that an older rkt left open is closed by the next command.
  chownSync(join(rkt.dir, "containers/prepared"), 0, 4242);
  chmodSync(join(rkt.dir, "containers/prepared"), 0o2750);
  rkt.ok(["list"]);
  assert.equal(statSync(join(rkt.dir, "containers/prepared")).mode & 0o7777, 0o700);
});
