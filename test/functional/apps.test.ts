/** What an app is given besides its own program: event handlers, sockets, mounts, groups, environment. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { globSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { dist, eventually, finished, makeRkt, type Rkt, requires, scratchFile } from "../helpers/rkt.ts";

const ROOT: readonly Entry[] = [
  { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
  { name: "rootfs/bin/sh", type: "2", link: "busybox" },
  { name: "rootfs/etc/passwd", data: "root:x:0:0::/root:/bin/sh\nweb:x:7:8:Web:/srv:/bin/sh\n" },
  { name: "rootfs/etc/group", data: "root:x:0:\nwww:x:8:\n" },
  { name: "rootfs/srv", type: "5", uid: 7, gid: 8 },
];

let made = 0;

/** An image whose programs are scripts of busybox's shell. */
function image(rkt: Rkt, app: object, entries: readonly Entry[] = []): string {
  const json = manifest({ app: { exec: sh("true"), user: "root", group: "root", ...app } });
  return scratchFile(rkt, `image-${made++}.aci`, makeAci([...ROOT, ...entries], json));
}

const sh = (script: string): string[] => ["/bin/sh", "-c", `b() { /bin/busybox "$@"; }; ${script}`];
const handlers = (events: Record<string, string>) =>
  Object.entries(events).map(([name, script]) => ({ name, exec: sh(script) }));

// --- event handlers -------------------------------------------------------------------------

test("event handlers are processes of the app: its user, groups, directory, environment, limits", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const say = (what: string) =>
    sh(`echo ${what} $(b id -u) $(b id -G) $(pwd) $A $AC_APP_NAME $(b grep -c app-x /proc/self/cgroup)`);
  const app = {
    exec: say("main"),
    user: "web",
    group: "www",
    supplementaryGIDs: [9],
    workingDirectory: "/srv",
    environment: [{ name: "A", value: "of the app" }],
    eventHandlers: ["pre-start", "post-stop"].map((name) => ({ name, exec: say(name) })),
    isolators: [{ name: "resource/memory", value: { limit: "64Mi" } }],
  };
  const lines = rkt
    .ok(["run", image(rkt, app), "--name=x"])
    .stdout.trim()
    .split("\n");
  assert.deepEqual(
    lines.map((line) => line.split(" ")[0]),
    ["pre-start", "main", "post-stop"],
  );
  const [seen, ...others] = new Set(lines.map((line) => line.split(" ").slice(1).join(" ")));
  assert.match(seen ?? "", /^7 8 9 \/srv of the app x [2-9]$/);
  assert.deepEqual(others, []);
});

interface Ending {
  name: string;
  events: Record<string, string>;
  main?: string;
  annotation?: string;
  status: number;
  stdout: string;
  stderr: string;
}

