/** The image commands, judged by actool, tar, sha512sum, find and gpg. */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { type Entry, gzipped, makeAci, manifest } from "../fixtures/aci.ts";
import { makeGpg } from "../fixtures/gpg.ts";
import { serve } from "../helpers/http-server.ts";
import {
  eventually,
  exampleAci,
  finished,
  makeRkt,
  type Rkt,
  requires,
  rktBinary,
  scratchFile,
} from "../helpers/rkt.ts";

const shell = (command: string, cwd: string): string =>
  execFileSync("bash", ["-c", `set -o pipefail; ${command}`], { cwd, encoding: "utf8" });

interface Made {
  name: string;
  version?: string;
  entries?: Entry[];
  over?: object;
}

/** Imports an image; its hash as printed. */
function add(rkt: Rkt, { name, version, entries = [], over = {} }: Made): string {
  const labels = version === undefined ? [] : [{ name: "version", value: version }];
  const text = manifest({ name, labels: [...labels, { name: "os", value: "linux" }], ...over });
  const path = scratchFile(rkt, "made.aci", makeAci(entries, text));
  const { stdout } = rkt.ok(["fetch", "--pull-policy=new", path]);
  rmSync(path);
  return stdout.trim();
}

const stored = (rkt: Rkt): string[] => JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout).map(nameOf);
const nameOf = ({ name }: { name: string }): string => name;

test("list: table and JSON, sorted as asked", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  assert.equal(rkt.ok(["image", "list", "--no-legend"]).stdout, "");
  const small = add(rkt, { name: "example.com/z-small", version: "1.0" });
  const big = add(rkt, { name: "example.com/a-big", entries: [{ name: "rootfs/x", data: "x".repeat(1_500_000) }] });
  const [legend, ...table] = rkt.ok(["image", "list"]).stdout.split("\n");
  assert.match(legend ?? "", /^ID {39}NAME {21}SIZE {5}IMPORTED +LAST USED$/);
  // On a busy machine a second has passed.
  assert.deepEqual(
    table.map((row) => row.replace(/ {2}(just now|\d+ seconds? ago) +(just now|\d+ seconds? ago)$/, "  (now)")),
    [`${small}  example.com/z-small:1.0  2.5 KiB  (now)`, `${big}  example.com/a-big        1.4 MiB  (now)`, ""],
  );
  const rows = (...options: string[]) =>
    rkt
      .ok(["image", "list", "--no-legend", ...options])
      .stdout.trimEnd()
      .split("\n")
      .map((row) => row.split(/ {2,}/));
  const names = (...options: string[]) => rows(...options).map((row) => row[1]?.split("/")[1]?.split(":")[0]);
  assert.deepEqual(names("--sort=name"), ["a-big", "z-small"]);
  assert.deepEqual(names("--sort=name", "--order=desc"), ["z-small", "a-big"]);
  assert.deepEqual(names("--sort=size"), ["z-small", "a-big"]);
  assert.deepEqual(names("--sort=size", "--order=desc"), ["a-big", "z-small"]);
  assert.deepEqual(names("--sort=importtime", "--order=desc"), ["a-big", "z-small"]);
  const [full = []] = rows("--full", "--sort=name");
  assert.match(full.join(" "), /^sha512-[0-9a-f]{64} example\.com\/a-big \d+ 20\S+Z 20\S+Z$/);
  assert.ok(full[0]?.startsWith(big));

  const [first] = JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout);
  assert.match(first.id, /^sha512-[0-9a-f]{128}$/);
  assert.deepEqual(first.labels, [
    { name: "version", value: "1.0" },
    { name: "os", value: "linux" },
  ]);
  assert.equal(first.size, 2560);
  rkt.fails(["image", "list", "--sort=age"], 2, /sort/);
});

