/** Sockets that a service manager has opened for rkt's own unit reach the apps, by their ports. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { dist, eventually, exampleAci, finished, makeRkt, type Rkt, requires, rktBinary, scratchFile } from "../helpers/rkt.ts";

const ready = (t: TestContext, ...more: string[]) => requires(t, "root", "build", "perl", "systemd-socket-activate", ...more);

/** Says what it has been started with, and then serves: `SAYS` lines, one client of each socket, the end. */
const SERVER = `
  $| = 1;
  print "$ENV{LISTEN_FDS} ", $ENV{LISTEN_PID} == $$ ? "mine" : "not mine", "\\n";
  my @names = split /:/, $ENV{LISTEN_FDNAMES};
  print join(" ", sort { $a <=> $b } map { s{.*/}{}r } grep { -S "/proc/self/fd/$_" } map { s{.*/}{}r } glob("/proc/self/fd/*")), " are sockets\\n";
  for my $i (sort { $names[$a] cmp $names[$b] } 0 .. $#names) {
    open(my $s, "+<&=", 3 + $i) or die;
    my $address = getsockname $s;
    my $six = sockaddr_family($address) == AF_INET6;
    my ($port, $host) = $six ? unpack_sockaddr_in6($address) : unpack_sockaddr_in($address);
    my $where = inet_ntop($six ? AF_INET6 : AF_INET, $host);
    print "$names[$i] $where $port\\n";
    if (unpack("i", getsockopt($s, SOL_SOCKET, SO_TYPE)) == SOCK_DGRAM) {
      my $from = recv($s, my $said, 99, 0); send($s, "heard $said", 0, $from);
    } else {
      accept(my $c, $s) or die; print $c "hello from $names[$i]\\n"; close $c;
    }
  }`;

interface PortOf {
  name: string;
  protocol: string;
  port: number;
  count?: number;
  socketActivated?: boolean;
}

/** An image with the host's perl. */
function server(rkt: Rkt, name: string, ports: readonly PortOf[], script = SERVER): string[] {
  const links = ["bin", "lib", "lib64"].map((dir): Entry => ({ name: `rootfs/${dir}`, type: "2", link: `usr/${dir}` }));
  const app = {
    exec: ["/usr/bin/perl", "-MSocket=:all", "-e", script],
    user: "7",
    group: "8",
    mountPoints: [{ name: "usr", path: "/usr", readOnly: true }],
    ports: ports.map((port) => ({ socketActivated: true, ...port })),
  };
  return [scratchFile(rkt, `${name}.aci`, makeAci(links, manifest({ name: `example.com/${name}`, app })))];
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0));
  await Promise.all(servers.map((one) => once(one, "listening")));
  const ports = servers.map((one) => (one.address() as AddressInfo).port);
  for (const one of servers) one.close();
  return ports;
}

/** A service whose sockets systemd-socket-activate has opened; it is started by the first client. */
async function activated(t: TestContext, rkt: Rkt, listen: readonly string[], words: readonly string[]): Promise<ChildProcess> {
  return await listening(t, listen, [rktBinary, `--dir=${rkt.dir}`, "--insecure-options=image", ...words]);
}

