/**
 * What cannot be run: one line that names the object, a hint, the documented
 * exit status, and nothing left: no container, blob, temporary file or mount.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { gzipped, makeAci, manifest, rootfs, tar } from "../fixtures/aci.ts";
import { exampleAci, makeRkt, type Result, type Rkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

/** What a data directory holds, but for its own structure: the index and empty directories. */
function leftovers(rkt: Rkt): string[] {
  if (!existsSync(rkt.dir)) return [];
  const entries = globSync("{cas/{blob/sha512/*,tree,tmp},containers/*}/*", { cwd: rkt.dir });
  return entries.filter((path) => path !== "lost+found").sort();
}

/** Mounts on, or of, anything of the test's; others run meanwhile. */
function mounts(rkt: Rkt): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.filter((line) => line.includes(dirname(rkt.dir))).sort();
}

interface Refusal {
  status?: number;
  /** The line after "rkt: run: ". */
  message: RegExp;
  hint: RegExp;
}

/** Asserts what is said, and that afterwards all is as before. */
function refused(rkt: Rkt, refusal: Refusal, run: () => Result): void {
  const before = { left: leftovers(rkt), mounts: mounts(rkt) };
  const { status, stdout, stderr } = run();
  assert.equal(status, refusal.status ?? 254, stderr);
  assert.equal(stdout, "");
  const lines = stderr.split("\n");
  assert.equal(lines.length, 3, `a line, a hint and no more:\n${stderr}`);
  const [line = "", hint = ""] = lines;
  assert.match(line, /^rkt: run: /);
  assert.match(line, refusal.message);
  assert.match(hint, /^hint: /);
  assert.match(hint, refusal.hint);
  assert.deepEqual({ left: leftovers(rkt), mounts: mounts(rkt) }, before);
}

// --- images -------------------------------------------------------------------------------

const good = makeAci([{ name: "rootfs/a", data: "x".repeat(100_000) }]);
const app = (over: object) => manifest({ app: { exec: ["/bin/true"], user: "0", group: "0", ...over } });

