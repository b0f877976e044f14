/** Images of local files: what skopeo, podman, umoci and we ourselves write, and what hostile ones would like. */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Entry, tar } from "../fixtures/aci.ts";
import { dir, file } from "../fixtures/oci-images.ts";
import { ociImage, type OciImage, sha256, writeLayout } from "../helpers/oci.ts";
import { makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

/** An image that prints `text`. */
const image = (text: string, over = {}): OciImage =>
  ociImage(
    [
      [dir("bin"), file("bin/busybox", "", { data: readFileSync("/bin/busybox"), mode: 0o755 })],
      [file("text", `${text}\n`)],
    ],
    { config: { Entrypoint: ["/bin/busybox"], Cmd: ["cat", "/text"] }, over },
  );

function setup(t: TestContext, ...more: string[]): Rkt | undefined {
  return requires(t, "root", "build", ...more) ? makeRkt(t) : undefined;
}

const skopeo = (...args: string[]) => execFileSync("skopeo", ["--insecure-policy", "copy", ...args], { stdio: "pipe" });

function layout(rkt: Rkt, name: string, text = name, ref = "latest"): string {
  const path = join(rkt.scratch, name);
  writeLayout(path, image(text), ref);
  return path;
}

test("each kind of file that skopeo writes, plain and compressed, runs", (t) => {
  const rkt = setup(t, "overlay", "skopeo", "gzip", "zstd", "xz");
  if (rkt === undefined) return;
  const from = layout(rkt, "app");
  const at = (name: string) => join(rkt.scratch, name);
  skopeo(`oci:${from}:latest`, `oci-archive:${at("o.tar")}:v1`);
  skopeo(`oci:${from}:latest`, `docker-archive:${at("d.tar")}:example.com/team/app:v1`);
  for (const [compressed, program] of [["gz", "gzip"], ["zst", "zstd"], ["xz", "xz"]] as const)
    for (const name of ["o.tar", "d.tar"])
      writeFileSync(at(`${name}.${compressed}`), execFileSync(program, ["-c", at(name)], { maxBuffer: 1 << 28 }));

  const ids = new Map<string, string>();
  for (const text of [
    `oci:${from}`,
    `oci:${from}:latest`,
    `oci-archive:${at("o.tar")}`,
    `oci-archive:${at("o.tar")}:v1`,
    `oci-archive:${at("o.tar.gz")}`,
    `oci-archive:${at("o.tar.zst")}`,
    `docker-archive:${at("d.tar")}`,
    `docker-archive:${at("d.tar")}:example.com/team/app:v1`,
    `docker-archive:${at("d.tar.gz")}`,
    `docker-archive:${at("d.tar.xz")}:@0`,
  ]) {
    const ran = rkt.ok(["run", text]);
    assert.equal(ran.stdout.trim(), "app", text);
    ids.set(text, rkt.ok(["fetch", text]).stdout);
  }
  // The image is what is in the file, not where the file is.
  assert.equal(ids.get(`docker-archive:${at("d.tar")}`), ids.get(`docker-archive:${at("d.tar.xz")}:@0`));
  assert.equal(ids.get(`oci-archive:${at("o.tar")}`), ids.get(`oci-archive:${at("o.tar.gz")}`));
  const names = rkt.ok(["image", "list", "--no-legend", "--fields=name"]).stdout;
  assert.match(names, /^example\.com\/team\/app/m);
  // What `rkt fetch` was given as a file is found by its name.
  assert.equal(rkt.ok(["run", "example.com/team/app"]).stdout.trim(), "app");
  rkt.ok(["image", "cat-manifest", `oci:${from}`]);
});

test("podman save, of both kinds, and umoci", (t) => {
  const rkt = setup(t, "overlay", "podman", "umoci", "skopeo");
  if (rkt === undefined) return;
  const from = layout(rkt, "app");
  const root = join(rkt.scratch, "podman");
  const podman = (...args: string[]) =>
    execFileSync("podman", [`--root=${root}`, `--runroot=${root}.run`, "--storage-driver=vfs", ...args], { encoding: "utf8" });
  const base = join(rkt.scratch, "base.tar");
  skopeo(`oci:${from}:latest`, `docker-archive:${base}:example.com/base:1`);
  podman("load", "-q", "-i", base);
  podman("tag", "example.com/base:1", "example.com/one:1", "example.com/two:2");
  for (const kind of ["docker-archive", "oci-archive"]) {
    const saved = join(rkt.scratch, `${kind}.tar`);
    podman("save", "-q", `--format=${kind}`, "-o", saved, "example.com/one:1");
    assert.equal(rkt.ok(["run", `${kind}:${saved}`]).stdout.trim(), "app", kind);
    assert.match(rkt.ok(["image", "list", "--no-legend", "--fields=name"]).stdout, /^example\.com\/one/m);
  }
  execFileSync("umoci", ["config", "--image", `${from}:latest`, "--tag=new", "--config.cmd=echo", "--config.cmd=by umoci"]);
  assert.equal(rkt.ok(["run", `oci:${from}:new`]).stdout.trim(), "by umoci");
});

test("several images without a REF: the error lists them", (t) => {
  const rkt = setup(t, "skopeo", "overlay");
  if (rkt === undefined) return;
  const at = join(rkt.scratch, "many");
  for (const ref of ["one", "two"]) skopeo(`oci:${layout(rkt, ref)}:latest`, `oci:${at}:${ref}`);
  rkt.fails(["run", `oci:${at}`], 254, /oci:\S+ has several images\nhint: name one after a colon: one, two$/m);
  rkt.fails(["run", `oci:${at}:three`], 254, /it has no such image\nhint: it has one, two$/m);
  assert.equal(rkt.ok(["run", `oci:${at}:two`]).stdout.trim(), "two");
  assert.equal(rkt.ok(["run", `oci:${at}:@0`]).stdout.trim(), "one");

  const archive = docker([
    { name: ["app:1", "app:latest"], image: image("first") },
    { name: null, image: image("second") },
  ]);
  const path = scratchFile(rkt, "many.tar", archive);
  const whole = "docker\\.io/library/app:1";
  rkt.fails(["run", `docker-archive:${path}`], 254, new RegExp(`several images\\nhint: name one after a colon: ${whole}, @1$`, "m"));
  assert.equal(rkt.ok(["run", `docker-archive:${path}:app`]).stdout.trim(), "first");
  assert.equal(rkt.ok(["run", `docker-archive:${path}:docker.io/library/app:1`]).stdout.trim(), "first");
  assert.equal(rkt.ok(["run", `docker-archive:${path}:@1`]).stdout.trim(), "second");
});

interface Saved {
  name: string[] | null;
  image: OciImage;
}

/** As `docker save` of old wrote it: a layer that was there before is a link to it. */
function docker(images: Saved[], change: (entries: Entry[]) => Entry[] = (entries) => entries): Buffer {
  const entries: Entry[] = [];
  const places = new Map<string, string>();
  const list = images.map(({ name, image: { config, layers } }) => {
    const id = sha256(config).slice(7);
    entries.push({ name: `${id}.json`, data: config });
    const paths = layers.map(({ digest, bytes }, i) => {
      const path = `${id}${i}/layer.tar`;
      const there = places.get(digest);
      places.set(digest, path);
      entries.push(there === undefined ? { name: path, data: bytes } : { name: path, type: "2", link: `../${there}` });
      return path;
    });
    return { Config: `${id}.json`, RepoTags: name, Layers: paths };
  });
  return tar(change([...entries, { name: "manifest.json", data: JSON.stringify(list) }]));
}

test("an archive that was not changed is not read again; one that was is", (t) => {
  const rkt = setup(t, "overlay", "strace");
  if (rkt === undefined) return;
  const path = scratchFile(rkt, "a.tar", docker([{ name: ["app:1"], image: image("first") }]));
  const first = rkt.ok(["fetch", `docker-archive:${path}`]).stdout;
  assert.equal(rkt.ok(["fetch", `docker-archive:${path}`]).stdout, first);
  writeFileSync(`${path}.new`, docker([{ name: ["app:1"], image: image("changed") }]));
  renameSync(`${path}.new`, path);
  assert.equal(rkt.ok(["run", `docker-archive:${path}`]).stdout.trim(), "changed");
});

test("for several platforms", (t) => {
  const rkt = setup(t, "overlay");
  if (rkt === undefined) return;
  const at = join(rkt.scratch, "both");
  const [amd, arm] = [image("amd"), image("arm", { architecture: "arm64" })];
  writeLayout(at, arm);
  writeLayout(at, amd);
  const entry = (of: OciImage, architecture: string) => ({
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: sha256(of.manifest),
    size: of.manifest.length,
    platform: { os: "linux", architecture },
  });
  const manifests = [entry(arm, "arm64"), entry(amd, "amd64")];
  writeFileSync(join(at, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  assert.equal(rkt.ok(["run", `oci:${at}`]).stdout.trim(), "amd");
  const other = rkt.ok(["fetch", "--platform=linux/arm64", `oci:${at}`]).stdout;
  assert.notEqual(other, rkt.ok(["fetch", `oci:${at}`]).stdout);
  rkt.fails(["fetch", "--platform=linux/riscv64", `oci:${at}`], 254, /is not for linux\/riscv64\nhint: it is for linux\/amd64, linux\/arm64$/m);
});

// --- what is wrong with a file ---------------------------------------------------------------------------

/** Nothing is left: no image, and no temporary file. */
function refused(rkt: Rkt, text: string, message: RegExp): void {
  rkt.fails(["fetch", text], 254, message);
  assert.equal(rkt.ok(["image", "list", "--no-legend"]).stdout, "");
  for (const place of ["tmp", "layer/blob/sha256", "blob/sha512"])
    assert.deepEqual(readdirSync(join(rkt.dir, "cas", place)), [], place);
}

const layouts: [name: string, spoil: (dir: string) => void, message: RegExp][] = [
  ["no index", (at) => renameSync(join(at, "index.json"), join(at, "x")), /is no OCI layout: it has no index\.json/],
  ["no marker", (at) => renameSync(join(at, "oci-layout"), join(at, "x")), /it has no oci-layout/],
  ["another version", (at) => writeFileSync(join(at, "oci-layout"), '{"imageLayoutVersion":"2.0.0"}'), /a version that rkt does not know/],
  ["an index that is a link", (at) => link(at, "index.json"), /index\.json can't be read: .*ELOOP\nhint: rkt follows no link/],
  ["blobs that are a link", (at) => link(at, "blobs"), /ELOOP/],
  ["an index that is a directory", (at) => replaced(at, (path) => mkdirSync(path)), /is no regular file/],
  ["an index that is a pipe", (at) => replaced(at, (path) => execFileSync("mkfifo", [path])), /is no regular file/],
  ["an index that is huge", (at) => execFileSync("truncate", ["-s", "1G", join(at, "index.json")]), /more than 4194304/],
  ["no image", (at) => writeFileSync(join(at, "index.json"), '{"schemaVersion":2,"manifests":[]}'), /has no image/],
  ["a layer that is gone", (at) => eachBlob(at, 20_000, (path) => renameSync(path, `${path}.x`)), /has no sha256:[0-9a-f]{64}\nhint: the layout is not whole/],
  ["a layer that is cut", (at) => eachBlob(at, 20_000, (path) => execFileSync("truncate", ["-s", "100", path])), /sha256:|cut|size/],
  ["a layer of other bytes", (at) => eachBlob(at, 20_000, (path) => flip(path)), /digest|damaged/],
  ["a manifest of other bytes", (at) => eachBlob(at, 0, (path) => flip(path)), /is not what its name says/],
];

function replaced(at: string, make: (path: string) => void): void {
  renameSync(join(at, "index.json"), join(at, "moved"));
  make(join(at, "index.json"));
}

function link(at: string, name: string): void {
  renameSync(join(at, name), join(at, "moved"));
  symlinkSync("moved", join(at, name));
}

/** Those that are at least so large; all are otherwise. */
function eachBlob(at: string, least: number, change: (path: string) => void): void {
  const { stdout } = spawnSync("find", [join(at, "blobs"), "-type", "f", "-size", `+${least}c`], { encoding: "utf8" });
  for (const path of stdout.split("\n").filter((line) => line !== "")) change(path);
}

function flip(path: string): void {
  const bytes = readFileSync(path);
  bytes[Math.floor(bytes.length / 2)] = (bytes[Math.floor(bytes.length / 2)] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

for (const [name, spoil, message] of layouts)
  test(`a layout with ${name}`, (t) => {
    const rkt = setup(t);
    if (rkt === undefined) return;
    const at = layout(rkt, "app");
    spoil(at);
    refused(rkt, `oci:${at}`, message);
  });

const archives: [name: string, change: (entries: Entry[]) => Entry[], message: RegExp][] = [
  ["no manifest", (entries) => entries.slice(0, -1), /has no manifest\.json/],
  ["two manifests", (entries) => [...entries, entries.at(-1) as Entry], /manifest\.json is there twice/],
  ["a layer that is gone", (entries) => entries.filter(({ name }) => !String(name).endsWith("0/layer.tar")), /has no \S+\/layer\.tar, which its manifest\.json names/],
  ["a link out of it", (entries) => entries.map((entry) => (String(entry.name).endsWith("0/layer.tar") ? { name: entry.name, type: "2", link: "../../../etc/passwd" } : entry)), /has no \S+\/layer\.tar/],
  ["a link to a file of the host", (entries) => entries.map((entry) => (String(entry.name).endsWith(".json") && entry.name !== "manifest.json" ? { name: entry.name, type: "2", link: "/etc/passwd" } : entry)), /has no \S+\.json/],
  ["a link to itself", (entries) => entries.map((entry) => (String(entry.name).endsWith("0/layer.tar") ? { name: entry.name, type: "2", link: "layer.tar" } : entry)), /a link to a link/],
  ["another layer", (entries) => entries.map((entry) => (String(entry.name).endsWith("1/layer.tar") ? { ...entry, data: tar([file("x")]) } : entry)), /digest|diff/],
  ["fewer layers", (entries) => entries.map((entry) => (entry.name === "manifest.json" ? { ...entry, data: String(entry.data).replace(/,"[^"]*1\/layer\.tar"/, "") } : entry)), /says 2 layers, and manifest\.json 1/],
  ["a size that lies", (entries) => entries.map((entry) => (entry.name === "manifest.json" ? { ...entry, size: 1 << 30 } : entry)), /cut short/],
  ["a path that climbs", (entries) => [{ name: "../../evil", data: "x" }, ...entries], /\.\./],
];

for (const [name, change, message] of archives)
  test(`an archive with ${name}`, (t) => {
    const rkt = setup(t);
    if (rkt === undefined) return;
    const path = scratchFile(rkt, "a.tar", docker([{ name: ["app:1"], image: image("app") }], change));
    refused(rkt, `docker-archive:${path}`, message);
  });

test("what is no such file at all", (t) => {
  const rkt = setup(t);
  if (rkt === undefined) return;
  const text = scratchFile(rkt, "text", "no archive\n".repeat(1000));
  refused(rkt, `docker-archive:${text}`, /is no archive of images/);
  refused(rkt, `oci-archive:${rkt.scratch}/none`, /cannot open the archive: open \S+: ENOENT/);
  refused(rkt, `oci:${rkt.scratch}/none`, /cannot open the OCI layout/);
  refused(rkt, `oci:${text}`, /hint: is it an archive\? oci-archive:/);
  refused(rkt, `oci-archive:${layout(rkt, "dir")}`, /is a directory\nhint: an OCI layout is oci:/);
  refused(rkt, "docker-archive:/dev/zero", /is no regular file/);
  const bomb = scratchFile(rkt, "bomb.gz", execFileSync("sh", ["-c", "head -c 1500M /dev/zero | gzip -1"], { maxBuffer: 1 << 28 }));
  refused(rkt, `docker-archive:${bomb}`, /unpacks to more than|is no archive/);
  for (const bad of ["oci:", "oci:dir:", "docker-archive::x", "oci-archive:x:a b"]) rkt.fails(["fetch", bad], 2, /no path|can't be one/);
  rkt.fails(["fetch", "--signature=x", `oci:${text}`], 2, /is for App Container images/);
});