test("cat-manifest: by hash, name and URL; an old manifest in today's form", async (t) => {
  if (!requires(t, "root", "build", "actool")) return;
  const rkt = makeRkt(t);
  const id = add(rkt, { name: "example.com/app", version: "1" });
  add(rkt, { name: "example.com/app", version: "2" });
  const version = (image: string) =>
    JSON.parse(rkt.ok(["image", "cat-manifest", image]).stdout).labels.find(
      (l: { name: string }) => l.name === "version",
    ).value;
  assert.equal(version(id.slice(0, 20)), "1");
  assert.equal(version("example.com/app:1"), "1");
  assert.equal(version("example.com/app"), "2", "the one that came last");
  const file = scratchFile(rkt, "manifest", rkt.ok(["image", "cat-manifest", id]).stdout);
  shell(`actool validate ${file}`, rkt.scratch);
  rkt.fails(["image", "cat-manifest", "example.com/other"], 254, /image example\.com\/other.* is not in the store/);
  rkt.fails(["image", "cat-manifest", "./x.aci"], 254, /is a file, not an image in the store/);

  const server = await serve(t, (_, response) => response.end(makeAci([], manifest({ name: "example.com/served" }))));
  const url = `${server.base}/served.aci`;
  assert.equal((await finished(rkt.start(["--insecure-options=image", "fetch", url]))).status, 0);
  assert.equal(JSON.parse(rkt.ok(["image", "cat-manifest", url]).stdout).name, "example.com/served");
});

