import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type TestContext, test } from "node:test";
import { mkdirat, mkfifo, O_PATH, openat2 } from "../../shared/syscall/file.ts";
import { requires } from "../../test/helpers/rkt.ts";
import { removeTree } from "./remove-tree.ts";

function scratch(t: TestContext): { victim: string; tree: string } {
  // In memory: a disk would take a minute for what is to be shown here.
  const dir = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "rkt-remove-"));
  t.after(() => removeTree(dir));
  const [victim, tree] = [join(dir, "victim"), join(dir, "tree")];
  for (const one of [victim, tree]) mkdirSync(one);
  writeFileSync(join(victim, "secret"), "untouched");
  return { victim, tree };
}

/** Directories in one another, some with another and a file beside it. */
function makeDeep(top: string, depth: number): void {
  let fd = openSync(top, O_PATH | constants.O_DIRECTORY);
  for (let i = 0; i < depth; i++) {
    mkdirat(fd, "d", 0o755);
    if (i % 50 === 0) {
      mkdirat(fd, "other", 0o755);
      writeFileSync(`/proc/self/fd/${fd}/file`, "");
    }
    const next = openat2(fd, "d", O_PATH | constants.O_DIRECTORY, 0, 0);
    closeSync(fd);
    fd = next;
  }
  closeSync(fd);
}

const descriptors = (): number => readdirSync("/proc/self/fd").length;

test("a file, a link, nothing", (t) => {
  const { victim, tree } = scratch(t);
  writeFileSync(join(tree, "file"), "");
  symlinkSync(victim, join(tree, "link"));
  for (const name of ["file", "link", "nothing", "no/such"]) removeTree(join(tree, name));
  assert.deepEqual(readdirSync(tree), []);
  assert.equal(readFileSync(join(victim, "secret"), "utf8"), "untouched");
});

test("names of any bytes, closed directories, links, and what is no file", (t) => {
  const { victim, tree } = scratch(t);
  for (const name of ["closed", "-rf", "new\nline"]) mkdirSync(join(tree, name));
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.of(0xff, 0xfe, 0x20)]), "");
  mkdirSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.of(0xc3)]));
  symlinkSync(victim, join(tree, "closed/link"));
  symlinkSync(victim, join(tree, "link"));
  symlinkSync("link", join(tree, "new\nline/itself"));
  mkfifo(join(tree, "fifo"), 0o644);
  chmodSync(join(tree, "closed"), 0);
  removeTree(tree);
  assert.ok(!existsSync(tree));
  assert.deepEqual(readdirSync(victim), ["secret"]);
});

test("20,000 directories deep, with few descriptors", (t) => {
  const { tree } = scratch(t);
  makeDeep(tree, 20_000);
  // The runtime keeps some of its first child process.
  spawnSync("true");
  const before = descriptors();
  const script = `const { removeTree } = await import(${JSON.stringify(join(import.meta.dirname, "remove-tree.ts"))}); removeTree(process.argv[1]);`;
  const argv = [
    "--nofile=128",
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    "--input-type=module",
    "-e",
    script,
    tree,
  ];
  const done = spawnSync("prlimit", argv, { encoding: "utf8" });
  assert.equal(done.stderr, "");
  assert.ok(!existsSync(tree));
  assert.equal(descriptors(), before);
});

test("killed at any point, the next removal goes on", async (t) => {
  const { tree } = scratch(t);
  const script = `const { removeTree } = await import(${JSON.stringify(join(import.meta.dirname, "remove-tree.ts"))}); console.log(); removeTree(process.argv[1]);`;
  let cut = 0;
  for (const milliseconds of [5, 20, 50]) {
    mkdirSync(tree, { recursive: true });
    makeDeep(tree, 10_000);
    const argv = ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script, tree];
    const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    await setTimeout(milliseconds);
    child.kill("SIGKILL");
    await once(child, "close");
    if (existsSync(tree)) cut++;
    removeTree(tree);
    assert.ok(!existsSync(tree));
  }
  assert.ok(cut > 0, "one was cut short");
});

test("what is mounted is left alone, and named", (t) => {
  if (!requires(t, "root")) return;
  const { victim, tree } = scratch(t);
  mkdirSync(join(tree, "a/mounted"), { recursive: true });
  const mount = (...argv: string[]) => assert.equal(spawnSync("mount", argv).status, 0);
  mount("--bind", victim, join(tree, "a/mounted"));
  t.after(() => spawnSync("umount", [join(tree, "a/mounted")]));
  assert.throws(() => removeTree(tree), {
    code: "not-removed",
    message: `cannot remove ${tree}/a: openat2 mounted: EXDEV`,
    hint: /mounted/,
  });
  assert.equal(readFileSync(join(victim, "secret"), "utf8"), "untouched");
  spawnSync("umount", [join(tree, "a/mounted")]);
  removeTree(tree);
  rmSync(victim, { recursive: true });
});

/** As in docs/operate/security.md: the kernel lets nobody unlink what has one of these flags. */
for (const flag of ["i", "a"])
  test(`chattr +${flag}: on files, directories and the tree itself, at any depth; a link's target keeps it`, (t) => {
    if (!requires(t, "root", "chattr")) return;
    const { victim, tree } = scratch(t);
    const outside = join(victim, "secret");
    mkdirSync(join(tree, "a/b"), { recursive: true });
    mkdirSync(join(tree, "closed/within"), { recursive: true });
    makeDeep(tree, 100);
    for (const name of ["a/b/file", "a/file", "closed/file"]) writeFileSync(join(tree, name), "");
    chmodSync(join(tree, "closed"), 0);
    symlinkSync(outside, join(tree, "a/link"));
    const deep = `d${"/d".repeat(80)}`;
    const flagged = ["a/b/file", "closed/within", "closed", "a/b", "a", deep, "."].map((name) => join(tree, name));
    t.after(() => spawnSync("chattr", ["-R", "-ia", victim, tree], { stdio: "ignore" }));
    const done = spawnSync("chattr", [`+${flag}`, outside, ...flagged], { encoding: "utf8" });
    if (done.status !== 0) return t.skip(`no such flag here: ${done.stderr}`);
    removeTree(tree);
    assert.equal(existsSync(tree), false);
    assert.throws(() => writeFileSync(outside, "changed"), /EPERM/);
  });