async function listening(t: TestContext, listen: readonly string[], program: readonly string[]): Promise<ChildProcess> {
  const child = spawn("systemd-socket-activate", [...listen, ...program], { stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  let said = "";
  child.stderr?.on("data", (chunk) => {
    said += chunk;
  });
  const sockets = listen.filter((word) => word.startsWith("--listen=")).length;
  await eventually("all listen", () => (said.split("Listening on").length > sockets ? true : undefined));
  return child;
}

const greeting = (port: number, host = "127.0.0.1"): Promise<string> => text(connect(port, host));

for (const options of [["--net=host"], ["--net=none"], ["--net"], ["--private-users"], ["--no-overlay", "--net=none", "--private-users"]])
  test(`an app gets the sockets of rkt's own unit: ${options.join(" ")}`, async (t) => {
    if (!ready(t)) return;
    const rkt = makeRkt(t);
    const [www = 0, admin = 0] = await freePorts(2);
    const ports = [
      { name: "www", protocol: "tcp", port: www },
      { name: "admin", protocol: "tcp", port: admin },
    ];
    // Whole the host's, and one of its addresses.
    const listen = [`--listen=${www}`, `--listen=127.0.0.1:${admin}`];
    const image = server(rkt, "x", ports);
    rkt.ok(["--insecure-options=image", "prepare", "--volume=usr:/usr", ...image]);
    const child = await activated(t, rkt, listen, ["run", ...options, "--volume=usr:/usr", ...image]);
    const done = finished(child);
    assert.deepEqual(await Promise.all([admin, www].map((port) => greeting(port))), ["hello from admin\n", "hello from www\n"]);
    const { status, stdout } = await done;
    assert.equal(stdout, `2 mine\n3 4 are sockets\nadmin 127.0.0.1 ${admin}\nwww :: ${www}\n`);
    assert.equal(status, 0);
  });

test("sockets by number of a port with a count, of UDP, and of more than the first process's own descriptors", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  let base = 0;
  // Eight in a row that are free.
  for (let tries = 0; tries < 50 && base === 0; tries++) {
    const [first = 0] = await freePorts(1);
    const servers = Array.from({ length: 8 }, (_, i) => createServer().listen(first + i, "127.0.0.1"));
    const listening = await Promise.allSettled(servers.map((one) => once(one, "listening")));
    for (const one of servers) one.close();
    if (listening.every(({ status }) => status === "fulfilled")) base = first;
  }
  const numbers = Array.from({ length: 8 }, (_, i) => base + i);
  const image = server(rkt, "x", [{ name: "many", protocol: "tcp", port: base, count: 8 }]);
  rkt.ok(["--insecure-options=image", "prepare", "--volume=usr:/usr", ...image]);
  const listen = numbers.map((port) => `--listen=127.0.0.1:${port}`);
  const child = await activated(t, rkt, listen, ["run", "--net=none", "--volume=usr:/usr", ...image]);
  const done = finished(child);
  assert.deepEqual(await Promise.all(numbers.map((port) => greeting(port))), numbers.map(() => "hello from many\n"));
  const { status, stdout } = await done;
  const [, , ...said] = stdout.trimEnd().split("\n");
  assert.deepEqual(said.sort(), numbers.map((port) => `many 127.0.0.1 ${port}`).sort());
  assert.match(stdout, /^8 mine\n3 4 5 6 7 8 9 10 are sockets\n/);
  assert.equal(status, 0);

  const udp = server(rkt, "y", [{ name: "dns", protocol: "udp", port: base }]);
  rkt.ok(["--insecure-options=image", "prepare", "--volume=usr:/usr", ...udp]);
  const dns = await activated(t, rkt, ["--datagram", `--listen=127.0.0.1:${base}`], ["run", "--net=none", "--volume=usr:/usr", ...udp]);
  const heard = finished(dns);
  const client = createSocket("udp4");
  t.after(() => client.close());
  client.send("you", base, "127.0.0.1");
  const [answer] = await once(client, "message");
  assert.equal(String(answer), "heard you");
  assert.equal((await heard).stdout, `1 mine\n3 are sockets\ndns 127.0.0.1 ${base}\n`);
});

test("two apps, each with its own; a port that nobody has opened is the container's to open; relays have none", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const [one = 0, two = 0, own = 0] = await freePorts(3);
  const first = server(rkt, "x", [{ name: "a", protocol: "tcp", port: one }]);
  const second = server(rkt, "y", [
    { name: "b", protocol: "tcp", port: two },
    { name: "c", protocol: "tcp", port: own },
  ]);
  const words = ["--volume=usr:/usr", ...first, "---", ...second];
  const uuid = rkt.ok(["--insecure-options=image", "prepare", ...words]).stdout.trim();
  const child = await activated(t, rkt, [`--listen=127.0.0.1:${one}`, `--listen=127.0.0.1:${two}`], ["run-prepared", uuid]);
  const done = finished(child);
  assert.equal(await greeting(two), "hello from b\n");
  const holders = spawnSync("sh", ["-c", `for fd in /proc/[0-9]*/fd/*; do
      case $(readlink $fd) in "socket:[$1]") p=\${fd%/fd/*}; tr '\\0' ' ' <$p/cmdline | cut -d' ' -f1;; esac; done 2>/dev/null | sort -u`, "sh", inode(one)]);
  assert.deepEqual(
    String(holders.stdout).split("\n").filter((line) => /relay|cat$|sh$|pid1/.test(line)),
    [],
  );
  assert.equal(await greeting(own), "hello from c\n");
  assert.equal(await greeting(one), "hello from a\n");
  const { status, stdout } = await done;
  assert.deepEqual(
    stdout.split("\n").filter((line) => /^[abc] /.test(line)).sort(),
    [`a 127.0.0.1 ${one}`, `b 127.0.0.1 ${two}`, `c :: ${own}`],
  );
  assert.equal(status, 0);
});