test("rm: an image and its tree; one that a container has says which; all or none", async (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const busybox = rkt.ok(["fetch", exampleAci("busybox")]).stdout.trim();
  const other = add(rkt, { name: "example.com/other" });
  const trees = () => readdirSync(join(rkt.dir, "cas/tree")).length;
  const blobs = () => globSync("cas/blob/sha512/*/*", { cwd: rkt.dir }).length;

  const prepared = rkt.ok(["prepare", busybox, "--exec=/bin/true"]).stdout.trim();
  rkt.fails(["image", "rm", busybox], 254, new RegExp(`in use by container ${prepared}, prepared, as app busybox`));
  rkt.ok(["rm", prepared]);

  const child = rkt.start(["run", busybox, "--exec=/bin/sh", "--", "-c", "echo up; exec sleep 1000"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const [running] = JSON.parse(rkt.ok(["list", "--format=json"]).stdout);
  const message = new RegExp(
    `image ${busybox} \\(example\\.com/busybox\\) is in use by container ${running.uuid}, running, as app busybox\nhint: stop it first: rkt stop ${running.uuid}`,
  );
  rkt.fails(["image", "rm", other, busybox], 254, message);
  rkt.fails(
    ["image", "rm", "example.com/rkt/stage1-nspawn"],
    254,
    /is in use by container \S+, running, as its stage1|is not in the store/,
  );
  assert.ok(stored(rkt).includes("example.com/other"), "none, when not all");
  rkt.ok(["stop", "--force", running.uuid]);
  await eventually("the end", () => child.exitCode ?? child.signalCode ?? undefined);

  assert.equal(rkt.ok(["image", "rm", other]).stdout, `removed ${other}\n`);
  rkt.ok(["rm", running.uuid]);
  const before = { trees: trees(), blobs: blobs() };
  rkt.ok(["image", "rm", busybox]);
  assert.deepEqual({ trees: trees(), blobs: blobs() }, { trees: before.trees - 1, blobs: before.blobs - 1 });
  rkt.fails(["image", "rm", busybox], 254, /no image sha512-\S+ in the store/);
  rkt.ok(["run", exampleAci("busybox"), "--exec=/bin/true"]);

  add(rkt, { name: "example.com/twin", version: "1" });
  add(rkt, { name: "example.com/twin", version: "2" });
  rkt.fails(["image", "rm", "example.com/twin"], 254, /example\.com\/twin is ambiguous: sha512-\S+, sha512-/);
  rkt.ok(["image", "rm", "example.com/twin:2"]);
});

test("export: what was imported, as actool takes it", (t) => {
  if (!requires(t, "root", "build", "actool")) return;
  const rkt = makeRkt(t);
  const busybox = rkt.ok(["fetch", "--full", exampleAci("busybox")]).stdout.trim();
  const file = join(rkt.scratch, "out.aci");
  rkt.ok(["image", "export", busybox, file]);
  shell(`actool validate ${file}`, rkt.scratch);
  const digest = (how: string) => shell(`${how} | sha512sum`, rkt.scratch).slice(0, 64);
  assert.equal(digest(`gzip -dc ${file}`), busybox.slice("sha512-".length));
  rkt.fails(["image", "export", busybox, file], 254, /out\.aci is there already\nhint: --overwrite/);
  rkt.ok(["image", "export", "--overwrite", "--compression=none", busybox, file]);
  assert.equal(digest(`cat ${file}`), busybox.slice("sha512-".length));
  rkt.fails(["image", "export", busybox, join(rkt.scratch, "none/out.aci")], 254, /cannot write .*ENOENT/);
  assert.deepEqual(readdirSync(rkt.scratch), ["out.aci"]);
});

/** Names, types, modes, owners, sizes, times and contents below a directory, by find and sha256sum. */
const listing = (dir: string): string =>
  shell(
    "find . -mindepth 1 -printf '%P|%y|%m|%U:%G|%T@|%l|\\n' | sort; find . -type f -print0 | sort -z | xargs -0r sha256sum",
    dir,
  );

test("extract and render: as tar has it; with what the image depends on", (t) => {
  if (!requires(t, "root", "build", "tar")) return;
  const rkt = makeRkt(t);
  const busybox = rkt.ok(["fetch", exampleAci("busybox")]).stdout.trim();
  const at = (name: string) => join(rkt.scratch, name);
  rkt.ok(["image", "extract", busybox, at("extracted")]);
  rkt.ok(["image", "render", "--rootfs-only", busybox, at("rootfs")]);
  mkdirSync(at("tar"));
  shell(`tar -xzpf ${exampleAci("busybox")} -C tar`, rkt.scratch);
  for (const name of ["extracted", "rootfs"]) assert.equal(statSync(at(name)).mode & 0o777, 0o700);
  chmodSync(at("rootfs"), 0o755);
  assert.equal(listing(at("extracted/rootfs")), listing(at("tar/rootfs")));
  assert.equal(listing(at("rootfs")), listing(at("tar/rootfs")));
  assert.equal(JSON.parse(readFileSync(at("extracted/manifest"), "utf8")).name, "example.com/busybox");

  add(rkt, {
    name: "example.com/base",
    entries: ["kept", "replaced", "hidden"].map((f) => ({ name: `rootfs/${f}`, data: "base" })),
  });
  const top = add(rkt, {
    name: "example.com/top",
    entries: [{ name: "rootfs/replaced", data: "top" }],
    over: { dependencies: [{ imageName: "example.com/base" }], pathWhitelist: ["/kept", "/replaced"] },
  });
  rkt.ok(["image", "render", top, at("rendered")]);
  assert.deepEqual(readdirSync(at("rendered/rootfs")).sort(), ["kept", "replaced"]);
  assert.equal(readFileSync(at("rendered/rootfs/replaced"), "utf8"), "top");
  rkt.ok(["image", "extract", "--rootfs-only", top, at("alone")]);
  assert.deepEqual(readdirSync(at("alone")), ["replaced"]);

  rkt.fails(["image", "extract", top, at("alone")], 254, /alone is there already/);
  rkt.ok(["image", "extract", "--overwrite", top, at("alone")]);
  assert.deepEqual(readdirSync(at("alone")).sort(), ["manifest", "rootfs"]);
  assert.deepEqual(globSync("*.{tmp,old}", { cwd: rkt.scratch }), []);
});

const blobDamages: { name: string; damage: (blob: string) => void; message: RegExp }[] = [
  { name: "a bit of a blob", damage: (blob) => flip(blob), message: /its blob (?:has the hash|is damaged)/ },
  {
    name: "half a blob",
    damage: (blob) => truncateSync(blob, statSync(blob).size / 2),
    message: /its blob is damaged/,
  },
  { name: "no blob", damage: (blob) => rmSync(blob), message: /its blob is not there/ },
];

const treeDamages: { name: string; damage: (rootfs: string) => void; message: RegExp }[] = [
  { name: "a file's content", damage: (root) => flip(`${root}/a`), message: /\/a has another content/ },
  { name: "a file's size", damage: (root) => appendFileSync(`${root}/a`, "more"), message: /\/a has another size/ },
  { name: "a mode", damage: (root) => chmodSync(`${root}/a`, 0o4755), message: /\/a has another mode/ },
  { name: "a time", damage: (root) => utimesSync(`${root}/a`, 5, 5), message: /\/a has another time/ },
  { name: "a file gone", damage: (root) => rmSync(`${root}/a`), message: /\/a is missing/ },
  {
    name: "a file more",
    damage: (root) => writeFileSync(`${root}/b`, ""),
    message: /\/b is not of the image/,
  },
  { name: "no root", damage: (root) => rmSync(root, { recursive: true }), message: /ENOENT/ },
  {
    name: "a file that can't be removed",
    damage: (root) => shell(`chattr +i ${root}/a; touch ${root}/c`, "/"),
    message: /\/c is not of the image/,
  },
];

function flip(path: string): void {
  const bytes = readFileSync(path);
  const times = statSync(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  utimesSync(path, times.atimeMs / 1000, times.mtimeMs / 1000);
}

/** An image in the store and rendered, and where. */
function renderedImage(t: TestContext): { rkt: Rkt; id: string; blob: string; rootfs: string; uuid: string } {
  const rkt = makeRkt(t);
  const entries: Entry[] = [{ name: "rootfs/a", data: "x".repeat(10_000), mode: 0o755 }];
  const text = manifest({ name: "example.com/a", app: { exec: ["/a"], user: "0", group: "0" } });
  const aci = scratchFile(rkt, "a.aci", makeAci(entries, text));
  const uuid = rkt.ok(["prepare", aci]).stdout.trim();
  const id = rkt.ok(["fetch", "--full", aci]).stdout.trim();
  const rootfs = join(rkt.dir, `cas/tree/tree-2-${id.slice(7)}/rootfs`);
  return { rkt, id, rootfs, uuid, blob: join(rkt.dir, "cas/blob/sha512", id.slice(7, 9), id) };
}

const GOOD = /^good {4}sha512-[0-9a-f]{32} example\.com\/a\n$/;

for (const { name, damage, message } of blobDamages)
  test(`verify finds ${name}`, (t) => {
    if (!requires(t, "root", "build")) return;
    const { rkt, id, blob } = renderedImage(t);
    assert.match(rkt.ok(["image", "verify", id]).stdout, GOOD);
    damage(blob);
    const { stdout } = rkt.fails(["image", "verify", id], 254, /1 damage in the store\nhint: `rkt fetch` the image again, from where it came\n/);
    assert.match(stdout, /^damaged sha512-[0-9a-f]{32} example\.com\/a: /);
    assert.match(stdout, message);
    assert.deepEqual(readdirSync(join(rkt.dir, "cas/tmp")), []);
    const [verdict] = JSON.parse(rkt.run(["image", "verify", "--format=json", id]).stdout);
    assert.deepEqual([verdict.id.slice(0, 71), verdict.name, verdict.state], [id, "example.com/a", "damaged"]);
    assert.match(verdict.damages[0].what, message);
  });

for (const { name, damage, message } of treeDamages)
  test(`verify makes a tree again: ${name}`, (t) => {
    if (!requires(t, "root", "build", "overlay")) return;
    const { rkt, id, rootfs, uuid } = renderedImage(t);
    const sound = listing(rootfs);
    damage(rootfs);
    // What a container stands on is left.
    const way = new RegExp(`1 damage in the store\nhint: \`rkt rm ${uuid}\`, then \`rkt image verify\` makes the tree again\n`);
    const used = rkt.fails(["image", "verify", id], 254, way);
    assert.match(used.stdout, new RegExp(`^damaged sha512-\\S+ example\\.com/a: its tree \\S+ was changed: .*; container ${uuid}, prepared, stands on it\n$`));
    assert.match(used.stdout, message);
    const [left] = JSON.parse(rkt.run(["image", "verify", "--format=json", id]).stdout);
    assert.deepEqual([left.state, left.damages[0].remade, left.damages[0].containers], ["damaged", false, [uuid]]);
    rkt.ok(["rm", uuid]);

    const { stdout, stderr } = rkt.ok(["image", "verify", id]);
    assert.equal(stderr, "");
    assert.match(stdout, /^remade {2}sha512-[0-9a-f]{32} example\.com\/a: its tree tree-2-[0-9a-f]{64} was changed: /);
    assert.match(stdout, message);
    assert.equal(listing(rootfs), sound);
    assert.deepEqual(readdirSync(join(rkt.dir, "cas/tmp")), []);
    assert.match(rkt.ok(["image", "verify", id]).stdout, GOOD);
    damage(rootfs);
    const [remade] = JSON.parse(rkt.ok(["image", "verify", "--format=json", id]).stdout);
    assert.deepEqual([remade.state, remade.damages.length, remade.damages[0].remade], ["remade", 1, true]);
    assert.match(remade.damages[0].what, message);
    assert.match(remade.damages[0].tree, /^tree-2-/);
    assert.equal(listing(rootfs), sound);
    const [good] = JSON.parse(rkt.ok(["image", "verify", "--format=json", id]).stdout);
    assert.deepEqual([good.state, good.damages], ["good", []]);
  });

test("verify: a tree of an image that depends on a name is of the image that had it then", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const base = (version: string) =>
    add(rkt, { name: "example.com/base", version, entries: [{ name: "rootfs/version", data: version }] });
  base("1");
  const entries = [{ name: "rootfs/bin/true", mode: 0o755 }];
  const top = add(rkt, { name: "example.com/top", entries, over: { dependencies: [{ imageName: "example.com/base" }] } });
  const prepare = () => rkt.ok(["prepare", top, "--exec=/bin/true"]).stdout.trim();
  const old = prepare();
  base("2");
  rkt.ok(["image", "verify"]);
  rkt.ok(["rm", old, prepare()]);
  const versions = () =>
    globSync("cas/tree/*/rootfs/version", { cwd: rkt.dir }).map((path) => readFileSync(join(rkt.dir, path), "utf8")).sort();
  const before = versions();
  for (const path of globSync("cas/tree/*/rootfs/bin/true", { cwd: rkt.dir })) appendFileSync(join(rkt.dir, path), "x");
  assert.equal(rkt.ok(["image", "verify", top]).stdout.match(/^remade /gm)?.length, 2);
  assert.deepEqual(versions(), before);
  assert.match(rkt.ok(["image", "verify", top]).stdout, /^good /);
});

/** Overwrites four bytes of a stored file's content, which no header of the archive covers. */
function damageBlob(blob: string, text: string): void {
  const bytes = readFileSync(blob);
  bytes.write("oops", bytes.indexOf(text));
  writeFileSync(blob, bytes);
}

/** A store with an image and one that it depends on, whose blob is damaged before anything is rendered. */
function damagedStore(t: TestContext) {
  const rkt = makeRkt(t);
  const image = (name: string, text: string, over = {}) => {
    const entries: Entry[] = [{ name: "rootfs/bin/true", mode: 0o755, data: text }];
    const labels = [{ name: "os", value: "linux" }];
    return scratchFile(
      rkt,
      `${name}.aci`,
      makeAci(entries, manifest({ name: `example.com/${name}`, labels, ...over })),
    );
  };
  const base = image("base", "what the base says");
  const top = image("top", "what the top says", { dependencies: [{ imageName: "example.com/base" }] });
  const [baseId = "", topId = ""] = [base, top].map((file) =>
    rkt.ok(["fetch", "--full", "--pull-policy=new", file]).stdout.trim(),
  );
  const blob = join(rkt.dir, "cas/blob/sha512", baseId.slice(7, 9), baseId);
  damageBlob(blob, "the base");
  return { rkt, base, baseId, top, topId, blob, target: join(rkt.scratch, "out") };
}

const DAMAGED =
  /image sha512-[0-9a-f]{32} is damaged: its blob has the hash sha512-[0-9a-f]{32}\nhint: `rkt fetch` it again/;

for (const { what, words } of [
  { what: "image render", words: ({ baseId, target }) => ["image", "render", baseId, target] },
  { what: "image render of an image on it", words: ({ topId, target }) => ["image", "render", topId, target] },
  { what: "image extract", words: ({ baseId, target }) => ["image", "extract", baseId, target] },
  { what: "image export", words: ({ baseId, target }) => ["image", "export", baseId, target] },
  { what: "prepare", words: ({ baseId }) => ["prepare", baseId, "--exec=/bin/true"] },
  { what: "prepare of an image on it", words: ({ topId }) => ["prepare", topId, "--exec=/bin/true"] },
] satisfies { what: string; words: (store: ReturnType<typeof damagedStore>) => string[] }[])
  test(`a damaged blob: ${what} refuses it and leaves nothing behind`, (t) => {
    if (!requires(t, "root", "build", "overlay")) return;
    const store = damagedStore(t);
    const { rkt, baseId, target } = store;
    rkt.fails(words(store), 254, DAMAGED);
    assert.equal(existsSync(target), false);
    assert.deepEqual(readdirSync(join(rkt.dir, "cas/tmp")), []);
    assert.deepEqual(rkt.containers(), []);
    const trees = readdirSync(join(rkt.dir, "cas/tree"));
    assert.equal(
      trees.some((tree) => tree.includes(baseId.slice(7))),
      false,
    );
  });

test("a damaged blob that thread and stream read: a big image is refused as a small one is", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const data = "many bytes ".repeat(2_000_000);
  const id = add(rkt, { name: "example.com/big", entries: [{ name: "rootfs/x", data }] });
  const target = join(rkt.scratch, "out");
  rkt.ok(["image", "render", id, target]);
  assert.equal(readFileSync(join(target, "rootfs/x"), "utf8"), data);
  const [blob = ""] = globSync(`cas/blob/sha512/*/${id}*`, { cwd: rkt.dir });
  damageBlob(join(rkt.dir, blob), "many bytes many");
  rkt.fails(["image", "render", "--overwrite", id, target], 254, DAMAGED);
  assert.equal(readFileSync(join(target, "rootfs/x"), "utf8"), data, "what was there before");
});

test("a damaged blob: fetch heals it from its file; by its hash alone nobody can", (t) => {
  if (!requires(t, "root", "build")) return;
  const { rkt, base, baseId, topId, blob, target } = damagedStore(t);
  const fetched = rkt.ok(["fetch", "--full", base]);
  assert.equal(fetched.stdout, `${baseId}\n`);
  assert.match(fetched.stderr, /image sha512-[0-9a-f]{32} is damaged: .*: fetching it again\n/);
  rkt.ok(["image", "verify"]);
  assert.equal(rkt.ok(["fetch", base]).stderr, "", "a sound one is not");

  damageBlob(blob, "the base");
  rkt.fails(["fetch", baseId], 254, DAMAGED);
  assert.match(rkt.ok(["fetch", base]).stderr, /fetching it again/);
  rkt.ok(["image", "render", topId, target]);
});

test("a damaged blob: --insecure-options=ondisk takes it as it is, into a tree of its own", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const { rkt, base, baseId, target } = damagedStore(t);
  const unchecked = rkt.ok(["--insecure-options=ondisk", "image", "render", baseId, target]);
  assert.equal(unchecked.stderr, "");
  assert.equal(readFileSync(join(target, "rootfs/bin/true"), "utf8"), "what oopsbase says");
  rkt.ok(["--insecure-options=ondisk", "prepare", baseId, "--exec=/bin/true"]);
  rkt.fails(["prepare", baseId, "--exec=/bin/true"], 254, DAMAGED);
  rkt.ok(["fetch", base]);
  rkt.ok(["prepare", baseId, "--exec=/bin/true"]);
  const trees = readdirSync(join(rkt.dir, "cas/tree")).filter((tree) => tree.includes(baseId.slice(7)));
  assert.deepEqual(trees.sort(), [`tree-2-${baseId.slice(7)}`, `tree-2-${baseId.slice(7)}-unchecked`]);
});