test("what is immutable and stays so is named, with the way out", (t) => {
  if (!requires(t, "root", "chattr", "setpriv")) return;
  const { tree } = scratch(t);
  mkdirSync(join(tree, "a/b"), { recursive: true });
  writeFileSync(join(tree, "a/b/file"), "");
  t.after(() => spawnSync("chattr", ["-R", "-i", tree], { stdio: "ignore" }));
  assert.equal(spawnSync("chattr", ["+i", join(tree, "a/b/file")]).status, 0);
  const script = `import(${JSON.stringify(join(import.meta.dirname, "remove-tree.ts"))}).then(({ removeTree }) => {
    try { removeTree(${JSON.stringify(tree)}); } catch (error) { console.log(error.message + "\\n" + error.hint); }
  })`;
  const words = ["--bounding-set=-linux_immutable", process.execPath, ...process.execArgv, "-e", script];
  const { stdout } = spawnSync("setpriv", words, { encoding: "utf8" });
  assert.match(stdout, new RegExp(`^cannot remove ${tree}/a/b: .*EPERM\n.*CAP_LINUX_IMMUTABLE.*chattr -R -ia`));
  assert.ok(existsSync(join(tree, "a/b/file")));
});

/** A file system of so many megabytes in a file, mounted. */
function fileSystem(t: TestContext, megabytes: number, make: string, ...options: string[]): string {
  const dir = mkdtempSync(join(tmpdir(), "rkt-remove-"));
  const [image, at] = [join(dir, "image"), join(dir, "mounted")];
  const run = (program: string, ...argv: string[]) => {
    const done = spawnSync(program, argv, { encoding: "utf8" });
    assert.equal(done.status, 0, done.stderr);
  };
  t.after(() => {
    run("umount", at);
    removeTree(dir);
  });
  mkdirSync(at);
  writeFileSync(image, "");
  truncateSync(image, megabytes * 1024 ** 2);
  run(make, ...options, image);
  run("mount", "-o", "loop", image, at);
  return at;
}

/** Takes all blocks: those that files can have, and those that are kept for directories. */
function fill(at: string): void {
  const { bfree, bsize } = statfsSync(at);
  for (let n = 0, size = bfree; size > 0; n++)
    if (spawnSync("fallocate", ["-l", String(size * bsize), join(at, `filler-${n}`)]).status !== 0) size >>= 1;
  assert.throws(
    () => {
      for (let n = 0; ; n++) mkdirSync(join(at, `directory-${n}`));
    },
    { code: "ENOSPC" },
  );
}

test("a full disk is no obstacle: a deep tree goes without being moved", (t) => {
  if (!requires(t, "root", "mkfs.ext4", "fallocate")) return;
  const at = fileSystem(t, 8, "mkfs.ext4", "-q", "-b1024", "-m0", "-O^dir_index");
  const tree = join(at, "tree");
  // Its block of 1024 bytes is full, but for less than the entry of another name takes (ext4, "Linear Directories").
  for (let i = 0; i < 34; i++) mkdirSync(join(tree, String(i).padStart(i === 0 ? 24 : 20, "x")), { recursive: true });
  mkdirSync(join(tree, "z/".repeat(120)), { recursive: true });
  assert.equal(statSync(tree).size, 1024);
  fill(at);
  removeTree(tree);
  assert.ok(!existsSync(tree));
});

test("a read-only subvolume of btrfs, and one within it", (t) => {
  if (!requires(t, "root", "mkfs.btrfs", "btrfs")) return;
  const at = fileSystem(t, 128, "mkfs.btrfs", "-q");
  const btrfs = (...argv: string[]) => {
    const done = spawnSync("btrfs", argv, { encoding: "utf8" });
    assert.equal(done.status, 0, done.stderr);
  };
  const tree = join(at, "tree");
  mkdirSync(join(tree, "a"), { recursive: true });
  btrfs("subvolume", "create", join(tree, "a/outer"));
  btrfs("subvolume", "create", join(tree, "a/outer/inner"));
  mkdirSync(join(tree, "a/outer/inner/d"));
  writeFileSync(join(tree, "a/outer/inner/d/file"), "");
  btrfs("property", "set", join(tree, "a/outer/inner"), "ro", "true");
  btrfs("property", "set", join(tree, "a/outer"), "ro", "true");
  removeTree(tree);
  assert.ok(!existsSync(tree));
});

test("two removals of one tree at once: both succeed", async (t) => {
  const { tree } = scratch(t);
  makeDeep(tree, 3000);
  const script = `const { removeTree } = await import(${JSON.stringify(join(import.meta.dirname, "remove-tree.ts"))}); removeTree(process.argv[1]);`;
  const argv = ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script, tree];
  const children = [0, 1].map(() => spawn(process.execPath, argv, { stdio: ["ignore", "inherit", "pipe"] }));
  const ended = await Promise.all(children.map((child) => once(child, "close")));
  assert.deepEqual(ended, [[0, null], [0, null]]);
  assert.ok(!existsSync(tree));
});
