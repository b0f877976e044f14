/** Files of an app, and of an image, that are made to keep root from its work, or to be more than they seem. */

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, lchownSync, mkdirSync, readdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { dist, exampleAci, finished, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

const PROGRAM = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
static void lease(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0644);
	signal(SIGIO, SIG_IGN);
	printf("%s %s\\n", path, fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0 ? strerrorname_np(errno) : "held");
}
static void set(const char *path, const char *name, const void *value, size_t size)
{
	if (setxattr(path, name, value, size, 0) < 0)
		printf("%s %s\\n", name, strerrorname_np(errno));
}
static void attributes(const char *path)
{
	struct { uint32_t version; struct { uint16_t tag, perm; uint32_t id; } e[6]; } acl =
		{2, {{1, 6, -1}, {2, 4, 1000}, {4, 4, -1}, {8, 5, 2000}, {16, 7, -1}, {32, 4, -1}}};
	uint32_t capabilities[5] = {0x02000001, 1 << 10, 0, 0, 0};
	close(open(path, O_CREAT | O_RDWR, 0644));
	set(path, "system.posix_acl_access", &acl, sizeof acl);
	set(path, "security.capability", capabilities, sizeof capabilities);
	mkdir("/directory", 0755);
	set("/directory", "system.posix_acl_default", &acl, sizeof acl);
}
int main(int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		argv[1][0] == 'l' ? lease(argv[i]) : attributes(argv[i]);
	puts("up");
	fflush(stdout);
	for (;;)
		pause();
}
`;

/** A container in which that program has said that it is up; it lies in a volume. */
async function started(t: TestContext, rkt: Rkt, options: readonly string[], args: readonly string[]) {
  const program = join(rkt.scratch, "program");
  execFileSync("gcc", ["-static", "-o", program, scratchFile(rkt, "program.c", PROGRAM)]);
  chmodSync(program, 0o755);
  const uuid = join(rkt.scratch, "uuid");
  const volume = `--volume=tools,kind=host,source=${rkt.scratch},readOnly=true`;
  const app = [busybox, "--mount=volume=tools,target=/tools", "--exec=/tools/program", "--", ...args];
  const child = rkt.start(["run", `--uuid-file-save=${uuid}`, ...options, volume, ...app]);
  t.after(() => child.kill("SIGKILL"));
  const done = finished(child);
  const said = await new Promise<string>((resolve) => {
    let text = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      text += chunk;
      if (text.endsWith("up\n")) resolve(text);
    });
  });
  return { said, file: `--uuid-file=${uuid}`, done };
}

for (const { flavor, options } of [
  { flavor: "nspawn", options: [] },
  { flavor: "fly", options: [`--stage1-image=${join(dist, "stage1-fly.aci")}`] },
])
  test(`${flavor}: nobody waits for an app that has a lease on its files`, async (t) => {
    if (!requires(t, "root", "build", "gcc")) return;
    const rkt = makeRkt(t);
    const { said, file, done } = await started(t, rkt, options, ["lease", "/etc/passwd", "/big"]);
    assert.equal(said, "/etc/passwd held\n/big held\nup\n");
    const lasts = { timeout: 20_000 };
    // Who the app is was found out when it began.
    rkt.ok(["enter", file, "/bin/busybox", "true"], lasts);
    const aci = join(rkt.scratch, "x.aci");
    rkt.fails(["export", file, aci], 254, /^rkt: export: \/\S+ is busy: a process has a lease on it .*\nhint: try again/, lasts);
    rkt.ok(["stop", "--force", file]);
    await done;
  });

test("what is exported from a running container with users of its own has the container's ids in its attributes, too", async (t) => {
  if (!requires(t, "root", "build", "gcc", "getfacl", "getcap", "tar")) return;
  const rkt = makeRkt(t);
  const { said, file, done } = await started(t, rkt, ["--private-users"], ["attributes", "/file"]);
  assert.equal(said, "up\n");
  const [live, ended] = [join(rkt.scratch, "live.aci"), join(rkt.scratch, "ended.aci")] as const;
  rkt.ok(["export", file, live]);
  rkt.ok(["stop", "--force", file]);
  await done;
  rkt.ok(["export", file, ended]);
  for (const aci of [live, ended]) {
    const to = `${aci}.d`;
    rkt.ok(["--insecure-options=image", "fetch", aci]);
    const id = spawnSync("sh", ["-c", `gzip -dc '${aci}' | sha512sum`], { encoding: "utf8" }).stdout.slice(0, 32);
    rkt.ok(["image", "render", `sha512-${id}`, to]);
    const judge = (command: string, ...args: string[]) => spawnSync(command, args, { encoding: "utf8", cwd: to }).stdout;
    const root = "rootfs";
    const list = "user:1000:r--\ngroup::r--\ngroup:2000:r-x\nmask::rwx\nother::r--";
    assert.match(judge("getfacl", "-nE", `${root}/file`), new RegExp(`^user::rw-\n${list}$`, "m"), aci);
    const defaults = list.replace(/^/gm, "default:");
    assert.match(judge("getfacl", "-nE", `${root}/directory`), new RegExp(`^${defaults}$`, "m"), aci);
    assert.equal(judge("getcap", "-n", `${root}/file`), `${root}/file cap_net_bind_service=ep\n`, aci);
  }
});

test("volumes that begin as parts of an image count as what it unpacks to: hard links between them become copies", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const size = 4 * 1024 ** 2;
  const names = Array.from({ length: 30 }, (_, i) => `d${i}`);
  const entries = [
    { name: "rootfs/file", data: Buffer.alloc(size, "x"), mode: 0o755 },
    ...names.map((name) => ({ name: `rootfs/${name}/file`, type: "1", link: "rootfs/file" })),
  ];
  const mountPoints = names.map((name) => ({ name, path: `/${name}` }));
  const app = { exec: ["/file"], user: "0", group: "0", mountPoints };
  const aci = scratchFile(rkt, "x.aci", makeAci(entries, manifest({ name: "example.com/links", app })));
  const prepare = (...options: string[]) => ["--insecure-options=image", "prepare", ...options, aci, "--exec=/file"];
  // An inode counts, too; and a file system may take a block more for a file than its bytes are.
  const copies = 30 * (size + 1024);
  const told = new RegExp(`app links: the volumes of its mount points that begin as the image's directories take (\\d+) bytes, and the image \\d+: more than ${2 * size}\nhint: --max-image-size`);
  rkt.fails(prepare(`--max-image-size=${2 * size}`), 254, told);
  rkt.fails(prepare(), 254, /take \d+ bytes, more than the image\n/);
  assert.deepEqual(rkt.containers(), []);
  rkt.ok(prepare(`--max-image-size=${copies + 3 * size}`));
});

