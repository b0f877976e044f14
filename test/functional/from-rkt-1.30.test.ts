/** What somebody who comes from rkt 1.30 types, and finds: docs/use/from-rkt-1.30.md names these tests. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { exampleAci, finished, makeRkt, requires, type Rkt, scratchFile, sh } from "../helpers/rkt.ts";

const busybox = exampleAci("busybox");

function image(name: string, version: string): Buffer {
  const labels = [
    { name: "version", value: version },
    { name: "os", value: "linux" },
    { name: "arch", value: "amd64" },
  ];
  return makeAci([], manifest({ name, labels }));
}

/** The file of an image that has a shell and these files. */
function busyboxWith(rkt: Rkt, entries: readonly Entry[]): string {
  const program = [
    { name: "rootfs/bin/busybox", mode: 0o755, data: readFileSync("/bin/busybox") },
    { name: "rootfs/bin/sh", type: "2", link: "busybox" },
    { name: "rootfs/bin/cat", type: "2", link: "busybox" },
  ];
  return scratchFile(rkt, "busybox.aci", makeAci([...program, ...entries]));
}

/** Imports an image; its hash as printed. */
function add(rkt: Rkt, name: string, version: string): string {
  const path = scratchFile(rkt, "made.aci", image(name, version));
  const { stdout } = rkt.ok(["fetch", path]);
  rmSync(path);
  return stdout.trim();
}

test("image list --fields: the columns that are asked for, in that order", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const one = add(rkt, "example.com/one", "1");
  const two = add(rkt, "example.com/two", "2");
  const list = (...options: string[]) => rkt.ok(["image", "list", ...options]).stdout;
  assert.equal(list("--fields=id", "--no-legend"), `${one}\n${two}\n`);
  assert.match(list("--fields=id", "--no-legend", "--full"), /^(sha512-[0-9a-f]{64}\n){2}$/);
  assert.equal(list("--fields=name,id", "--sort=name", "--order=desc").replace(/ +/g, " "),
    `NAME ID\nexample.com/two:2 ${two}\nexample.com/one:1 ${one}\n`);
  assert.equal(list("--fields=size,importtime,lastused", "--no-legend").replace(/ {2,}/g, "|").replaceAll(/\d+ seconds? ago/g, "just now"), "2.5 KiB|just now|just now\n".repeat(2));
  rkt.fails(["image", "list", "--fields=id,colour"], 2, /--fields: there is no column "colour"\nhint: there are name, id, size/);
  rkt.fails(["image", "list", "--fields=id", "--format=json"], 2, /--fields chooses columns of the table/);
});

test("a beginning of an image's hash: found, too short, ambiguous", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  // Two versions whose images' hashes have their first two digits in common.
  const seen = new Map<string, string>();
  let pair: [string, string] | undefined;
  for (let i = 0; pair === undefined; i++) {
    const begin = createHash("sha512").update(image("example.com/many", String(i))).digest("hex").slice(0, 2);
    const before = seen.get(begin);
    if (before !== undefined) pair = [before, String(i)];
    seen.set(begin, String(i));
  }
  const [one = "", two = ""] = pair.map((version) => add(rkt, "example.com/many", version));
  assert.match(rkt.ok(["image", "cat-manifest", one.slice(0, 30)]).stdout, /example\.com\/many/);
  rkt.fails(["image", "cat-manifest", one.slice(0, 9)], 254, new RegExp(`${one.slice(0, 9)} is ambiguous: .*${two}`));
  rkt.fails(["image", "cat-manifest", one.slice(0, 8)], 2, /must be sha512- and 2 to 128 lower-case hex digits/);
});

test("image rm: by hash, by name, one image twice, both names of it", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const gone = (...operands: string[]) => rkt.ok(["image", "rm", ...operands]).stdout;
  let id = add(rkt, "example.com/one", "1");
  assert.equal(gone(id), `removed ${id}\n`);
  id = add(rkt, "example.com/one", "1");
  assert.equal(gone("example.com/one"), `removed ${id}\n`);
  id = add(rkt, "example.com/one", "1");
  assert.equal(gone(id, id, "example.com/one:1"), `removed ${id}\n`);
  // An image whose container has ended is no longer in use.
  rkt.ok(["run", busybox, "--exec=/bin/true"]);
  const ran = rkt.ok(["image", "list", "--fields=id,name", "--no-legend"]).stdout;
  const [, used = ""] = /^(\S+) +example\.com\/busybox/m.exec(ran) ?? [];
  assert.equal(gone(used), `removed ${used}\n`);
  rkt.fails(["image", "rm", used], 254, /no image sha512-\S+ in the store/);
});

