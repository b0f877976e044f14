import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parseImageManifest } from "../shared/schema/image-manifest.ts";
import { CACHE, ROOT } from "./paths.ts";
import { buildStage1, STAGE1_DEFAULTS, stage1Manifest } from "./stage1-image.ts";

let directory: string;
let root: string;
let image: Awaited<ReturnType<typeof buildStage1>>;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "rkt-stage1-image-"));
  root = join(directory, "root");
  const standIn = join(directory, "stand-in");
  writeFileSync(standIn, "#!/bin/sh\nexit 0\n");
  image = await buildStage1({
    ...STAGE1_DEFAULTS,
    output: join(directory, "stage1.aci"),
    init: standIn,
    launcher: standIn,
    packages: ["mawk"],
    files: [{ source: standIn, target: "/usr/local/bin/added" }],
    keepTree: root,
  });
});

after(() => rmSync(directory, { recursive: true, force: true }));

test("actool accepts it, and it is at most 64 MB without the network plugins", () => {
  execFileSync("actool", ["validate", join(directory, "stage1.aci")], { stdio: "pipe" });
  const plugins = execFileSync("tar", ["-cz", "-C", join(root, "usr/lib"), "cni"], { maxBuffer: 1 << 28 });
  const size = image.size - plugins.length;
  assert.ok(size <= 64e6, `${size} bytes`);
});

test("every entrypoint that the manifest names is an executable of the image", () => {
  const { annotations } = parseImageManifest(
    stage1Manifest("example.com/stage1", { entrypoints: ["init", "enter", "stop"], privateUsers: true, ipc: ["parent"], sockets: true }),
  );
  const entrypoints = annotations.filter((a) => a.value.startsWith("/"));
  assert.deepEqual(entrypoints.map((a) => a.value).sort(), ["/init", "/usr/lib/rkt/enter", "/usr/lib/rkt/stop"]);
  for (const { value } of entrypoints) accessSync(join(root, value), constants.X_OK);
});

test("the packages are listed with their versions", () => {
  const list = readFileSync(join(root, "usr/share/rkt/packages.txt"), "utf8");
  const version = execFileSync("apt-cache", ["show", "--no-all-versions", "systemd"]).toString();
  assert.match(
    list,
    new RegExp(`^systemd ${/^Version: (.*)$/m.exec(version)?.[1]?.replaceAll(/[.+~]/g, "\\$&")}$`, "m"),
  );
  for (const name of ["libc6", "mawk", "systemd-container"]) assert.match(list, new RegExp(`^${name} \\d`, "m"));
});

test("its parts are listed as SPDX, each with its licence beside it", () => {
  const { spdxVersion, packages, relationships } = JSON.parse(
    readFileSync(join(root, "usr/share/rkt/sbom.spdx.json"), "utf8"),
  );
  assert.equal(spdxVersion, "SPDX-2.3");
  const listed = readFileSync(join(root, "usr/share/rkt/packages.txt"), "utf8").trimEnd().split("\n");
  const named = packages.slice(1).map((p: { name: string; versionInfo: string }) => `${p.name} ${p.versionInfo}`);
  assert.deepEqual(
    named.filter((one: string) => !one.startsWith("bun ")),
    listed,
  );
  assert.equal(relationships.length, packages.length);
  const ids = new Set(packages.map((p: { SPDXID: string }) => p.SPDXID));
  assert.equal(ids.size, packages.length);
  for (const name of ["rkt", "bun", ...listed.map((line) => line.replace(/ .*/, ""))])
    assert.match(readFileSync(join(root, `usr/share/doc/${name}/copyright`), "utf8"), /licen[cs]e/i);
});

test("no documentation but licences, no locales or hardware lists", () => {
  assert.deepEqual(readdirSync(join(root, "usr/share")), ["doc", "rkt"]);
  const documents = readdirSync(join(root, "usr/share/doc"), { recursive: true, withFileTypes: true });
  assert.deepEqual([...new Set(documents.filter((d) => d.isFile()).map((d) => d.name))], ["copyright"]);
  for (const path of ["usr/lib/udev", "usr/share/locale", "usr/lib/locale"])
    assert.ok(!existsSync(join(root, path)), path);
});