test("verify of the whole store names a blob that is no image, and takes in one that the index has lost", (t) => {
  if (!requires(t, "root", "build")) return;
  const { rkt, id, blob } = renderedImage(t);
  for (const file of globSync("cas/index.sqlite*", { cwd: rkt.dir })) rmSync(join(rkt.dir, file));
  const stranger = `sha512-${"0".repeat(64)}`;
  mkdirSync(join(rkt.dir, "cas/blob/sha512/00"), { recursive: true });
  writeFileSync(join(rkt.dir, "cas/blob/sha512/00", stranger), readFileSync(blob));
  const { stdout } = rkt.fails(["image", "verify"], 254, /1 damage/);
  assert.match(stdout, new RegExp(`^damaged ${stranger.slice(0, 39)}: its blob is no image of that hash$`, "m"));
  assert.match(stdout, new RegExp(`^good    ${id.slice(0, 39)}`, "m"));
});

test("gc: what nobody has used for the grace period goes; what containers have, and its dependencies, stays", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const names = (): string[] =>
    stored(rkt)
      .filter((name) => !name.includes("stage1"))
      .sort();
  const trees = (): number => readdirSync(join(rkt.dir, "cas/tree")).length;
  add(rkt, { name: "example.com/base" });
  const top = add(rkt, {
    name: "example.com/top",
    entries: [{ name: "rootfs/bin/true", mode: 0o755 }],
    over: { dependencies: [{ imageName: "example.com/base" }] },
  });
  add(rkt, { name: "example.com/idle" });
  const uuid = rkt.ok(["prepare", "--pull-policy=never", top]).stdout.trim();
  assert.equal(rkt.ok(["image", "gc"]).stdout, "", "all were used today");
  assert.deepEqual(names(), ["example.com/base", "example.com/idle", "example.com/top"]);

  assert.match(
    rkt.ok(["image", "gc", "--grace-period=0"]).stdout,
    /^removed image sha512-\S+ example\.com\/idle \(2\.5 KiB\)\n$/,
  );
  assert.deepEqual(names(), ["example.com/base", "example.com/top"]);
  assert.equal(trees(), 2, "the image's and stage1's");
  rkt.ok(["rm", uuid]);
  const done = rkt.ok(["image", "gc", "--grace-period=0"]).stdout;
  assert.equal(done.match(/^removed image /gm)?.length, 3, done);
  assert.equal(done.match(/^removed tree-/gm)?.length, 2, done);
  assert.deepEqual([stored(rkt), trees(), readdirSync(join(rkt.dir, "cas/tmp"))], [[], 0, []]);
  assert.deepEqual(globSync("cas/{blob/sha512/*,tree}/*", { cwd: rkt.dir }), []);
  assert.deepEqual(readdirSync(join(rkt.dir, "cas/locks")), ["store"]);
  rkt.fails(["image", "gc", "--grace-period=soon"], 2, /"soon" is no duration/);
});