const endings: Ending[] = [
  {
    name: "a pre-start handler that fails: the app never starts, and has its status",
    events: { "pre-start": "echo before; exit 7", "post-stop": "echo after" },
    status: 7,
    stdout: "before\n",
    stderr: "rkt: app x: the pre-start handler ended with status 7\n",
  },
  {
    name: "a pre-start handler that is killed",
    events: { "pre-start": "kill -SEGV $$" },
    status: 139,
    stdout: "",
    stderr: "rkt: app x: the pre-start handler ended with status 139\n",
  },
  {
    name: "a pre-start handler that is killed, though it had the time",
    events: { "pre-start": "kill -KILL $$" },
    status: 137,
    stdout: "",
    stderr: "rkt: app x: the pre-start handler ended with status 137\n",
  },
  {
    name: "a pre-start handler that does not end",
    events: { "pre-start": "trap '' TERM INT; echo begun; while :; do b sleep 0.1; done" },
    // The launcher itself has to start within it.
    annotation: "6",
    status: 137,
    stdout: "begun\n",
    stderr: "rkt: app x: the pre-start handler did not end within 6 s\n",
  },
  {
    name: "a post-stop handler that fails changes nothing",
    events: { "post-stop": "echo after; exit 7" },
    main: "echo main",
    status: 0,
    stdout: "main\nafter\n",
    stderr: "rkt: app x: the post-stop handler ended with status 7\n",
  },
  {
    name: "a post-stop handler runs after a failure, and changes nothing",
    events: { "post-stop": "echo after" },
    main: "echo main; exit 9",
    status: 9,
    stdout: "main\nafter\n",
    stderr: "",
  },
  {
    name: "a post-stop handler runs after the app was killed",
    events: { "post-stop": "echo after" },
    main: "kill -TERM $$",
    status: 143,
    stdout: "after\n",
    stderr: "",
  },
  {
    name: "a post-stop handler that does not end",
    events: { "post-stop": "echo after; while :; do b sleep 0.1; done" },
    main: "exit 3",
    status: 3,
    stdout: "after\n",
    stderr: "rkt: app x: the post-stop handler did not end within 8 s\n",
  },
];
test("how event handlers end", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const all = endings.map((c, i) => {
    const app = { exec: sh(c.main ?? "echo main"), eventHandlers: handlers(c.events) };
    const limit =
      c.annotation === undefined ? [] : [`--annotation=coreos.com/rocket/pre-start-timeout=${c.annotation}`];
    return finished(rkt.start(["run", image(rkt, app), `--name=x${i}`, ...limit]));
  });
  for (const [i, c] of endings.entries())
    await t.test(c.name, async () => {
      const { status, stdout, stderr } = (await all[i]) ?? assert.fail();
      const said = stderr.replace(`app x${i}:`, "app x:");
      assert.deepEqual({ status, stdout, stderr: said }, { status: c.status, stdout: c.stdout, stderr: c.stderr });
      const [file = ""] = globSync(join(rkt.dir, `containers/*/*/status/x${i}`));
      assert.equal(readFileSync(file, "utf8"), `${c.status}\n`);
    });
});

test("what an app and its handlers leave running ends with it, and nobody waits for that", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const seconds = String(1_000_000 + process.pid);
  const leave = `(trap '' TERM; exec /bin/busybox sleep ${seconds}) & `;
  const left = () =>
    spawnSync("grep", ["-lz", seconds, ...globSync("/proc/[0-9]*/cmdline")])
      .stdout.toString()
      .match(/\n/g)?.length ?? 0;
  const eventHandlers = handlers({ "pre-start": `${leave} true`, "post-stop": `${leave} true` });
  const other = image(rkt, { exec: sh("trap 'exit 0' TERM; while :; do b sleep 0.1; done") });
  // Less than the time that an app has to end in.
  const soon = 8000;

  const ends = rkt.start([
    "run",
    image(rkt, { exec: sh(`${leave} echo main; b sleep 1`), eventHandlers }),
    "--name=x",
    "---",
    other,
    "--name=other",
  ]);
  const done = finished(ends);
  await once(ends.stdout ?? assert.fail(), "data");
  assert.ok(left() > 0);
  await eventually("nothing is left", () => (left() === 0 ? true : undefined), soon);
  assert.equal(ends.exitCode, null);
  ends.kill("SIGTERM");
  assert.equal((await done).status, 0);

  // What an app leaves when it was told to end may take the app's time.
  const stays = rkt.start([
    "run",
    image(rkt, { exec: sh(`${leave} echo main; b sleep 1000; true`), eventHandlers }),
    "--stop-timeout=1s",
  ]);
  await once(stays.stdout ?? assert.fail(), "data");
  assert.ok(left() > 0);
  stays.kill("SIGTERM");
  await eventually("the container has ended", () => stays.exitCode ?? undefined, soon);
  assert.deepEqual([stays.exitCode, left()], [143, 0]);
});

test("a handler that cannot be executed says so", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const app = { exec: sh("echo main"), eventHandlers: [{ name: "pre-start", exec: ["/nope"] }] };
  const { stdout } = rkt.fails(["run", image(rkt, app), "--name=x"], 203, /cannot execute "\/nope": no such file/);
  assert.equal(stdout, "");
});

test("a container that is to end does not wait for its pre-start handler", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const events = { "pre-start": "trap 'exit 5' TERM; echo begun; while :; do b sleep 0.1; done" };
  const child = rkt.start(["run", image(rkt, { exec: sh("echo main"), eventHandlers: handlers(events) }), "--name=x"]);
  const done = finished(child);
  await Promise.race([new Promise<void>((resolve) => child.stdout?.once("data", () => resolve())), done]);
  child.kill("SIGTERM");
  const { status, stdout } = await done;
  assert.deepEqual({ status, stdout }, { status: 5, stdout: "begun\n" });
});