const images: { name: string; aci: Buffer | string; message: RegExp; hint: RegExp; options?: string[] }[] = [
  {
    name: "corrupt gzip",
    aci: Buffer.concat([gzipped(good).subarray(0, 60), Buffer.alloc(100, 7)]),
    message: /cannot import \.\/bad\.aci: its gzip data are damaged: /,
    hint: /get it again/,
  },
  {
    name: "gzip cut short",
    aci: gzipped(good).subarray(0, 100),
    message: /cannot import \.\/bad\.aci: its gzip data are damaged: unexpected end of file/,
    hint: /get it again/,
  },
  {
    name: "a truncated tar",
    aci: good.subarray(0, 50_000),
    message: /cannot import \.\/bad\.aci: the archive is cut short/,
    hint: /get it again/,
  },
  { name: "an empty file", aci: "", message: /cannot import \.\/bad\.aci: it is empty/, hint: /get it again/ },
  {
    name: "no archive",
    aci: "hello\n".repeat(500),
    message: /cannot import \.\/bad\.aci: it is not a tar archive/,
    hint: /an image is a tar archive/,
  },
  {
    name: "no manifest",
    aci: tar([rootfs]),
    message: /cannot import \.\/bad\.aci: it has no manifest/,
    hint: /no App Container image/,
  },
  {
    name: "a manifest that is no JSON",
    aci: makeAci([], '{"acKind": '),
    message: /cannot import \.\/bad\.aci: manifest: line 1, column \d+: /,
    hint: /mend its manifest/,
  },
  {
    name: "a bad manifest",
    aci: makeAci(
      [],
      app({
        mountPoints: [
          { name: "a", path: "/a" },
          { name: "b", path: "tmp" },
        ],
      }),
    ),
    message: /cannot import \.\/bad\.aci: manifest: app\.mountPoints\[1\]\.path: must be absolute, got "tmp"$/,
    hint: /mend its manifest/,
  },
  {
    name: "no rootfs",
    aci: tar([{ name: "manifest", data: manifest() }]),
    message: /cannot import \.\/bad\.aci: it has no rootfs/,
    hint: /a directory rootfs/,
  },
  {
    name: "no app section",
    aci: makeAci([], manifest({ app: undefined })),
    message: /image example\.com\/test has no app section/,
    hint: /--exec/,
  },
  {
    name: "another architecture",
    aci: makeAci(
      [],
      manifest({
        labels: [
          { name: "arch", value: "aarch64" },
          { name: "os", value: "linux" },
        ],
      }),
    ),
    message: /image example\.com\/test is made for linux\/aarch64, this host is linux\/amd64/,
    hint: /linux\/amd64/,
  },
  {
    name: "nothing to execute",
    aci: makeAci([], app({ exec: [] })),
    message: /app test: nothing says what to run$/,
    hint: /--exec/,
  },
  {
    name: "a handler with nothing to execute",
    aci: makeAci([], app({ eventHandlers: [{ name: "pre-start", exec: [] }] })),
    message: /app test: its pre-start handler does not say what to run$/,
    hint: /manifest/,
  },
  {
    name: "a mount point on the root",
    aci: makeAci([], app({ mountPoints: [{ name: "data", path: "/" }] })),
    message: /app test: a volume can't be mounted on the app's root$/,
    hint: /a directory below/,
  },
  {
    name: "two mount points in one place",
    aci: makeAci([], app({ mountPoints: ["a", "b"].map((name) => ({ name, path: "/data" })) })),
    message: /app test: two volumes are to be mounted at \/data$/,
    hint: /--mount/,
  },
  {
    name: "a version of the specification that nobody knows",
    aci: makeAci([], manifest({ acVersion: "99.0.0" })),
    message: /manifest: acVersion: must be 0\.x or 1\.x, which is what this rkt understands, got "99\.0\.0"$/,
    hint: /mend its manifest/,
  },
  {
    name: "a range of ports, and one port of the host",
    aci: makeAci([], app({ ports: [{ name: "many", protocol: "tcp", port: 1, count: 9 }] })),
    options: ["--net", "--port=many:65530"],
    message: /port many is a range of 9 ports in its image, and 65530 is one$/,
    hint: /--port/,
  },
  {
    name: "a volume whose source is missing",
    aci: makeAci([], app({ mountPoints: [{ name: "data", path: "/var/db" }] })),
    options: ["--volume=data:/no/such/directory"],
    message: /volume data: \/no\/such\/directory does not exist$/,
    hint: /create it first/,
  },
];
for (const c of images)
  test(`a bad image: ${c.name}`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t, { empty: true });
    scratchFile(rkt, "bad.aci", c.aci);
    refused(rkt, c, () => rkt.run(["run", ...(c.options ?? []), "./bad.aci"]));
    assert.deepEqual(leftovers(rkt), []);
  });

test("a pod manifest that cannot be run as it is", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t, { empty: true });
  const mountPoints = [{ name: "data", path: "/var/db" }];
  const ports = [{ name: "www", protocol: "tcp", port: 80 }];
  scratchFile(rkt, "app.aci", makeAci([], app({ mountPoints, ports })));
  const id = rkt.ok(["fetch", "--full", "--insecure-options=image", "./app.aci"]).stdout.trim();
  const apps = [{ name: "x", image: { id } }];
  const volumes = [{ name: "data", kind: "empty" }];
  const cases: ({ name: string; pod: object } & Refusal)[] = [
    {
      name: "a mount point without a volume",
      pod: { apps },
      message: /no volume for the mount point data \(\/var\/db of app x\)$/,
      hint: /give the pod manifest a volume "data"/,
    },
    {
      name: "a reserved annotation",
      pod: { apps, volumes, annotations: [{ name: "coreos.com/rocket/insecure-options", value: "paths" }] },
      message: /the pod manifest has the annotation coreos\.com\/rocket\/insecure-options, which is rkt's own$/,
      hint: /--insecure-options/,
    },
    {
      name: "a port's name in two apps",
      pod: { apps: [...apps, { name: "y", image: { id } }], volumes, ports: [{ name: "www", hostPort: 80 }] },
      message: /more than one app has a port called www$/,
      hint: /podPort/,
    },
    {
      name: "a port without a network",
      pod: { apps, volumes, ports: [{ name: "www", hostPort: 8080 }] },
      message: /port tcp 8080 can't lead to port 80: the container shares the host's network$/,
      hint: /--net/,
    },
  ];
  for (const { name, pod, ...refusal } of cases)
    await t.test(name, () => {
      scratchFile(rkt, "pod.json", JSON.stringify({ acVersion: "0.8.11", acKind: "PodManifest", ...pod }));
      refused(rkt, refusal, () => rkt.run(["run", "--pod-manifest=./pod.json"]));
    });
  scratchFile(rkt, "pod.json", JSON.stringify({ acVersion: "2.0.0", acKind: "PodManifest", apps, volumes }));
  const version = /^rkt: run: \.\/pod\.json: acVersion: must be 0\.x or 1\.x, .*, got "2\.0\.0"\n$/;
  rkt.fails(["run", "--pod-manifest=./pod.json"], 254, version);
});