/** Of the socket that listens on a port of 127.0.0.1 (proc_net(5)). */
function inode(port: number): string {
  const address = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const line = readFileSync("/proc/net/tcp", "utf8").split("\n").find((one) => one.includes(` ${address} 00000000:0000 0A`));
  return line?.trim().split(/\s+/)[9] ?? assert.fail("nobody listens");
}

/** A shell's script that becomes rkt, with the variables that a service manager sets; $RKT is the line. */
function started(rkt: Rkt, script: string, words: readonly string[]) {
  const line = [rktBinary, `--dir=${rkt.dir}`, "--insecure-options=image", ...words];
  const done = spawnSync("bash", ["-c", `export LISTEN_PID=$$ LISTEN_FDS=1; ${script}`, "bash", ...line], {
    encoding: "utf8",
    cwd: rkt.scratch,
    timeout: 60_000,
  });
  return done;
}

test("sockets that can't be passed on are refused by name, and nothing is left", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const [port = 0, other = 0] = await freePorts(2);
  const image = server(rkt, "x", [
    { name: "www", protocol: "tcp", port },
    { name: "plain", protocol: "tcp", port: other, socketActivated: false },
  ]);
  const run = ["run", "--net=none", "--volume=usr:/usr", ...image];
  const uuid = rkt.ok(["--insecure-options=image", "prepare", "--volume=usr:/usr", ...image]).stdout.trim();
  const before = rkt.containers();
  const refused = (script: string, message: RegExp, words: readonly string[] = run) => {
    const { status, stdout, stderr } = started(rkt, script, words);
    assert.deepEqual([status, stdout], [254, ""], stderr);
    assert.match(stderr, message);
    assert.match(stderr, /\nhint: /);
    assert.deepEqual(rkt.containers(), before);
  };
  for (const count of ["x", "-1", "01", "65", "1e1", "99999999999999999999", " 1", "1 ", ""])
    refused(`LISTEN_FDS='${count}' exec "$@" 3</dev/null`, /LISTEN_FDS=.* is no number of sockets from 1 to 64/);
  refused('exec "$@" 3</dev/null', /descriptor 3 is no socket \(.*ENOTSOCK\)/);
  refused('exec 3>&-; LISTEN_FDS=40 exec "$@"', /descriptor \d+ is no socket/);
  refused('exec "$@" 3</dev/null', /descriptor 3 is no socket/, ["run-prepared", uuid]);
  const listener = createServer(() => {}).listen(port, "127.0.0.1");
  t.after(() => listener.close());
  await once(listener, "listening");
  const by = (listen: string, message: RegExp, words: readonly string[] = run, more = "") => {
    // With a connection there is something to be started for.
    const activate = `systemd-socket-activate ${more} --listen=${listen} "$@" & `;
    const poke = `for i in $(seq 100); do ${listen.startsWith("/") ? `perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0); connect(S, sockaddr_un("${listen}")) or exit 1'` : `(: </dev/${more === "" ? "tcp" : "udp"}/127.0.0.1/${listen.split(":").at(-1)} && echo x >/dev/${more === "" ? "tcp" : "udp"}/127.0.0.1/${listen.split(":").at(-1)})`} 2>/dev/null && break; sleep 0.05; done; wait $!`;
    const { status, stdout, stderr } = started(rkt, activate + poke, words);
    assert.deepEqual([status, stdout], [254, ""], stderr);
    assert.match(stderr, message);
    assert.deepEqual(rkt.containers(), before);
  };
  by(`127.0.0.1:${other}`, new RegExp(`a socket of 127\\.0\\.0\\.1:${other}/tcp, and port plain is not socketActivated`));
  const [stranger = 0] = await freePorts(1);
  by(`127.0.0.1:${stranger}`, new RegExp(`a socket of 127\\.0\\.0\\.1:${stranger}/tcp, and no app has that port`));
  by(`127.0.0.1:${stranger}`, /and no app has that port/, ["run-prepared", uuid]);
  by(join(rkt.scratch, "unix"), /descriptor 3 is a socket of neither TCP nor UDP/);
  refused(`exec 3<>/dev/tcp/127.0.0.1/${port}; exec "$@"`, /descriptor 3 is a socket that does not listen/);
  listener.close();
  const fly = [...run.filter((word) => word !== "--net=none"), `--stage1-path=${join(dist, "stage1-fly.aci")}`];
  const shell = [...run, `--stage1-path=${exampleAci("stage1-shell")}`];
  for (const words of [fly, shell]) by(`127.0.0.1:${port}`, /stage1 image \S+ can't give apps the service manager's sockets/, words);
});