test("a file that is one hole is not written out as zeros", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = join(rkt.scratch, "uuid");
  const size = 100 * 1024 ** 3;
  rkt.ok(["run", `--uuid-file-save=${uuid}`, busybox, "--exec=/bin/sh", "--", "-c", `echo x >/small; truncate -s ${size} /big`]);
  const out = join(rkt.scratch, "x.aci");
  const message = (path: string) => new RegExp(`the files have \\d+ bytes, more than the 68719476736 .*; the largest is ${path} with ${size}\nhint: remove it`);
  rkt.fails(["export", `--uuid-file=${uuid}`, out], 254, message("/big"), { timeout: 20_000 });
  const tree = join(rkt.scratch, "tree");
  mkdirSync(tree);
  writeFileSync(join(tree, "hole"), "");
  truncateSync(join(tree, "hole"), size);
  const text = scratchFile(rkt, "manifest.json", manifest());
  rkt.fails(["image", "build", `--manifest=${text}`, `--rootfs=${tree}`, `--output=${out}`], 254, message(`${tree}/hole`), { timeout: 20_000 });
  assert.deepEqual(readdirSync(rkt.scratch).sort(), ["manifest.json", "tree", "uuid"]);
});

test("where others can exchange directories, rkt has neither data nor configuration", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const at = (name: string) => join(rkt.scratch, name);
  for (const directory of ["theirs", "open", "sticky", "ours"]) mkdirSync(at(directory));
  chownSync(at("theirs"), 65534, 65534);
  chmodSync(at("open"), 0o777);
  chmodSync(at("sticky"), 0o1777);
  symlinkSync("ours", at("link"));
  lchownSync(at("link"), 65534, 65534);
  mkdirSync(at("ours/local/paths.d"), { recursive: true });
  const below = (above: string, words: readonly string[]) =>
    spawnSync(join(dist, "rkt"), [`--dir=${at(above)}/data`, ...words], { encoding: "utf8" });
  for (const [above, why] of [
    ["theirs", "belongs to user 65534"],
    ["open", "can be written to by others than root"],
    ["link", "belongs to user 65534"],
  ] as const) {
    const data = new RegExp(`data directory: \\S+/data is reached by way of \\S+/${above}, which ${why}\nhint: give another --dir; or chown root`);
    for (const made of [false, true]) {
      if (made && above !== "link") mkdirSync(at(`${above}/data`));
      for (const words of [["list"], ["gc"], ["image", "list"], ["fetch", busybox]])
        assert.match(below(above, words).stderr, data);
    }
    const config = at(above === "link" ? "link/local" : `${above}/config`);
    mkdirSync(join(config, "paths.d"), { recursive: true });
    writeFileSync(join(config, "paths.d/p.json"), JSON.stringify({ rktKind: "paths", rktVersion: "v1" }));
    rkt.fails([`--local-config=${config}`, "config"], 254, new RegExp(`configuration \\S+p\\.json is not read: \\S+/${above} ${why}\nhint: chown root`));
  }
  for (const above of ["sticky", "ours"]) assert.equal(below(above, ["image", "list"]).status, 0, above);
});