test("--package and --file add to it", () => {
  const awk = spawnSync("chroot", [root, "/usr/bin/mawk", "BEGIN { print 6 * 7 }"], { encoding: "utf8" });
  assert.equal(awk.stdout, "42\n");
  assert.match(readFileSync(join(root, "usr/local/bin/added"), "utf8"), /^#!\/bin\/sh/);
});

test("every library that a program of the image needs is in the image", () => {
  const loader = "/usr/lib64/ld-linux-x86-64.so.2";
  const programs = ["usr/lib/rkt/stage1", "usr/bin/nsenter", "usr/bin/systemd-nspawn", "usr/lib/systemd/systemd"];
  for (const program of programs) {
    const run = spawnSync("chroot", [root, loader, "--list", `/${program}`], { encoding: "utf8" });
    assert.equal(run.status, 0, `${program}: ${run.stderr}`);
    assert.doesNotMatch(run.stdout, /not found/, program);
  }
});

test("nspawn, with the image's own loader and libraries, boots its systemd and returns a unit's status", () => {
  const units = join(root, "etc/systemd/system");
  mkdirSync(units, { recursive: true });
  writeFileSync(join(units, "default.target"), "[Unit]\nDefaultDependencies=no\nWants=probe.service\n");
  writeFileSync(
    join(units, "probe.service"),
    "[Unit]\nDefaultDependencies=no\nSuccessAction=exit-force\nFailureAction=exit-force\n" +
      `[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo probe >/probe; exit 3'\n`,
  );
  // Ours ends with what stage 1 recorded; here it is to be systemd's own status, in --exit-code=N.
  const shutdown = join(root, "usr/lib/systemd/systemd-shutdown");
  writeFileSync(
    shutdown,
    '#!/bin/sh\nfor word; do case $word in --exit-code=*) IFS==; set -- $word; exit "$2" ;; esac; done\n',
    { mode: 0o755 },
  );
  const libraries = join(root, "usr/lib/x86_64-linux-gnu");
  const nspawn = [
    join(root, "usr/lib64/ld-linux-x86-64.so.2"),
    "--library-path",
    `${libraries}:${libraries}/systemd`,
    join(root, "usr/bin/systemd-nspawn"),
    ...["--quiet", "--register=no", "--keep-unit", "--settings=no", "--console=pipe", `--directory=${root}`, "--boot"],
    ...["--", "--log-target=null", "--show-status=0"],
  ];
  // nspawn insists on a tmpfs at /run for its sockets.
  const run = spawnSync("unshare", ["--mount", "sh", "-c", 'mount -t tmpfs run /run && exec "$@"', "sh", ...nspawn], {
    encoding: "utf8",
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  assert.equal(run.status, 3, run.stderr);
  assert.equal(readFileSync(join(root, "probe"), "utf8"), "probe\n");
});

test("another directory, the same image", () => {
  const ids = ["one", "another/place"].map((name) => {
    const copy = join(directory, name);
    checkout(copy);
    // What a checkout of git's may have and another not: an empty directory, and a file mode by umask.
    if (name !== "one") {
      mkdirSync(join(copy, "stage1/nspawn/rootfs/stray/empty"), { recursive: true });
      chmodSync(join(copy, "stage1/nspawn/rootfs/usr/lib/rkt/record"), 0o700);
    }
    const args = ["build/stage1-image.ts", "--compression=none", `--cache=${CACHE}`, "--launcher=build/elf.ts"];
    const run = spawnSync(process.execPath, ["--no-warnings", ...args], { cwd: copy, encoding: "utf8" });
    assert.equal(run.status, 0, run.stderr);
    return /^sha512-.*$/m.exec(run.stdout)?.[0];
  });
  assert.ok(ids[0] !== undefined);
  assert.equal(ids[0], ids[1]);
});

function stage1Program(...args: string[]) {
  return spawnSync(process.execPath, ["--no-warnings", join(ROOT, "build/stage1-image.ts"), ...args], {
    encoding: "utf8",
  });
}

test("--help says where files come from, and how to choose the output, the flavor, files and packages", () => {
  const { status, stdout, stderr } = stage1Program("--help");
  assert.deepEqual([status, stderr], [0, ""]);
  assert.match(stdout, /The Debian files come from packages that apt downloads/);
  for (const option of ["--output FILE", "--flavor FLAVOR", "--from SOURCE", "--package NAME", "--file SRC:DST"])
    assert.ok(stdout.includes(`\n  ${option} `), option);
});

const mistakes = [
  { args: ["--flavor=qemu"], stderr: /^build:stage1: --flavor is one of nspawn, fly/ },
  { args: ["--file=/etc/passwd"], stderr: /^build:stage1: --file takes SRC:DST with an absolute DST/ },
  { args: ["--init=/no/such/init"], stderr: /^build:stage1: --init: there is no \/no\/such\/init/ },
  { args: ["--bogus"], stderr: /^build:stage1: .*--bogus.*\nhint: --help lists the options\n$/ },
];
for (const { args, stderr } of mistakes)
  test(`refused: ${args.join(" ")}`, () => {
    const done = stage1Program(...args, `--output=${join(directory, "refused.aci")}`);
    assert.equal(done.status, 2);
    assert.match(done.stderr, stderr);
    assert.ok(!existsSync(join(directory, "refused.aci")));
  });

/** The sources at another place, with the dependencies of this one. */
function checkout(to: string): void {
  for (const name of ["build", "shared", "stage1", "stage2", "package.json", "LICENSE"])
    cpSync(join(ROOT, name), join(to, name), { recursive: true });
  mkdirSync(join(to, "node_modules"));
  for (const name of readdirSync(join(ROOT, "node_modules")))
    if (name !== "systemd-unit-writer") symlinkSync(join(ROOT, "node_modules", name), join(to, "node_modules", name));
  symlinkSync("../shared/systemd-unit-writer", join(to, "node_modules/systemd-unit-writer"));
}