test("a file that is not there", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t, { empty: true });
  const message = /there is no file \.\/missing\.aci$/;
  refused(rkt, { message, hint: /a file, a hash, a URL or a name/ }, () => rkt.run(["run", "./missing.aci"]));
});

// --- the line ------------------------------------------------------------------------------

const lines: ({ name: string; words: string[] } & Refusal)[] = [
  {
    name: "two apps of one name",
    words: [busybox, busybox],
    message: /two apps are called "busybox"/,
    hint: /--name/,
  },
  {
    name: "a mount on the root",
    words: ["--volume=v,kind=empty", busybox, "--mount=volume=v,target=/"],
    message: /app busybox: a volume can't be mounted on the app's root$/,
    hint: /a directory below/,
  },
  {
    name: "a port of the host twice",
    words: ["--net", "--port=80-tcp:8080", "--port=81-tcp:8080", busybox],
    message: /port tcp 8080 of the host is to be published twice$/,
    hint: /another port/,
  },
  {
    name: "an annotation that would switch protections off",
    words: ["--annotation=coreos.com/rocket/insecure-options=seccomp", busybox],
    status: 2,
    message: /--annotation: coreos\.com\/rocket\/insecure-options is rkt's own/,
    hint: /--insecure-options/,
  },
  {
    name: "an unknown hash",
    words: ["sha512-0123456789abcdef"],
    message: /no image sha512-0123456789abcdef in the store/,
    hint: /rkt image list/,
  },
  {
    name: "a file for --stage1-image that is no stage1",
    words: [`--stage1-image=${busybox}`, busybox],
    message: /example\.com\/busybox is not a stage1 image/,
    hint: /--stage1-image/,
  },
  {
    name: "a file for --uuid-file-save that cannot be written",
    words: ["--uuid-file-save=/no/such/directory/uuid", busybox],
    message: /cannot write the UUID to \/no\/such\/directory\/uuid: /,
    hint: /a directory that is there/,
  },
  {
    name: "a file for --set-env-file that is missing",
    words: ["--set-env-file=/no/such/file", busybox],
    message: /there is no file \/no\/such\/file/,
    hint: /path/,
  },
  { name: "no image", words: [], status: 2, message: /there is no image/, hint: /rkt run --help/ },
  {
    name: "an unknown option",
    words: ["--bogus", busybox],
    status: 2,
    message: /unknown option --bogus/,
    hint: /--help/,
  },
  {
    name: "a slip in an option",
    words: ["--volum=a:/b", busybox],
    status: 2,
    message: /unknown option --volum/,
    hint: /--volume/,
  },
  {
    name: "an image's option before the image",
    words: ["--exec=/bin/true", busybox],
    status: 2,
    message: /--exec must follow an image/,
    hint: /rkt run IMAGE --exec=\/bin\/true/,
  },
];
for (const c of lines)
  test(`a bad line: ${c.name}`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t, { empty: true });
    // What a run that fails late has taken into the store by then is no leftover: the images are good.
    if (c.name.includes("--uuid-file-save")) rkt.ok(["run", busybox, "--exec=/bin/true"]);
    refused(rkt, c, () => rkt.run(["run", ...c.words]));
  });