// --- sockets --------------------------------------------------------------------------------

/** An image with the host's perl, the one program that every Debian has and that can accept(2). */
function perl(rkt: Rkt, name: string, script: string, ports: object[]): string[] {
  const links = ["bin", "lib", "lib64"].map((dir): Entry => ({ name: `rootfs/${dir}`, type: "2", link: `usr/${dir}` }));
  const app = {
    exec: ["/usr/bin/perl", "-MSocket", "-e", `$| = 1; sub fd { open(my $s, "+<&=", $_[0]) or die; $s } ${script}`],
    user: "7",
    group: "8",
    mountPoints: [{ name: "usr", path: "/usr", readOnly: true }],
    ports: ports.map((port) => ({ ...port, socketActivated: true })),
  };
  const json = manifest({ name: `example.com/${name}`, app });
  return [scratchFile(rkt, `perl-${made++}.aci`, makeAci(links, json)), `--name=${name}`];
}

/** Ports that were free a moment ago. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  for (const server of servers) server.close();
  return ports;
}

test("an app is started with its sockets, each by its name", async (t) => {
  if (!requires(t, "root", "build", "perl")) return;
  const rkt = makeRkt(t);
  const [www = 0, admin = 0] = await freePorts(2);
  const script = `
    my @names = split /:/, $ENV{LISTEN_FDNAMES};
    print $ENV{LISTEN_PID} == $$ ? "mine" : "not mine", " $ENV{LISTEN_FDS}\\n";
    for my $i (sort { $names[$a] cmp $names[$b] } 0 .. $#names) {
      my $s = fd(3 + $i);
      my ($port) = sockaddr_family(getsockname $s) == AF_INET6 ? unpack_sockaddr_in6(getsockname $s) : unpack_sockaddr_in(getsockname $s);
      print "$names[$i] $port ", unpack("i", getsockopt($s, SOL_SOCKET, SO_TYPE)), "\\n";
      next if $names[$i] eq "dns";
      accept(my $c, $s) or die; print $c "hello from $names[$i]\\n"; close $c;
    }`;
  const child = rkt.start([
    "run",
    "--volume=usr:/usr",
    ...perl(rkt, "x", script, [
      { name: "www", protocol: "tcp", port: www },
      { name: "admin", protocol: "tcp", port: admin },
      { name: "dns", protocol: "udp", port: www },
    ]),
  ]);
  const done = finished(child);
  await Promise.race([once(child.stdout ?? assert.fail(), "data"), done]);
  // Before the app has accepted anything, perhaps before it has begun to.
  const greetings = await Promise.all([admin, www].map((port) => text(connect(port, "127.0.0.1"))));
  assert.deepEqual(greetings, ["hello from admin\n", "hello from www\n"]);
  const { status, stdout, stderr } = await done;
  assert.deepEqual({ status, stderr }, { status: 0, stderr: "" });
  assert.equal(stdout, `mine 3\nadmin ${admin} 1\ndns ${www} 2\nwww ${www} 1\n`);
});

test("a client that is still waiting when the app has ended does not start it again", async (t) => {
  if (!requires(t, "root", "build", "perl")) return;
  const rkt = makeRkt(t);
  const [port = 0] = await freePorts(1);
  const script = `print "up\\n"; my $r = ""; vec($r, 3, 1) = 1; select($r, undef, undef, undef); exit 0`;
  const words = perl(rkt, "x", script, [{ name: "www", protocol: "tcp", port }]);
  const child = rkt.start(["run", "--volume=usr:/usr", ...words]);
  const done = finished(child);
  await Promise.race([once(child.stdout ?? assert.fail(), "data"), done]);
  const client = connect(port, "127.0.0.1").on("error", () => {});
  t.after(() => client.destroy());
  const { status, stdout, stderr } = await done;
  assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: "up\n", stderr: "" });
});

test("a port in use", async (t) => {
  if (!requires(t, "root", "build", "perl")) return;
  const rkt = makeRkt(t);
  const server = createServer().listen(0);
  t.after(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const words = perl(rkt, "x", 'print "started\\n"', [{ name: "www", protocol: "tcp", port }]);
  const { status, stdout, stderr } = await finished(rkt.start(["run", "--volume=usr:/usr", ...words]));
  const said = "rkt: app x: cannot listen on its port www: is it in use?\n";
  assert.deepEqual({ status, stdout, stderr }, { status: 254, stdout: "", stderr: said });
});

test("sockets that cannot be, before anything is made", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const one = [{ name: "www", protocol: "tcp", port: 80, count: 2 }];
  const other = [{ name: "web", protocol: "tcp", port: 81 }];
  const two = [...perl(rkt, "x", "", one), "---", ...perl(rkt, "y", "", other)];
  rkt.fails(
    ["run", "--volume=usr:/usr", ...two],
    254,
    /app x and app y are both to be started with port 81\/tcp\nhint: /,
  );
  const strange = perl(rkt, "x", "", [{ name: "www", protocol: "sctp", port: 80 }]);
  rkt.fails(
    ["run", "--volume=usr:/usr", ...strange],
    254,
    /app x: port www is to be listened on, and its protocol is sctp/,
  );
  assert.deepEqual(rkt.containers(), []);
});

// --- mounts ---------------------------------------------------------------------------------

const foreign = (program: string, ...args: string[]): string => {
  const done = spawnSync(program, args, { encoding: "utf8" });
  assert.equal(done.status, 0, `${program} ${args.join(" ")}: ${done.stderr}`);
  return done.stdout;
};

/** A tree of the host's: a file, and another file system below. */
function hostTree(rkt: Rkt): string {
  const source = join(rkt.scratch, "source");
  mkdirSync(join(source, "below"), { recursive: true });
  writeFileSync(join(source, "file"), "of the host\n");
  foreign("mount", "-t", "tmpfs", "tmpfs", join(source, "below"));
  writeFileSync(join(source, "below", "deep"), "below\n");
  return source;
}