test("--pretty-print=false and --format=json: one line; --format=json-pretty: indented", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const uuid = rkt.ok(["prepare", busybox, ...sh("true")]).stdout.trim();
  for (const words of [["cat-manifest", uuid], ["image", "cat-manifest", "example.com/busybox"], ["config"]]) {
    const line = rkt.ok([...words, "--pretty-print=false"]).stdout;
    assert.match(line, /^\{".*\}\n$/);
    for (const pretty of [[], ["--pretty-print"], ["--pretty-print=true"]])
      assert.equal(rkt.ok([...words, ...pretty]).stdout, `${JSON.stringify(JSON.parse(line), undefined, 2)}\n`);
  }
  for (const words of [["list"], ["status", uuid], ["image", "list"], ["top"]]) {
    const line = rkt.ok([...words, "--format=json"]).stdout;
    assert.match(line, /^.*\n$/);
    const pretty = rkt.ok([...words, "--format=json-pretty"]).stdout;
    assert.equal(pretty, `${JSON.stringify(JSON.parse(line), undefined, 2)}\n`);
  }
});

for (const options of [[], ["--private-users"], ["--no-overlay"]])
  test(`/etc/machine-id is the container's UUID, also in a read-only root and over the image's: ${options}`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const own = busyboxWith(rkt, [{ name: "rootfs/etc/machine-id", data: "0123456789abcdef0123456789abcdef\n" }]);
    const saved = `--uuid-file-save=${rkt.scratch}/uuid`;
    for (const image of [busybox, own])
      for (const root of [[], ["--readonly-rootfs"]]) {
        const run = ["--insecure-options=image", "run", saved, ...options, image, ...root, ...sh("cat /etc/machine-id")];
        const { stdout } = rkt.ok(run);
        assert.equal(stdout, `${readFileSync(`${rkt.scratch}/uuid`, "utf8").replaceAll("-", "")}\n`);
      }
  });

test("run-prepared: the options of network, names and terminal replace what was prepared", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const show = "hostname; cat /etc/hostname /etc/resolv.conf; grep -c 192.0.2.7 /etc/hosts; tail -n +3 /proc/net/dev | cut -d: -f1; cat";
  const prepare = (...options: string[]) => rkt.ok(["prepare", ...options, busybox, ...sh(show)]).stdout.trim();
  const options = [
    "--net=none",
    "--hostname=late",
    "--dns=192.0.2.1",
    "--dns-search=example.com",
    "--dns-opt=ndots:2",
    "--hosts-entry=192.0.2.7=seven",
    "--interactive",
  ];
  const uuid = prepare("--hostname=early", "--dns=192.0.2.9");
  const { stdout } = rkt.ok(["run-prepared", ...options, uuid], { input: "typed\n" });
  const resolv = "nameserver 192.0.2.1\nsearch example.com\noptions ndots:2\n";
  assert.equal(stdout, `late\nlate\n${resolv}1\n    lo\ntyped\n`);
  const kept = rkt.ok(["run-prepared", prepare("--hostname=early", "--dns=192.0.2.9", "--net=none")], { input: "typed\n" });
  assert.match(kept.stdout, /^early\nearly\nnameserver 192.0.2.9\n0\n/);
  assert.doesNotMatch(kept.stdout, /typed/);

  // What can't be is said before anything changes, and the container still waits.
  const two = rkt.ok(["prepare", busybox, "--name=a", "---", busybox, "--name=b"]).stdout.trim();
  rkt.fails(["run-prepared", "--interactive", two], 254, /--interactive gives the terminal to one app, and the container has 2/);
  rkt.fails(["run-prepared", "--net=none", "--private-net=x", two], 2, /private-net/);
  rkt.fails(["run-prepared", "--mds-register", two], 254, /metadata service does not run/, { timeout: 30_000 });
  rkt.fails(["run-prepared", "--hostname=-", two], 2, /--hostname/);
  assert.match(rkt.ok(["status", two]).stdout, /^state=prepared$/m);
});

