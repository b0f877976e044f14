import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ROOT } from "./paths.ts";

const MANIFEST = {
  acKind: "ImageManifest",
  acVersion: "0.8.11",
  name: "example.com/tools/date",
  labels: [
    { name: "version", value: "1.0" },
    { name: "os", value: "linux" },
  ],
};

/** A directory with a manifest and a root file system. */
function project(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "rkt-aci-cli-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(join(directory, "manifest.json"), JSON.stringify(MANIFEST));
  mkdirSync(join(directory, "root/bin"), { recursive: true });
  writeFileSync(join(directory, "root/bin/date"), "#!/bin/sh\ndate\n", { mode: 0o755 });
  return directory;
}

function aci(cwd: string, ...args: string[]) {
  const program = join(ROOT, "build/aci-cli.ts");
  return spawnSync(process.execPath, ["--no-warnings", program, ...args], { cwd, encoding: "utf8" });
}

test("the image is called by its name and labels, and actool accepts it", (t) => {
  const directory = project(t);
  const run = aci(directory, "--manifest=manifest.json", "--rootfs=root", "--owner=7:8");
  assert.equal(run.status, 0, run.stderr);
  const image = join(directory, "date-1.0-linux.aci");
  execFileSync("actool", ["validate", image], { stdio: "pipe" });
  const hash = execFileSync("sh", ["-c", 'gzip -dc "$0" | sha512sum', image], { encoding: "utf8" }).split(" ")[0];
  assert.equal(run.stdout, `sha512-${hash}\n`);
  const listing = execFileSync("tar", ["--list", "--verbose", "--numeric-owner", "--file", image, "rootfs/bin/date"]);
  assert.match(listing.toString(), /^-rwxr-xr-x 7\/8 /);
});

test("a copy made at another time gives the same image ID", (t) => {
  const directory = project(t);
  const copy = join(directory, "copy");
  cpSync(join(directory, "root"), copy, { recursive: true });
  utimesSync(join(copy, "bin/date"), 1e9, 1e9);
  const ids = ["root", "copy"].map((root) => aci(directory, "--manifest=manifest.json", `--rootfs=${root}`).stdout);
  assert.match(ids[0] ?? "", /^sha512-/);
  assert.equal(ids[0], ids[1]);
});

const refused: { name: string; args: string[]; status: number; stderr: RegExp }[] = [
  {
    name: "no manifest",
    args: ["--rootfs=root"],
    status: 2,
    stderr: /^build:aci: --manifest and --rootfs are needed\nhint: /,
  },
  { name: "an unknown option", args: ["--rootz"], status: 2, stderr: /^build:aci: Unknown option '--rootz'/ },
  {
    name: "a manifest that is not there",
    args: ["--manifest=m", "--rootfs=root"],
    status: 2,
    stderr: /^build:aci: --manifest: there is no .*\/m\n$/,
  },
  {
    name: "a root that is a file",
    args: ["--manifest=manifest.json", "--rootfs=manifest.json"],
    status: 2,
    stderr: /^build:aci: --rootfs: .*\/manifest.json is not a directory\n$/,
  },
  {
    name: "a manifest that breaks a rule",
    args: ["--manifest=bad.json", "--rootfs=root"],
    status: 254,
    stderr: /^build:aci: \S*\/bad\.json: name: /,
  },
  {
    name: "an unknown compression",
    args: ["--manifest=manifest.json", "--rootfs=root", "--compression=lzma"],
    status: 2,
    stderr: /^build:aci: --compression is one of gzip, xz, zstd, none, not lzma\n$/,
  },
];

for (const c of refused)
  test(`refused: ${c.name}`, (t) => {
    const directory = project(t);
    writeFileSync(join(directory, "bad.json"), JSON.stringify({ ...MANIFEST, name: "Not A Name" }));
    const before = readdirSync(directory);
    const run = aci(directory, ...c.args);
    assert.match(run.stderr, c.stderr);
    assert.equal(run.status, c.status);
    assert.deepEqual(readdirSync(directory), before);
  });

test("--help shows a manifest that works", (t) => {
  const directory = project(t);
  const help = aci(directory, "--help").stdout;
  const example = /<<EOF\n([\s\S]*?)EOF/.exec(help)?.[1];
  assert.ok(example !== undefined);
  writeFileSync(join(directory, "manifest.json"), example);
  assert.equal(aci(directory, "--manifest=manifest.json", "--rootfs=root").status, 0);
});