const point = (path: string, more: object = {}) => ({ name: "data", path, ...more });

interface MountCase {
  name: string;
  app: object;
  entries?: Entry[];
  options: string[];
  after?: string[];
  script: string;
  out: string;
  /** What is said on the way, of app "test". */
  told?: string;
}

const mounts: MountCase[] = [
  {
    name: "with what is mounted below, as the specification has it by default",
    app: { mountPoints: [point("/data")] },
    options: ["--volume=data:SOURCE"],
    script: "b cat /data/file /data/below/deep",
    out: "of the host\nbelow\n",
  },
  {
    name: "without, when it says so",
    app: { mountPoints: [point("/data")] },
    options: ["--volume=data,kind=host,source=SOURCE,recursive=false"],
    script: "b ls /data /data/below",
    out: "/data:\nbelow\nfile\n\n/data/below:\n",
  },
  {
    name: "read-only, and what is mounted below with it",
    app: { mountPoints: [point("/data")] },
    options: ["--volume=data,kind=host,source=SOURCE,readOnly=true"],
    script: "for f in file below/deep; do { echo x >/data/$f; } 2>/dev/null || echo refused; done",
    out: "refused\nrefused\n",
  },
  {
    name: "read-only by the mount point, and what is mounted below with it",
    app: { mountPoints: [point("/data", { readOnly: true })] },
    options: ["--volume=data:SOURCE"],
    script: "for f in file below/deep; do { echo x >/data/$f; } 2>/dev/null || echo refused; done",
    out: "refused\nrefused\n",
  },
  {
    name: "one in another, in whichever order they are given",
    app: { mountPoints: [point("/a/b/c"), { name: "outer", path: "/a" }] },
    options: ["--volume=data:SOURCE", "--volume=outer,kind=empty"],
    script: "b cat /a/b/c/file; echo x >/a/own && b ls /a",
    out: "of the host\nb\nown\n",
  },
  {
    name: "over a directory that has files, which are not seen",
    app: { mountPoints: [point("/data")] },
    entries: [{ name: "rootfs/data/of-the-image", data: "x" }],
    options: ["--volume=data:SOURCE"],
    script: "b ls /data",
    out: "below\nfile\n",
    told: 'rkt: app test: volume "data" hides what the image has at /data\n',
  },
  {
    name: "in the place of a file",
    app: { mountPoints: [point("/etc/motd")] },
    entries: [{ name: "rootfs/etc/motd", data: "x" }],
    options: ["--volume=data:SOURCE"],
    script: "b cat /etc/motd/file",
    out: "of the host\n",
    told: 'rkt: app test: volume "data" hides what the image has at /etc/motd\n',
  },
  {
    name: "by an absolute link in the image, which leads to a place in the image",
    app: { mountPoints: [point("/link/inside")] },
    entries: [{ name: "rootfs/link", type: "2", link: "OUTSIDE" }],
    options: ["--volume=data:SOURCE"],
    script: "b cat OUTSIDE/inside/file",
    out: "of the host\n",
  },
  {
    name: "by a link upwards, which ends at the image's root",
    app: { mountPoints: [point("/srv/link/inside")] },
    entries: [{ name: "rootfs/srv/link", type: "2", link: "../../../../../../../../OUTSIDE" }],
    options: ["--volume=data:SOURCE"],
    script: "b cat OUTSIDE/inside/file",
    out: "of the host\n",
  },
  {
    name: "by a link that is the target itself",
    app: { mountPoints: [point("/link")] },
    entries: [{ name: "rootfs/link", type: "2", link: "OUTSIDE" }],
    options: ["--volume=data,kind=empty"],
    script: "echo x >/link/file; b cat OUTSIDE/file",
    out: "x\n",
  },
  {
    name: "writable where the volume says so, though the image has it read-only",
    app: { mountPoints: [point("/data", { readOnly: true })] },
    options: ["--volume=data,kind=empty,readOnly=false"],
    script: "echo x >/data/file; b cat /data/file",
    out: "x\n",
  },
  {
    name: "with the owner, mode and files of the image's directory, where a mount point has none",
    app: { mountPoints: [point("/var/link/db")] },
    entries: [
      { name: "rootfs/var/link", type: "2", link: "../srv" },
      { name: "rootfs/srv/db", type: "5", mode: 0o1770, uid: 33, gid: 34 },
      { name: "rootfs/srv/db/seed", data: "seed\n", uid: 33, mode: 0o640 },
    ],
    options: [],
    script: "b stat -c '%a %u %g' /srv/db /srv/db/seed; echo more >>/srv/db/seed; b cat /srv/db/seed",
    out: "1770 33 34\n640 33 0\nseed\nmore\n",
    told: `rkt: app test: mount point "data" has no volume: a new one takes its place, and goes with the container
hint: --volume data:/PATH gives it a directory of the host
`,
  },
  {
    name: "an empty one for a mount point that has none",
    app: { mountPoints: [point("/data")] },
    options: [],
    script: "b ls /data; b stat -c '%a %u %g' /data; echo x >/data/file; b cat /data/file",
    out: "755 0 0\nx\n",
    told: `rkt: app test: mount point "data" has no volume: a new one takes its place, and goes with the container
hint: --volume data:/PATH gives it a directory of the host
`,
  },
];
test("two apps with an unserved mount point of one name share the empty volume", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const reader = "while [ ! -e /in/file ]; do b sleep 0.1; done; b cat /in/file";
  const apps = [
    [
      image(rkt, { exec: sh("echo shared >/out/.new; b mv /out/.new /out/file"), mountPoints: [point("/out")] }),
      "--name=a",
    ],
    [image(rkt, { exec: sh(reader), mountPoints: [point("/in", { readOnly: true })] }), "--name=b"],
  ];
  const { stdout, stderr } = rkt.ok(["run", ...(apps[0] ?? []), "---", ...(apps[1] ?? [])]);
  assert.equal(stdout, "shared\n");
  assert.deepEqual(stderr.match(/(?<=^rkt: app )[ab]: mount point "data" has no volume/gm), [
    'a: mount point "data" has no volume',
    'b: mount point "data" has no volume',
  ]);
  assert.equal(rkt.ok(["--quiet", "run", ...(apps[0] ?? [])]).stderr, "");
});