for (const how of ["stop", "stop --uuid-file", "stop --force"])
  test(`rkt ${how} of run-prepared --interactive`, async (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const script = "trap 'exit 0' TERM; echo up; while :; do read -r line && echo $line; sleep 0.1; done";
    const file = `${rkt.scratch}/uuid`;
    const uuid = rkt.ok(["prepare", `--uuid-file-save=${file}`, busybox, ...sh(script)]).stdout.trim();
    const child = rkt.start(["run-prepared", "--interactive", uuid]);
    const ended = finished(child);
    await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
    const force = how.endsWith("force");
    rkt.ok(how.endsWith("file") ? ["stop", `--uuid-file=${file}`] : ["stop", ...(force ? ["--force"] : []), uuid]);
    const { status, signal } = await ended;
    assert.deepEqual([status, signal], force ? [null, "SIGKILL"] : [0, null]);
    assert.match(rkt.ok(["status", uuid]).stdout, /^state=exited$/m);
  });

test("--mount: a relative target, and one with .. , lie in the app's root", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const source = join(rkt.scratch, "source");
  mkdirSync(source);
  writeFileSync(join(source, "file"), "the volume\n");
  // A link of the image's that leads out of its root, as a path of the host.
  const links = busyboxWith(rkt, [{ name: "rootfs/out", type: "2", link: `../../../../..${rkt.scratch}` }]);
  const volume = `--volume=v,kind=host,source=${source}`;
  const mounted = (target: string, image = busybox) => ["--insecure-options=image", "run", volume, `--mount=volume=v,target=${target}`, image];
  for (const [target, at] of [
    ["data", "/data"],
    ["data/below", "/data/below"],
    ["./data/../other", "/other"],
    ["/data/../../../other", "/other"],
    ["../../../../etc/x", "/etc/x"],
  ] as const)
    assert.equal(rkt.ok([...mounted(target), ...sh(`cat ${at}/file`)]).stdout, "the volume\n", target);
  rkt.ok([...mounted("out/in", links), ...sh(`cat /out/in/file ${rkt.scratch}/in/file`)]);
  assert.equal(existsSync(join(rkt.scratch, "in")), false);
  for (const target of ["/", ".", "..", "a/.."]) rkt.fails(mounted(target), 254, /a volume can't be mounted on the app's root/);
  rkt.fails(mounted(""), 2, /--mount/);
  rkt.fails(["run", "--volume=v,kind=host,source=/no/where", "--mount=volume=v,target=data", busybox], 254, /\/no\/where/);
});

for (const name of ["with:colon", "with,comma", "with,both:and space"])
  for (const options of [[], ["--private-users"]])
    test(`a data directory whose path is ${name} ${options}`, (t) => {
      if (!requires(t, "root", "build", "overlay")) return;
      const rkt = makeRkt(t, { data: name });
      const { stdout } = rkt.ok(["run", ...options, busybox, ...sh("echo x >/y; cat /y")]);
      assert.equal(stdout, "x\n");
      const uuid = rkt.ok(["prepare", busybox, ...sh("echo prepared")]).stdout.trim();
      assert.equal(rkt.ok(["run-prepared", uuid]).stdout, "prepared\n");
      rkt.ok(["gc", "--grace-period=0"]);
      assert.deepEqual(readdirSync(join(rkt.dir, "containers/run")), []);
    });

const sysMounts = ["/sys", "/sys/kernel", "/sys/kernel/debug", "/sys/fs/cgroup"];
for (const options of [["--net=host"], ["--net=none"], ["--private-users"]])
  test(`/sys is the kernel's, unless something is mounted there: ${options}`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const source = join(rkt.scratch, "source");
    mkdirSync(source);
    // For users of the container's own, too.
    chmodSync(source, 0o777);
    writeFileSync(join(source, "file"), "the volume\n");
    // As 1.30 took them: options in front of the command.
    const run = (more: readonly string[], script: string) => rkt.ok([...options, ...more, "run", busybox, ...sh(script)]).stdout;
    const kernels = "grep -c ' /sys sysfs ro,' /proc/self/mounts; ls -d /sys/class /sys/kernel/mm";
    assert.equal(run([], kernels), "1\n/sys/class\n/sys/kernel/mm\n");
    const mounted = (target: string) => [`--volume=v,kind=host,source=${source}`, `--mount=volume=v,target=${target}`];
    for (const target of sysMounts) {
      const seen = run(mounted(target), `ls ${target}; echo more >${target}/more; cat ${target}/file`);
      assert.equal(seen, "file\nthe volume\n", target);
      assert.equal(readFileSync(join(source, "more"), "utf8"), "more\n");
      rmSync(join(source, "more"));
    }
    // What else is there stays, below it is the volume's.
    assert.equal(run(mounted("/sys/kernel"), "ls /sys/kernel; ls -d /sys/class"), "file\n/sys/class\n");
    const both = ["--volume=all,kind=empty", "--mount=volume=all,target=/sys", ...mounted("/sys/mine")];
    assert.equal(run(both, "ls /sys /sys/mine"), "/sys:\nmine\n\n/sys/mine:\nfile\n");
    // The kernel makes no directory there.
    const line = [...options, ...mounted("/sys/mine"), "run", busybox, ...sh("true")];
    rkt.fails(line, 226, /cannot mount volume "v" on \/sys\/mine: .*\nhint: \/sys has what the kernel has: mount on a directory that is there, or on \/sys as a whole\n/);
  });