test("gc beside fetches and starts takes nothing from them", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const program: Entry = { name: "rootfs/bin/true", mode: 0o755 };
  const images = [...Array(8).keys()].map((i) =>
    gzipped(
      makeAci([{ name: "rootfs/x", data: `${i}`.repeat(300_000) }, program], manifest({ name: `example.com/i${i}` })),
    ),
  );
  const files = images.map((image, i) => scratchFile(rkt, `i${i}.aci`, image));
  // The store with stage1 in it is put there for the first command that asks for it: before anybody works on it.
  rkt.ok(["run", "--help"]);
  let stop = false;
  const collector = async () => {
    let rounds = 0;
    for (; !stop; rounds++) {
      const gc = await finished(rkt.start(["image", "gc", "--grace-period=0"]));
      assert.equal(gc.status, 0, gc.stderr);
    }
    return rounds;
  };
  const gcs = collector();
  const work = await Promise.all(
    files.flatMap((file) => [rkt.start(["fetch", file]), rkt.start(["prepare", file])]).map(finished),
  );
  stop = true;
  assert.ok((await gcs) > 0);
  for (const done of work) assert.equal(done.status, 0, done.stderr);
  assert.equal(rkt.containers().length, images.length);
  rkt.ok(["image", "verify"]);
  const trees = readdirSync(join(rkt.dir, "cas/tree"));
  assert.equal(trees.length, images.length + 1, "every container has its tree, and stage1's");
});