test("a volume is mounted", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const source = hostTree(rkt);
  // A directory of the host by whose name images have links.
  const outside = join(rkt.scratch, "outside");
  mkdirSync(outside);
  const real = (text: string) => text.replaceAll("SOURCE", source).replaceAll("OUTSIDE", outside);
  for (const c of mounts)
    await t.test(c.name, () => {
      const entries = (c.entries ?? []).map((entry) => ({ ...entry, link: real(entry.link ?? "") }));
      const words = [...c.options.map(real), image(rkt, { exec: sh(real(c.script)), ...c.app }, entries)];
      const { stdout, stderr } = rkt.ok(["run", ...words]);
      assert.deepEqual({ stdout, stderr }, { stdout: c.out, stderr: c.told ?? "" });
      assert.equal(foreign("find", outside), `${outside}\n`);
      const files = foreign("find", source, "-type", "f").trim().split("\n").sort();
      assert.deepEqual(files, [`${source}/below/deep`, `${source}/file`]);
    });
});

for (const [flavor, options] of [
  ["stage1-nspawn", []],
  ["stage1-fly", [`--stage1-path=${join(dist, "stage1-fly.aci")}`]],
] as const)
  test(`${flavor}: a link that has come where a volume's source was is not followed`, (t) => {
    if (!requires(t, "root", "build")) return;
    const rkt = makeRkt(t);
    const parent = join(rkt.scratch, "parent");
    const elsewhere = join(rkt.scratch, "elsewhere");
    for (const dir of [join(parent, "a/b"), join(elsewhere, "b")]) mkdirSync(dir, { recursive: true });
    writeFileSync(join(parent, "file"), "");
    const aci = image(rkt, { exec: sh("echo reached") });
    // The source, what is replaced, as an app could that has the directory `parent`, and the link's target.
    for (const [source, replaced, target] of [
      [join(parent, "file"), join(parent, "file"), "/etc/passwd"],
      [join(parent, "a/b"), join(parent, "a"), elsewhere],
    ] as const) {
      const volume = [`--volume=v,kind=host,source=${source}`, "--mount=volume=v,target=/v"];
      const prepare = ["--insecure-options=image", "prepare", ...options, ...volume, aci];
      const uuid = rkt.ok(prepare).stdout.trim();
      renameSync(replaced, `${replaced}.was`);
      symlinkSync(target, replaced);
      const { status, stdout, stderr } = rkt.run(["run-prepared", uuid]);
      assert.notEqual(status, 0);
      assert.equal(stdout, "");
      assert.match(stderr, new RegExp(`cannot mount ${source}: a symbolic link is on the way`));
    }
  });