test("files beside an image, and files that are named, are not waited for and not read without end", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const aci = join(rkt.scratch, "app.aci");
  copyFileSync(busybox, aci);
  const lasts = { timeout: 20_000 };
  for (const [make, message] of [
    [(path: string) => execFileSync("mkfifo", [path]), /cannot read the signature: \S+app\.aci\.asc is not a regular file/],
    [(path: string) => symlinkSync("/dev/zero", path), /cannot read the signature: \S+app\.aci\.asc is not a regular file/],
    [
      (path: string) => {
        writeFileSync(path, "");
        truncateSync(path, 2 ** 40);
      },
      /cannot read the signature: \S+ has 1099511627776 bytes, more than 262144/,
    ],
  ] as const) {
    make(`${aci}.asc`);
    rkt.fails(["fetch", aci], 254, message, lasts);
    rmSync(`${aci}.asc`);
  }
  const endless = "/dev/zero";
  const local = `--local-config=${join(rkt.scratch, "local")}`;
  for (const words of [
    ["fetch", aci, `--signature=${endless}`],
    [local, "trust", "--root", "--skip-fingerprint-review", endless],
    ["prepare", `--pod-manifest=${endless}`],
    ["prepare", busybox, `--set-env-file=${endless}`],
    ["image", "build", `--manifest=${endless}`, `--rootfs=${rkt.scratch}`],
    ["status", `--uuid-file=${endless}`],
  ])
    rkt.fails(words, 254, /\/dev\/zero has more than \d+ bytes/, lasts);
  execFileSync("mkdir", ["-p", join(rkt.scratch, "local/paths.d")]);
  symlinkSync(endless, join(rkt.scratch, "local/paths.d/p.json"));
  rkt.ok([local, "config"], lasts);
});