function project(rkt: Rkt, name = "example.com/tools/date"): string[] {
  const labels = [{ name: "version", value: "1.0" }];
  const file = scratchFile(rkt, "manifest.json", manifest({ name, labels }));
  const root = join(rkt.scratch, "root");
  mkdirSync(join(root, "bin"), { recursive: true });
  writeFileSync(join(root, "bin/date"), "#!/bin/sh\n", { mode: 0o755 });
  return ["image", "build", `--manifest=${file}`, `--rootfs=${root}`];
}

test("build: the same image each time, valid for actool, and rkt takes it", (t) => {
  if (!requires(t, "root", "build", "actool")) return;
  const rkt = makeRkt(t);
  const line = project(rkt);
  const first = rkt.ok([...line, "--owner=0:0"]);
  const file = join(rkt.scratch, "date-1.0.aci");
  assert.match(first.stderr, /^rkt: date-1\.0\.aci: \d+ B, \d\S* KiB unpacked\n$/);
  shell(`actool validate ${file}`, rkt.scratch);
  utimesSync(join(rkt.scratch, "root/bin/date"), 5, 5);
  const again = rkt.ok([...line, "--owner=0:0", "--output=again.aci", "--compression=none"]);
  assert.equal(again.stdout, first.stdout);
  assert.equal(rkt.ok(["fetch", file]).stdout.trim(), first.stdout.slice(0, 39));
  const digest = createHash("sha512")
    .update(readFileSync(join(rkt.scratch, "again.aci")))
    .digest("hex");
  assert.equal(first.stdout, `sha512-${digest}\n`);

  rkt.fails(["image", "build", "--rootfs=root"], 2, /--manifest and --rootfs are needed/);
  rkt.fails([...line, "--rootfs=elsewhere"], 2, /--rootfs is given twice/);
  rkt.fails([...line, "--owner=me"], 2, /--owner takes UID:GID/);
  rkt.fails(["image", "build", "--manifest=none.json", "--rootfs=root"], 2, /there is no none\.json/);
  scratchFile(rkt, "manifest.json", "{}");
  rkt.fails([...line, "--output=bad.aci"], 254, /manifest\.json: acKind/);
  assert.ok(!existsSync(join(rkt.scratch, "bad.aci")));
});