/** Each leads, by a name or by a link of the image, to something below a volume of the host that is not there, or of another kind. */
const intoTheHost: { name: string; app: object; entries?: Entry[]; options: string[]; after?: string[] }[] = [
  {
    name: "a target that is not there",
    app: { mountPoints: [point("/data"), { name: "b", path: "/data/new" }] },
    options: ["--volume=b,kind=empty"],
  },
  {
    name: "… by a link of the image",
    app: { mountPoints: [point("/data"), { name: "b", path: "/l/new/er" }] },
    entries: [{ name: "rootfs/l", type: "2", link: "/data" }],
    options: ["--volume=b,kind=empty"],
  },
  {
    name: "… by a dangling link of the image",
    app: { mountPoints: [point("/data"), { name: "b", path: "/x/y/z" }] },
    entries: [{ name: "rootfs/x/y/z", type: "2", link: "../../data/dangling" }],
    options: ["--volume=b,kind=empty"],
  },
  {
    name: "a file where a directory is to be",
    app: { mountPoints: [point("/data"), { name: "b", path: "/l/file" }] },
    entries: [{ name: "rootfs/l", type: "2", link: "/data" }],
    options: ["--volume=b,kind=empty"],
  },
  {
    name: "a directory where a file is to be",
    app: { mountPoints: [point("/data"), { name: "b", path: "/l/below" }] },
    entries: [{ name: "rootfs/l", type: "2", link: "/data" }],
    options: ["--volume=b,kind=host,source=SOURCE/file"],
  },
  {
    name: "the notification socket, by a link of the image",
    app: { mountPoints: [point("/data")] },
    entries: [{ name: "rootfs/run", type: "2", link: "/data" }],
    options: [],
    after: ["--annotation=appc.io/executor/supports-systemd-notify=true"],
  },
];
test("nothing is made or taken away in a directory of the host, wherever links of the image lead", async (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const source = hostTree(rkt);
  const tree = () => foreign("find", source, "-printf", "%p %y %m %U:%G %s %T@\\n");
  const before = tree();
  for (const c of intoTheHost)
    await t.test(c.name, () => {
      const file = image(rkt, { exec: sh("echo started"), ...c.app }, c.entries);
      const options = c.options.map((option) => option.replaceAll("SOURCE", source));
      const argv = ["run", `--volume=data:${source}`, ...options, file, ...(c.after ?? [])];
      const { stdout } = rkt.fails(
        argv,
        226,
        /rkt makes nothing there|it is a directory, and what is to be mounted a file/,
      );
      assert.equal(stdout, "");
      assert.equal(tree(), before);
    });
});