test("nothing else that the caller has open gets through; sockets of another process are not rkt's", async (t) => {
  if (!ready(t)) return;
  const rkt = makeRkt(t);
  const [port = 0] = await freePorts(1);
  const script = `print join(" ", map { readlink } glob("/proc/self/fd/*")), " $ENV{LISTEN_FDS}\\n"; ${SERVER}`;
  const image = server(rkt, "x", [{ name: "www", protocol: "tcp", port }], script);
  rkt.ok(["--insecure-options=image", "prepare", "--volume=usr:/usr", ...image]);
  writeFileSync(join(rkt.scratch, "secret"), "secret");
  const run = ["run", "--net=none", "--volume=usr:/usr", ...image];
  // A file beside the socket, by the shell that the manager starts.
  const wrapper = join(rkt.scratch, "wrapper");
  writeFileSync(wrapper, `#!/bin/bash\nexec 4<'${rkt.scratch}/secret' 30<'${rkt.scratch}/secret'\nexec "$@"\n`, { mode: 0o755 });
  const line = [wrapper, rktBinary, `--dir=${rkt.dir}`, "--insecure-options=image", ...run];
  const child = await listening(t, [`--listen=127.0.0.1:${port}`], line);
  const done = finished(child);
  assert.equal(await greeting(port), "hello from www\n");
  const { status, stdout } = await done;
  assert.equal(status, 0);
  assert.doesNotMatch(stdout, /secret/);
  assert.match(stdout, /^\/dev\/null \/rkt\/stdio\/x\.out \/rkt\/stdio\/x\.err socket:\[\d+\] +1\n1 mine\n3 are sockets\n/);

  const others = started(rkt, 'LISTEN_PID=1 exec "$@" 3</dev/null', ["run", "--net=none", exampleAci("busybox"), "--exec=/bin/sh", "--", "-c", "echo $LISTEN_FDS; ls -l /proc/self/fd | grep -c socket"]);
  assert.deepEqual([others.status, others.stdout], [1, "\n0\n"], others.stderr);
});

test("systemd-socket-proxyd in front of a container with a network of its own", async (t) => {
  const proxyd = "/usr/lib/systemd/systemd-socket-proxyd";
  if (!ready(t) || !existsSync(proxyd)) return assert.ok(existsSync(proxyd), "systemd has its proxy");
  const rkt = makeRkt(t);
  const [port = 0] = await freePorts(1);
  const image = server(rkt, "x", [{ name: "www", protocol: "tcp", port: 8080 }]);
  const uuidFile = join(rkt.scratch, "uuid");
  const run = ["--insecure-options=image", "run", "--net", `--uuid-file-save=${uuidFile}`, "--volume=usr:/usr", ...image];
  const child = rkt.start(run);
  const done = finished(child);
  await once(child.stdout ?? assert.fail(), "data");
  const [{ networks }] = JSON.parse(rkt.ok(["list", "--format=json"]).stdout);
  const address = networks[0].addresses[0].split("/")[0];
  await listening(t, [`--listen=127.0.0.1:${port}`], [proxyd, `${address}:8080`]);
  assert.equal(await greeting(port), "hello from www\n");
  assert.equal((await done).status, 0);
});