test("build --sign: a signature that gpg verifies and rkt believes; none, and no image, when gpg cannot", (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  const rkt = makeRkt(t);
  const gpg = makeGpg();
  const builder = gpg.newKey("Builder");
  const env = { GNUPGHOME: gpg.home };
  const line = [...project(rkt), "--output=signed.aci"];
  rkt.fails([...line, "--sign=nobody@example.com"], 254, /cannot sign: gpg ended with status 2/, { env });
  assert.deepEqual(globSync("signed*", { cwd: rkt.scratch }), []);
  rkt.ok([...line, `--sign=${builder}`], { env });
  const at = (name: string) => join(rkt.scratch, name);
  const verdict = spawnSync("gpg", ["--verify", at("signed.aci.asc"), at("signed.aci")], {
    env: { ...process.env, ...env },
  });
  assert.equal(verdict.status, 0, verdict.stderr.toString());

  const config = [`--local-config=${at("config")}`, `--system-config=${at("none")}`];
  rkt.fails([...config, "fetch", at("signed.aci")], 254, /is not trusted/);
  scratchFile(rkt, "key.asc", gpg.export(builder));
  rkt.ok([...config, "trust", "--skip-fingerprint-review", "--prefix=example.com/tools", at("key.asc")]);
  assert.match(rkt.ok([...config, "fetch", at("signed.aci")]).stderr, /^rkt: signature verified:\n {2}Builder /);
  rkt.ok([...line, "--sign"], { env });

  chownSync(gpg.home, 65534, 0);
  for (const [at, how] of Object.entries({ GNUPGHOME: gpg.home, HOME: gpg.home }))
    rkt.fails([...project(rkt), "--output=other.aci", "--sign"], 254, /cannot sign: gpg's directory/, {
      env: { GNUPGHOME: "", [at]: how },
    });
  chownSync(gpg.home, 0, 0);
  assert.deepEqual(globSync("other*", { cwd: rkt.scratch }), []);
  assert.match(rkt.ok([...config, "fetch", at("signed.aci")]).stdout, /^sha512-/, "gpg's default key");
});