test("what the host mounts later is not in the container: a volume stays read-only, or without what is below", async (t) => {
  if (!requires(t, "root", "build", "mount")) return;
  const rkt = makeRkt(t);
  const source = join(rkt.scratch, "source");
  mkdirSync(join(source, "below"), { recursive: true });
  // As on hosts with systemd: what is mounted here is mounted wherever this is.
  foreign("mount", "--bind", source, source);
  foreign("mount", "--make-shared", source);
  const app = {
    exec: sh("echo up; read go; echo x 2>&- >/data/below/x && echo written; b ls /data/below"),
    mountPoints: [point("/data")],
  };
  for (const options of ["readOnly=true", "readOnly=true,recursive=false", "recursive=false"]) {
    const words = [`--volume=data,kind=host,source=${source},${options}`, image(rkt, app)];
    const child = rkt.start(["run", "--interactive", ...words], { stdio: ["pipe", "pipe", "pipe"] });
    const done = finished(child);
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    foreign("mount", "-t", "tmpfs", "tmpfs", join(source, "below"));
    writeFileSync(join(source, "below", "later"), "");
    child.stdin?.end("go\n");
    const { stdout } = await done;
    foreign("umount", join(source, "below"));
    const written = options === "recursive=false" ? "written\nx\n" : "";
    assert.equal(stdout, `up\n${written}`, options);
  }
});

test("a mount's own volume is that mount's alone", (t) => {
  if (!requires(t, "root", "build")) return;
  const rkt = makeRkt(t);
  const sources = ["a", "b", "c"].map((name) => {
    const dir = join(rkt.scratch, name);
    mkdirSync(dir);
    writeFileSync(join(dir, "file"), `${name}\n`);
    return dir;
  });
  const [a, b, c] = sources.map((source) => ({ name: "v", kind: "host", source }));
  const file = image(rkt, { exec: sh("true") });
  const id = rkt.ok(["fetch", "--full", "--insecure-options=image", file]).stdout.trim();
  const app = (name: string, script: string, mounts: object[]) => ({
    name,
    image: { id },
    app: { exec: sh(script), user: "0", group: "0" },
    mounts,
  });
  const empty = (mode: string) => ({ name: "v", kind: "empty", mode });
  const manifest = {
    acVersion: "0.8.11",
    acKind: "PodManifest",
    volumes: [c],
    apps: [
      app("one", "b cat /x/file /y/file /z/file; b stat -c %a /e /f; echo one >/e/own; b ls /f", [
        { volume: "v", path: "/x", appVolume: a },
        { volume: "v", path: "/y", appVolume: b },
        { volume: "v", path: "/z" },
        { volume: "v", path: "/e", appVolume: empty("0711") },
        { volume: "v", path: "/f", appVolume: empty("1777") },
      ]),
    ],
  };
  const text = scratchFile(rkt, "pod.json", JSON.stringify(manifest));
  assert.equal(rkt.ok(["run", `--pod-manifest=${text}`]).stdout, "a\nb\nc\n711\n1777\n");
});
