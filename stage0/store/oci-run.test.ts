/** Containers of OCI images, by the executables. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Entry } from "../../test/fixtures/aci.ts";
import { dir, file, symlink } from "../../test/fixtures/oci-images.ts";
import { bring, type OciOptions, ociImage } from "../../test/helpers/oci.ts";
import { exampleAci, makeRkt, type Rkt, requires } from "../../test/helpers/rkt.ts";
import { openStore } from "./store.ts";

const BUSYBOX: Entry[] = [
  dir("bin"),
  file("bin/busybox", "", { data: readFileSync("/bin/busybox"), mode: 0o755 }),
  ...["sh", "id", "pwd", "cat", "ls", "stat", "sleep", "echo", "touch"].map((name) => symlink(`bin/${name}`, "busybox")),
  dir("etc"),
  file("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n77:x:1234:5::/:/bin/sh\n"),
  file("etc/group", "root:x:0:\nwww:x:34:\nmore:x:40:web\nwheel:x:41:root,web\n88:x:4321:\n"),
];

function rktWith(t: TestContext): Rkt | undefined {
  if (!requires(t, "root", "build", "overlay")) return undefined;
  const rkt = makeRkt(t);
  rkt.ok(["rm", rkt.ok(["prepare", "--quiet", exampleAci("busybox")]).stdout.trim()]);
  return rkt;
}

async function put(rkt: Rkt, layers: readonly (readonly Entry[])[], options: OciOptions = {}): Promise<string> {
  const store = openStore(rkt.dir);
  try {
    const { id } = await bring(store, ociImage([BUSYBOX, ...layers], options), "docker.io/library/test", 1 << 20);
    return id;
  } finally {
    store.close();
  }
}

test("users of OCI images, in every form", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const cases: [user: string, said: RegExp][] = [
    ["", /uid=0\(root\) gid=0\(root\) groups=41\(wheel\)/],
    ["web", /uid=33\(web\) gid=34\(www\) groups=40\(more\),41\(wheel\)/],
    ["33", /uid=33\(web\) gid=34\(www\) groups=40\(more\),41\(wheel\)/],
    ["web:0", /uid=33\(web\) gid=0\(root\)$/m],
    ["web:more", /uid=33\(web\) gid=40\(more\)$/m],
    ["4444", /uid=4444 gid=0\(root\)/],
    ["4444:5555", /uid=4444 gid=5555/],
    // Digits are a number, whatever the image calls its users (CVE-2016-3697).
    ["77:88", /uid=77 gid=88/],
  ];
  for (const [User, said] of cases)
    assert.match(rkt.ok(["run", await put(rkt, [], { config: { User, Cmd: ["id"] } })]).stdout, said, User);
  const id = await put(rkt, [], { config: { User: "web:www", Cmd: ["id"] } });
  assert.match(rkt.ok(["run", id, "--user=4444"]).stdout, /uid=4444 gid=0\(root\)/);
  assert.match(rkt.ok(["run", id, "--user=root"]).stdout, /uid=0\(root\) gid=0\(root\) groups=41\(wheel\)/);
  rkt.fails(["run", await put(rkt, [], { config: { User: "nobody", Cmd: ["id"] } })], 217, /user "nobody" is not in the image's/);
});

test("arguments take the place of Cmd, and --exec that of both", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const id = await put(rkt, [], { config: { Entrypoint: ["/bin/echo", "entry"], Cmd: ["cmd", "two"] } });
  assert.match(rkt.ok(["run", id]).stdout, /entry cmd two/);
  assert.match(rkt.ok(["run", id, "--", "mine"]).stdout, /entry mine/);
  assert.match(rkt.ok(["run", id, "--exec=/bin/echo", "--", "alone"]).stdout, /^alone$/m);
  const cmd = await put(rkt, [], { config: { Cmd: ["echo", "cmd"] } });
  assert.match(rkt.ok(["run", cmd, "--", "echo", "other"]).stdout, /^other$/m);
});

test("a working directory that is missing is made, and is root's", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const id = await put(rkt, [], { config: { WorkingDir: "/srv/new", User: "web", Cmd: ["sh", "-c", "pwd; stat -c '%u %a' ."] } });
  for (const extra of [[], ["--no-overlay"]]) assert.match(rkt.ok(["run", ...extra, id]).stdout, /\/srv\/new\r?\n.*0 755/);
  assert.match(rkt.ok(["run", id, "--readonly-rootfs=true"]).stdout, /\/srv\/new/);
});

test("a volume begins as what the image has, with its owner and mode", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const image = [dir("var", {}), dir("var/data", { uid: 33, gid: 34, mode: 0o750 }), file("var/data/seed", "seed", { uid: 33 })];
  const id = await put(rkt, [image], {
    config: { Volumes: { "/var/data": {}, "/new": {} }, Cmd: ["sh", "-c", "stat -c '%u %g %a' /var/data /new; cat /var/data/seed; touch /var/data/x /new/y"] },
  });
  const { stdout } = rkt.ok(["run", id]);
  assert.match(stdout, /33 34 750/);
  assert.match(stdout, /0 0 755/);
  assert.match(stdout, /seed/);
});

test("127 layers run, also with users of the container's own", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const layers = Array.from({ length: 126 }, (_, i) => [file("last", `layer ${i}\n`), file(`f${i}`), dir("d"), file(`d/${i}`)]);
  const id = await put(rkt, layers, { config: { Cmd: ["sh", "-c", "cat last; ls d | busybox wc -l; id -u"] } });
  assert.match(rkt.ok(["run", id]).stdout, /layer 125\r?\n.*126/);
  assert.match(rkt.ok(["run", "--private-users", id]).stdout, /layer 125\r?\n.*126/);
});

test("two apps of one image", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const id = await put(rkt, [[file("greeting", "hello\n")], [{ name: "etc/.wh.group" }]], { config: { Cmd: ["cat", "/greeting"] } });
  assert.equal(rkt.ok(["run", id, "--name=one", id, "--name=two"]).stdout, "hello\nhello\n");
});

test("an exited container is exported with what it has changed", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const id = await put(rkt, [[file("gone")], [{ name: ".wh.gone" }]], { config: { Cmd: ["sh", "-c", "echo new >/made"] } });
  const uuid = rkt.ok(["prepare", "--quiet", id]).stdout.trim();
  rkt.ok(["run-prepared", uuid]);
  rkt.ok(["export", uuid, "out.aci"]);
  const { spawnSync } = await import("node:child_process");
  const list = spawnSync("tar", ["-tf", "out.aci"], { cwd: rkt.scratch, encoding: "utf8" }).stdout;
  assert.match(list, /rootfs\/made/);
  assert.match(list, /rootfs\/bin\/busybox/);
  assert.doesNotMatch(list, /gone/);
});

test("an image goes out by the command, and the App Container image of it runs alike", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const id = await put(rkt, [[file("a", "1")], [{ name: ".wh.a" }, file("b", "2")]], {
    config: { User: "web", WorkingDir: "/new", Entrypoint: ["sh", "-c"], Cmd: ["id; pwd; ls /"] },
  });
  rkt.ok(["image", "export", id, "out.aci"]);
  rkt.ok(["image", "export", "--format=docker-archive", id, "out.tar"]);
  rkt.fails(["image", "export", "--format=oci-archive", "--compression=gzip", id, "other.tar"], 2, /--compression is of an ACI/);
  const { stdout } = rkt.ok(["run", id]);
  assert.match(stdout, /uid=33\(web\) gid=34\(www\)/);
  assert.equal(rkt.ok(["run", "./out.aci", "--insecure-options=image"]).stdout, stdout);
  rkt.ok(["image", "render", "--rootfs-only", id, "rendered"]);
  rkt.ok(["image", "extract", id, "extracted"]);
  const names = (path: string) => readdirSync(join(rkt.scratch, path)).sort();
  assert.deepEqual(names("rendered"), ["b", "bin", "etc"]);
  assert.deepEqual(names("extracted/rootfs"), ["b", "bin", "etc"]);
});

test("images of layers are listed, verified and removed, and layers that others have stay", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const one = await put(rkt, [[file("one")]], { config: { Cmd: ["sleep", "1000"] } });
  const two = await put(rkt, [[file("two")]], { config: { Cmd: ["cat", "two"] } });
  const list = JSON.parse(rkt.ok(["image", "list", "--format=json"]).stdout) as { id: string; digest?: string }[];
  const digest = list.find(({ id }) => id === two)?.digest ?? "";
  assert.match(digest, /^sha256:[0-9a-f]{64}$/);
  assert.match(rkt.ok(["image", "list"]).stdout, new RegExp(`DIGEST[^]*${digest.slice(0, 19)}`));
  assert.match(rkt.ok(["run", digest]).stdout, /two/);
  rkt.ok(["run", two]);
  rkt.ok(["image", "verify"]);
  const uuid = rkt.ok(["prepare", "--quiet", one]).stdout.trim();
  rkt.fails(["image", "rm", one], 254, /is in use by container/);
  rkt.ok(["gc", "--grace-period=0"]);
  rkt.ok(["image", "gc", "--grace-period=0"]);
  rkt.fails(["run", two], 254, /no image/);
  rkt.ok(["image", "verify"]);
  rkt.ok(["rm", uuid]);
  rkt.ok(["image", "rm", one]);
  rkt.ok(["gc", "--grace-period=0"]);
  rkt.ok(["image", "gc", "--grace-period=0"]);
  const { globSync } = await import("node:fs");
  assert.deepEqual(globSync(`${rkt.dir}/cas/layer/{blob/sha256/*/*,tree/*}`), []);
});

test("verify finds what was changed in an extracted layer", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const id = await put(rkt, [[file("a", "right")], [{ name: "etc/.wh.group" }]], { config: { Cmd: ["cat", "a"] } });
  rkt.ok(["run", id]);
  const { globSync, writeFileSync } = await import("node:fs");
  const [path] = globSync(`${rkt.dir}/cas/layer/tree/*/rootfs/a`);
  assert.ok(path);
  writeFileSync(path, "wrong");
  const { stdout } = rkt.fails(["image", "verify", id], 254, /1 damage in the store/);
  assert.match(stdout, /layer diff-1-.* was changed: \/a has another content/);
});

test("terabytes of holes in an image hold up neither verify nor removal, and fill no disk", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const hole = (name: string): Entry => ({
    name: `GNUSparseFile.0/${name}`,
    data: `1\n${2 ** 30}\n5\n`.padEnd(512, "\0") + "right",
    pax: {
      "GNU.sparse.major": "1",
      "GNU.sparse.minor": "0",
      "GNU.sparse.name": name,
      "GNU.sparse.realsize": String(2 ** 40),
    },
  });
  const id = await put(rkt, [Array.from({ length: 100 }, (_, i) => hole(`f${i}`))], { config: { Cmd: ["cat"] } });
  rkt.ok(["run", id]);
  rkt.ok(["image", "verify", id]);
  const file = join(rkt.scratch, "out.aci");
  rkt.fails(["image", "export", id, file], 254, /more than the \d+ that an image may have; the largest is \/f\d+ with/);
  assert.deepEqual(readdirSync(rkt.scratch).filter((name) => name.startsWith("out")), []);
  const { closeSync, globSync, openSync, writeSync } = await import("node:fs");
  const [path] = globSync(`${rkt.dir}/cas/layer/tree/*/rootfs/f7`);
  assert.ok(path);
  const fd = openSync(path, "r+");
  writeSync(fd, "wrong", 2 ** 35);
  closeSync(fd);
  assert.match(rkt.fails(["image", "verify", id], 254, /1 damage/).stdout, /\/f7 has another content/);
});

test("a name that is no UTF-8 is no damage", async (t) => {
  const rkt = rktWith(t);
  if (rkt === undefined) return;
  const name = Buffer.from("caf\xe9", "latin1");
  const id = await put(rkt, [[dir("d"), { name: Buffer.concat([Buffer.from("d/"), name]), data: "right" }]], { config: { Cmd: ["cat"] } });
  rkt.ok(["run", id]);
  rkt.ok(["image", "verify", id]);
  const { globSync, writeFileSync } = await import("node:fs");
  const [directory] = globSync(`${rkt.dir}/cas/layer/tree/*/rootfs/d`);
  assert.ok(directory);
  writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), name]), "wrong");
  assert.match(rkt.fails(["image", "verify", id], 254, /1 damage/).stdout, /\/d\/caf.* has another content/);
});