test("what is written beside an output has no name that somebody can take first, or lose a file by", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const id = add(rkt, { name: "example.com/a", entries: [{ name: "rootfs/x", data: "x" }] });
  const out = join(rkt.scratch, "out");
  for (const words of [["export"], ["extract"], ["render"], ["render", "--rootfs-only"], ["export", "--overwrite"]]) {
    // The shell becomes rkt: its pid is known beforehand.
    const script = 'echo mine >"$1.$$.tmp"; out=$1; shift; exec "$@" "$out"';
    const line = [rktBinary, `--dir=${rkt.dir}`, "image", ...words, id];
    const done = spawnSync("sh", ["-c", script, "sh", out, ...line], { encoding: "utf8" });
    assert.equal(done.status, 0, done.stderr);
    const left = readdirSync(rkt.scratch).filter((name) => name.startsWith("out."));
    assert.deepEqual(left, [`out.${done.pid}.tmp`], words.join(" "));
    assert.equal(readFileSync(join(rkt.scratch, left[0] ?? ""), "utf8"), "mine\n");
    rmSync(join(rkt.scratch, left[0] ?? ""));
    rmSync(out, { recursive: true });
  }
});

test("a manifest does not reach the terminal raw", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const value = "\u009b31m\u202e\u2066x";
  const id = add(rkt, {
    name: "example.com/a",
    version: value,
    entries: [{ name: "rootfs/bin/true", mode: 0o755 }],
    over: { annotations: [{ name: "authors", value }] },
  });
  for (const words of [["image", "cat-manifest", id], ["image", "list", "--format=json"], ["cat-manifest"]]) {
    const uuid = words.length === 1 ? [rkt.ok(["prepare", `--annotation=x=${value}`, id]).stdout.trim()] : [];
    const { stdout } = rkt.ok([...words, ...uuid]);
    assert.ok(stdout.includes("\\u009b31m\\u202e\\u2066x"), stdout);
    assert.doesNotMatch(stdout, /[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
  }
});