test("a prefix of two images", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t, { empty: true });
  const seen = new Map<string, Buffer>();
  for (let i = 0; ; i++) {
    const aci = makeAci([{ name: `rootfs/${i}` }]);
    const prefix = createHash("sha512").update(aci).digest("hex").slice(0, 2);
    const other = seen.get(prefix);
    seen.set(prefix, aci);
    if (other === undefined) continue;
    const files = [other, aci].map((bytes, n) => scratchFile(rkt, `${n}.aci`, bytes));
    rkt.ok(["fetch", "--insecure-options=image", ...files]);
    const message = new RegExp(`sha512-${prefix} is ambiguous: sha512-[0-9a-f]{32}, sha512-[0-9a-f]{32}$`);
    refused(rkt, { message, hint: /more digits/ }, () => rkt.run(["run", `sha512-${prefix}`]));
    return;
  }
});

// --- the machine ----------------------------------------------------------------------------

/** Puts a new ext4 of this size at a directory; made by losetup, taken away with the test's mounts. */
function mountDisk(rkt: Rkt, at: string, size: string): void {
  const disk = join(rkt.scratch, "disk");
  mkdirSync(at, { recursive: true });
  const script = 'truncate -s "$2" "$0" && mkfs.ext4 -q -m 0 -O ^has_journal "$0" && mount -o loop "$0" "$1"';
  const made = spawnSync("sh", ["-c", script, disk, at, size], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
}

const FULL = /the file system is full: free some space, or give another one with --dir/;

const disks = [
  { name: "while an app's image is imported", size: "2M", message: /cannot import .*\/busybox\.aci: write: ENOSPC/ },
  {
    name: "while the stage1 image is imported",
    size: "64M",
    message: /cannot import .*\/stage1-nspawn\.aci: write: ENOSPC/,
  },
];
for (const c of disks)
  test(`a full disk ${c.name}`, (t) => {
    if (!requires(t, "root", "build", "mkfs.ext4")) return;
    const rkt = makeRkt(t, { empty: true });
    mountDisk(rkt, rkt.dir, c.size);
    refused(rkt, { message: c.message, hint: FULL }, () => rkt.run(["run", busybox]));
    assert.deepEqual(leftovers(rkt), []);
  });

test("a full disk when there is a store already: rendering, making the container, copying", (t) => {
  if (!requires(t, "root", "build", "mkfs.ext4")) return;
  const rkt = makeRkt(t, { empty: true });
  mountDisk(rkt, rkt.dir, "420M");
  const filler = join(rkt.dir, "filler");
  const fill = (keep: string) =>
    spawnSync("sh", [
      "-c",
      'dd if=/dev/zero of="$0" bs=1M; dd if=/dev/zero of="$0" bs=512 oflag=append conv=notrunc; truncate -s "-$1" "$0"',
      filler,
      keep,
    ]);
  const app = [busybox, "--exec=/bin/true"];
  rkt.ok(["fetch", "--insecure-options=image", busybox, join(dirname(rktBinary), "stage1-nspawn.aci")]);

  fill("10M");
  const rendering = /cannot extract image sha512-[0-9a-f]{32}: cannot write \/\S+: write: ENOSPC/;
  refused(rkt, { message: rendering, hint: FULL }, () => rkt.run(["run", ...app]));

  rmSync(filler);
  rkt.ok(["run", ...app]);
  fill("10M");
  const copying = /cannot copy .*\/cas\/tree\/\S+: No space left on device/;
  refused(rkt, { message: copying, hint: /--no-overlay/ }, () => rkt.run(["run", "--no-overlay", ...app]));

  fill("0");
  const making = /ENOSPC|cannot open the image index/;
  refused(rkt, { message: making, hint: /the file system (is|may be) full/ }, () => rkt.run(["run", ...app]));
});

test("not root", (t) => {
  if (!requires(t, "root", "build", "setpriv")) return;
  const rkt = makeRkt(t, { empty: true });
  const words = ["--reuid=65534", "--regid=65534", "--clear-groups", rktBinary, `--dir=${rkt.dir}`, "run", busybox];
  refused(rkt, { message: /only root can do this/, hint: /sudo rkt run/ }, () => foreign("setpriv", words));
  assert.ok(!existsSync(rkt.dir));
});

/** rkt by way of another program. */
function foreign(program: string, args: readonly string[]): Result {
  const done = spawnSync(program, args, { encoding: "utf8", timeout: 120_000, killSignal: "SIGKILL" });
  return { status: done.status, signal: done.signal, stdout: done.stdout, stderr: done.stderr };
}

test("a kernel without overlayfs: --no-overlay is named, and works", (t) => {
  if (!requires(t, "root", "build", "strace")) return;
  const rkt = makeRkt(t, { empty: true });
  rkt.ok(["run", busybox, "--exec=/bin/true"]);
  // Of rkt's own mount(2) calls the first sets the propagation of "/"; the second is the overlay.
  const overlayless = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=mount", "-e", "inject=mount:error=ENODEV:when=2"];
  const run = () => foreign("strace", [...overlayless, rktBinary, `--dir=${rkt.dir}`, "run", busybox]);
  refused(rkt, { message: /this kernel has no overlayfs/, hint: /--no-overlay/ }, run);
  rkt.ok(["run", "--no-overlay", busybox, "--exec=/bin/true"]);
});

test("a file system that overlayfs does not take: --no-overlay is named, and works", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t, { empty: true });
  // overlayfs refuses an overlay as its upper layer.
  const [lower, upper, work] = ["lower", "upper", "work"].map((name) => join(rkt.scratch, name));
  for (const dir of [lower, upper, work, rkt.dir]) mkdirSync(dir ?? "");
  const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  const made = spawnSync("mount", ["-t", "overlay", "-o", options, "overlay", rkt.dir], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  rkt.ok(["run", "--no-overlay", busybox, "--exec=/bin/true"]);
  refused(rkt, { message: /cannot mount an overlay: mount \S+: E[A-Z]+/, hint: /--no-overlay/ }, () =>
    rkt.run(["run", busybox, "--exec=/bin/true"]),
  );
});