test("resolv.conf: the host's unless something else is asked for, none, and each option", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const show = sh("cat /etc/resolv.conf 2>/dev/null || echo none");
  const seen = (options: readonly string[], image = busybox) =>
    rkt.ok(["--insecure-options=image", "run", ...options, image, ...show]).stdout;
  const hosts = readFileSync("/etc/resolv.conf", "utf8");
  assert.equal(seen([]), hosts);
  assert.equal(seen(["--net=host"]), hosts);
  assert.equal(seen(["--dns=none"]), "none\n");
  // Behind systemd-resolved, another network has its servers.
  const uplink = "/run/systemd/resolve/resolv.conf";
  assert.equal(seen(["--net=none"]), existsSync(uplink) ? readFileSync(uplink, "utf8") : hosts);
  assert.equal(seen(["--net=none", "--dns=none"]), "none\n");
  assert.equal(seen(["--net=none", "--dns=host"]), hosts);
  for (const net of ["--net=host", "--net=none"]) {
    const asked = (...options: string[]) => seen([net, ...options]);
    assert.equal(asked("--dns=192.0.2.1"), "nameserver 192.0.2.1\n");
    assert.equal(asked("--dns=192.0.2.1", "--dns=2001:db8::1"), "nameserver 192.0.2.1\nnameserver 2001:db8::1\n");
    assert.equal(asked("--dns-search=a.example", "--dns-search=b.example"), "search a.example b.example\n");
    assert.equal(asked("--dns-domain=c.example"), "domain c.example\n");
    assert.equal(asked("--dns-opt=debug", "--dns-opt=ndots:5"), "options debug ndots:5\n");
  }
  // The image's own stays where none is asked for.
  const own = busyboxWith(rkt, [{ name: "rootfs/etc/resolv.conf", data: "# the image's\n" }]);
  assert.equal(seen(["--dns=none"], own), "# the image's\n");
  assert.equal(seen(["--dns=192.0.2.1"], own), "nameserver 192.0.2.1\n");
});

/** A container that runs, but whose file `pid` has been put aside, as if it were about to run; and an `rkt enter` to it. */
async function entering(rkt: Rkt) {
  const file = join(rkt.scratch, "uuid");
  const script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done";
  const child = rkt.start(["run", `--uuid-file-save=${file}`, busybox, ...sh(script)]);
  const ended = finished(child);
  await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
  const uuid = readFileSync(file, "utf8").trim();
  const pid = join(rkt.dir, "containers/run", uuid, "pid");
  renameSync(pid, `${pid}.aside`);
  const enter = rkt.start(["enter", uuid, "/bin/echo", "entered"]);
  const entered = finished(enter);
  // It has looked once: the container's manifest has been read.
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(enter.exitCode, null, "it waits");
  return { child, ended, entered, pid };
}

test("enter waits for a container that is starting", async (t) => {
  if (!requires(t, "root", "build")) return;
  const { child, ended, entered, pid } = await entering(makeRkt(t));
  renameSync(`${pid}.aside`, pid);
  const { status, stdout, stderr } = await entered;
  assert.deepEqual([status, stdout], [0, "entered\n"], stderr);
  child.kill("SIGTERM");
  await ended;
});

test("enter does not wait for a container whose start has failed", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const { child, ended, entered } = await entering(rkt);
  child.kill("SIGKILL");
  await ended;
  const { status, stderr } = await entered;
  assert.equal(status, 254);
  assert.match(stderr, /^rkt: enter: container \S+ is not running: it is exited/);
  rkt.run(["run", `--uuid-file-save=${rkt.scratch}/failed`, busybox, "--exec=/no/such"]);
  rkt.fails(["enter", `--uuid-file=${rkt.scratch}/failed`], 254, /is not running: it is exited/);
});