test("a chroot whose root is no mount point", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t, { empty: true });
  rkt.ok(["run", busybox, "--exec=/bin/true"]);
  const root = join(rkt.scratch, "root");
  for (const dir of ["usr", "proc", "dev", "tmp", "etc", "rkt", "data"])
    mkdirSync(join(root, dir), { recursive: true });
  for (const dir of ["bin", "sbin", "lib", "lib64"]) symlinkSync(`usr/${dir}`, join(root, dir));
  const binds = { "/usr": "usr", "/proc": "proc", "/dev": "dev", [dirname(rktBinary)]: "rkt", [rkt.dir]: "data" };
  for (const [from, to] of Object.entries(binds)) {
    const made = spawnSync("mount", ["--bind", from, join(root, to)], { encoding: "utf8" });
    assert.equal(made.status, 0, made.stderr);
  }
  const run = () => foreign("chroot", [root, "/rkt/rkt", "--dir=/data", "run", "/rkt/examples/busybox.aci"]);
  refused(rkt, { message: /cannot keep mounts to the container: mount \/: EINVAL/, hint: /mount --bind DIR DIR/ }, run);
});

const jsonFailures: { words: string[]; status: number; code: string }[] = [
  { words: ["status", "--format=json", "6ba7b810"], status: 254, code: "no-such-container" },
  { words: ["top", "--format=json", "6ba7b810"], status: 254, code: "no-such-container" },
  { words: ["list", "--format=json", "extra"], status: 2, code: "usage" },
];
test("a command that was asked for JSON fails in JSON, too", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t, { empty: true });
  for (const { words, status, code } of jsonFailures) {
    const { stdout } = rkt.fails(words, status, /^rkt: /);
    const { error } = JSON.parse(stdout);
    assert.equal(error.code, code);
    assert.ok(error.message.length > 0 && Array.isArray(error.causes), stdout);
    assert.equal(stdout.split("\n").length, 2, "one line");
  }
  const indented = rkt.fails(["status", "--format=json-pretty", "6ba7b810"], 254, /^rkt: /).stdout;
  assert.match(indented, /^\{\n {2}"error": \{\n/);
  assert.equal(rkt.fails(["status", "6ba7b810"], 254, /^rkt: /).stdout, "");
  assert.equal(rkt.fails(["nosuch", "--format=json"], 2, /unknown command/).stdout, "");
});
