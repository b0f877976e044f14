/** Networks of containers, seen by ip(8), iptables-save(8), and namespaces that stand for other hosts. */

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { NETWORK_STATE, networkClaim } from "../../shared/contract/host-state.ts";
import { type Entry, makeAci, manifest } from "../fixtures/aci.ts";
import { earlyImages } from "../fixtures/early-images.ts";
import { assertManners } from "../faults/aftermath.ts";
import { random, rounds, seed } from "../faults/random.ts";
import { chooseFaults, countCalls, withFault } from "../faults/strace.ts";
import { startMetadataService } from "../helpers/metadata-service.ts";
import { takeOwnHost } from "../helpers/own-host.ts";
import {
  eventually,
  exampleAci,
  finished,
  makeRkt,
  type Rkt,
  requires,
  rktBinary,
  scratchFile,
} from "../helpers/rkt.ts";

takeOwnHost();

const busybox = exampleAci("busybox");
const sh = (script: string): string[] => [busybox, "--exec=/bin/sh", "--", "-c", script];
const ip = (...args: string[]): string => execFileSync("ip", args, { encoding: "utf8" });

/** What the host has: interfaces, rules, namespaces, leases and ports. Empty tables are no tables. */
function host(): string {
  const rules = ["iptables-save", "ip6tables-save", "ebtables-nft-save"].flatMap((command) =>
    (spawnSync(command, { encoding: "utf8" }).stdout ?? "")
      .split("\n")
      .filter((line) => /^-A|^:(?:CNI|RKT)/.test(line))
      // What portmap, of whichever runtime, leaves behind without a port, and ours takes away; and what the plugin
      // firewall leaves behind, for the administrator's own rules are there.
      .filter((line) => !/CNI-HOSTPORT-(?:MASQ|SETMARK|DNAT(?: - \[|$))|CNI-(?:ADMIN|FORWARD)(?: - \[|$)/.test(line)),
  );
  const state = ["leases", "ports", "containers"].flatMap((name) => {
    const dir = `/run/rkt/net/${name}`;
    const files = existsSync(dir) ? readdirSync(dir, { recursive: true }) : [];
    return name === "containers" ? files : files.filter((file) => /\d$/.test(String(file)));
  });
  const links = ip("-brief", "link")
    .split("\n")
    .map((line) => line.split(/[ @]/)[0]);
  return JSON.stringify({ rules, state, links: links.sort(), names: ip("netns") }, undefined, 1);
}

/** The tests share the host's network: one at a time, and what is there after each is what was before. */
function networkTest(name: string, body: (t: TestContext, rkt: Rkt) => Promise<void> | void): void {
  test(name, async (t) => {
    if (!requires(t, "root", "build", "ip", "iptables-save", "flock")) return;
    const before = host();
    const rkt = makeRkt(t);
    await body(t, rkt);
    await eventually("the host's network is as before", () => (host() === before ? true : undefined)).catch(() =>
      assert.equal(host(), before),
    );
  });
}

/** A container that goes on until it is killed, and its address. */
async function standing(
  rkt: Rkt,
  script: string,
  ...options: string[]
): Promise<{ uuid: string; address: string; end(): Promise<unknown> }> {
  const child = rkt.start(["run", ...options, ...sh(script)], { stdio: ["ignore", "ignore", "inherit"] });
  const done = finished(child);
  const [uuid, address] = await eventually("an address", () => {
    const containers: { uuid: string; pid?: number; networks: { addresses: string[] }[] }[] = JSON.parse(
      rkt.ok(["list", "--format=json"]).stdout,
    );
    const found = containers.find(({ pid }) => pid === child.pid);
    const first = found?.networks[0]?.addresses[0];
    return found === undefined || first === undefined ? undefined : [found.uuid, first.replace(/\/.*/, "")];
  });
  return {
    uuid,
    address,
    end: async () => {
      child.kill("SIGKILL");
      return await done;
    },
  };
}

function killWaiters(uuid: string): void {
  let killed = 0;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    let command = "";
    try {
      command = readFileSync(`/proc/${pid}/cmdline`, "latin1");
    } catch {
      // It has just ended.
    }
    if (!command.startsWith(`sh\0${NETWORK_STATE.claims}/${uuid}`)) continue;
    process.kill(Number(pid), "SIGKILL");
    killed += 1;
  }
  assert.ok(killed > 0, "there is a waiter");
}

/** What a TCP connection says first. */
function ask(address: string, port: number, namespace?: string): string {
  const nc = ["busybox", "nc", "-w", "5", address, String(port)];
  const [program = "", ...args] = namespace === undefined ? nc : ["ip", "netns", "exec", namespace, ...nc];
  return spawnSync(program, args, { encoding: "utf8", input: "", timeout: 10_000 }).stdout;
}

const SERVE = "exec nc -ll -p 8000 -e /bin/echo hello";

networkTest("the default network: an address of its own, a way out by NAT, and nothing left", (_, rkt) => {
  const routes = ip("route");
  const { stdout } = rkt.ok([
    "run",
    "--net",
    ...sh("ip -o -4 addr show dev eth0; ip route; cat /etc/hosts; ip link show lo; ip -o link | wc -l"),
  ]);
  const [, address = ""] = /inet (\d+\.\d+\.\d+\.\d+)\/24/.exec(stdout) ?? [];
  assert.match(stdout, /^default via \d+\.\d+\.\d+\.1 dev eth0/m);
  assert.match(stdout, new RegExp(`^${address}\\trkt-`, "m"));
  assert.match(stdout, /lo: <LOOPBACK,UP/);
  assert.match(stdout, /^2$/m, "lo and eth0");
  assert.ok(!routes.includes(address.replace(/\.\d+$/, ".0")), "a subnet of no route of the host");
});

for (const net of ["--net", "--net=default"])
  networkTest(`${net}: a network namespace of its own, the way to the host and back`, async (t, rkt) => {
    const own = readlinkSync("/proc/self/ns/net");
    assert.equal(rkt.ok(["run", ...sh("readlink /proc/self/ns/net")]).stdout, `${own}\n`);
    const { address, end } = await standing(rkt, SERVE, net);
    await eventually("it serves", () => (ask(address, 8000) === "hello\n" ? true : undefined));
    await end();
    // From the container to the host: its gateway is one of the host's addresses.
    const server = createServer((socket) => socket.end("the host\n")).listen(0, "0.0.0.0");
    t.after(() => server.close());
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const script = `readlink /proc/self/ns/net; nc -w 5 $(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p') ${port} </dev/null`;
    // The server answers meanwhile.
    const { stdout } = await finished(rkt.start(["run", net, ...sh(script)]));
    const [namespace, said] = stdout.split("\n");
    assert.match(namespace ?? "", /^net:\[\d+\]$/);
    assert.notEqual(namespace, own);
    assert.equal(said, "the host");
  });

for (const spelling of ["--private-net", "--net=default"])
  networkTest(`${spelling} is --net`, (_, rkt) => {
    assert.match(rkt.ok(["run", spelling, ...sh("ip -o -4 addr show dev eth0")]).stdout, /inet/);
  });

networkTest("--net=none has loopback only, --net=host and no option the host's", (_, rkt) => {
  const links =
    "ls /sys/class/net >/dev/null 2>&1; ip -o link | cut -d: -f2 | tr -d ' '; ping -c1 127.0.0.1 >/dev/null && echo up";
  assert.equal(rkt.ok(["run", "--net=none", ...sh(links)]).stdout, "lo\nup\n");
  const inode = "readlink /proc/self/ns/net";
  const own = execFileSync("readlink", ["/proc/self/ns/net"], { encoding: "utf8" });
  assert.equal(rkt.ok(["run", "--net=host", ...sh(inode)]).stdout, own);
  assert.equal(rkt.ok(["run", ...sh(inode)]).stdout, own);
  assert.notEqual(rkt.ok(["run", "--net=none", ...sh(inode)]).stdout, own);
});

networkTest(
  "with users of the container's own: low ports, ICMP sockets and kernel parameters, but not the network",
  (_, rkt) => {
    const app = {
      ...{ exec: ["/bin/sh", "-c"], user: "0", group: "0" },
      isolators: [{ name: "os/unix/sysctl", value: { "net.ipv4.ip_forward": "1", "kernel.msgmax": "9000" } }],
    };
    const links = ["sh", "cat", "nc", "ip", "sleep"];
    const root: Entry[] = [
      { name: "rootfs/bin/busybox", data: readFileSync("/usr/bin/busybox"), mode: 0o755 },
      ...links.map((link): Entry => ({ name: `rootfs/bin/${link}`, type: "2", link: "busybox" })),
    ];
    const image = scratchFile(rkt, "low.aci", makeAci(root, manifest({ app })));
    const script = `cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax net/ipv4/ip_unprivileged_port_start
set -- $(cat net/ipv4/ping_group_range); echo $1 $2
(until echo low | nc 127.0.0.1 80; do sleep 0.1; done) 2>&- & nc -l -p 80; ip link add x type dummy 2>&1 || echo refused`;
    for (const net of ["none", "default"])
      assert.equal(
        rkt.ok(["--insecure-options=image", "run", "--private-users", `--net=${net}`, image, "--", script]).stdout,
        "1\n9000\n0\n0 65535\nlow\nip: RTNETLINK answers: Operation not permitted\nrefused\n",
        net,
      );
  },
);

networkTest(
  "a published port: from loopback, from the host's addresses, from another host; by name and by number",
  async (t, rkt) => {
    const other = `rkt-test-${process.pid}`;
    const link = `rt${process.pid}`.slice(0, 14);
    t.after(() => {
      spawnSync("ip", ["netns", "del", other]);
      spawnSync("ip", ["link", "del", link]);
    });
    const server = await standing(rkt, SERVE, "--net", "--port=8000-tcp:18080");
    try {
      ip("netns", "add", other);
      ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", other);
      ip("addr", "add", "198.51.100.1/24", "dev", link);
      ip("link", "set", link, "up");
      ip("-n", other, "addr", "add", "198.51.100.2/24", "dev", "eth0");
      ip("-n", other, "link", "set", "eth0", "up");
      await eventually("an answer", () => (ask("127.0.0.1", 18080) === "hello\n" ? true : undefined));
      assert.equal(ask("198.51.100.1", 18080), "hello\n", "the host's own address");
      assert.equal(ask("198.51.100.1", 18080, other), "hello\n", "another host");
      assert.equal(ask(server.address, 8000), "hello\n", "the container's address");
      rkt.fails(
        ["run", "--net", "--port=8000-tcp:18080", ...sh("true")],
        254,
        /port tcp 18080 of the host is published by container/,
      );
    } finally {
      await server.end();
      spawnSync("ip", ["netns", "del", other]);
      spawnSync("ip", ["link", "del", link]);
    }
  },
);

networkTest("containers on one network reach each other", async (_, rkt) => {
  const server = await standing(rkt, SERVE, "--net");
  const { stdout } = rkt.ok(["run", "--net", ...sh(`nc -w 5 ${server.address} 8000 </dev/null`)]);
  await server.end();
  assert.equal(stdout, "hello\n");
});

/** Two hosts in namespaces, one with rkt: `near` is 198.51.100.1, `far` its router 198.51.100.2. */
function twoHosts(t: TestContext): { near: string; far: string; end(): void } {
  const [near, far] = [`rkt-near-${process.pid}`, `rkt-far-${process.pid}`];
  const end = () => {
    for (const name of [near, far]) spawnSync("ip", ["netns", "del", name]);
  };
  t.after(end);
  for (const name of [near, far]) ip("netns", "add", name);
  ip("link", "add", "lan", "netns", near, "type", "veth", "peer", "name", "lan", "netns", far);
  for (const [name, last] of [[near, 1] as const, [far, 2] as const]) {
    ip("-n", name, "addr", "add", `198.51.100.${last}/24`, "dev", "lan");
    for (const device of ["lo", "lan"]) ip("-n", name, "link", "set", device, "up");
  }
  ip("-n", near, "route", "add", "default", "via", "198.51.100.2");
  return { near, far, end };
}

/** The command line in a network namespace; unlike `ip netns exec` it leaves /sys, and so the cgroups, as they are. */
const within = (namespace: string, ...command: string[]): [string, string[]] => [
  "nsenter",
  [`--net=/run/netns/${namespace}`, ...command],
];

networkTest("IPv6 where the host has it: between containers, a way out, a published port", async (t, rkt) => {
  if (!requires(t, "nsenter")) return;
  const { near, far, end } = twoHosts(t);
  for (const [name, last] of [[near, 1] as const, [far, 2] as const])
    ip("-n", name, "addr", "add", `2001:db8::${last}/64`, "dev", "lan", "nodad");
  ip("-n", near, "-6", "route", "add", "default", "via", "2001:db8::2");
  const run = (...args: string[]) => within(near, rktBinary, `--dir=${rkt.dir}`, ...args);
  const says = ([program, args]: [string, string[]]): string =>
    spawnSync(program, args, { encoding: "utf8", input: "", timeout: 30_000 }).stdout;

  const server = spawn(...run("run", "--net", "--port=8000-tcp:18086", ...sh(SERVE)), {
    stdio: ["ignore", "ignore", "inherit"],
  });
  t.after(() => server.kill("SIGKILL"));
  const done = finished(server);
  const addresses = await eventually("an address", () => {
    const [container]: { networks: { addresses: string[] }[] }[] = JSON.parse(rkt.ok(["list", "--format=json"]).stdout);
    return container?.networks[0]?.addresses;
  });
  const [, address = ""] = /^(fd[0-9a-f:]+)\/64$/.exec(addresses[1] ?? "") ?? assert.fail(String(addresses));

  const question = (target: string, port: number) => ["busybox", "nc", "-w", "5", target, String(port)];
  await eventually("an answer", () =>
    says(within(near, ...question(address, 8000))) === "hello\n" ? true : undefined,
  );
  assert.equal(says(within(near, ...question("2001:db8::1", 18086))), "hello\n", "the host's own address");
  assert.equal(says(within(far, ...question("2001:db8::1", 18086))), "hello\n", "another host");
  assert.equal(says(within(far, ...question("198.51.100.1", 18086))), "hello\n", "another host, by IPv4");
  const inside = `nc -w 5 ${address} 8000 </dev/null; ping -6 -c 1 2001:db8::2 | grep received; ip -6 route | grep default`;
  assert.match(
    says(run("run", "--net", ...sh(inside))),
    /^hello\n1 packets transmitted, 1 packets received.*\ndefault via fd[0-9a-f:]+::1 dev eth0/,
    "another container, another host by the host's address (it has no way back to ours), and the way there",
  );

  server.kill("SIGKILL");
  await done;
  await eventually("bridge and rules are gone", () =>
    says(within(near, "sh", "-c", "ip link; ip6tables-save")).match(/rkt0|RKT|veth/) ? undefined : true,
  );
  end();
});

networkTest("no IPv6 where the host has no way out by it", (t, rkt) => {
  if (!requires(t, "nsenter")) return;
  const { near, end } = twoHosts(t);
  const script = sh("ip -o -4 addr show dev eth0 | wc -l; ip -o -6 addr show dev eth0 scope global | wc -l");
  const [program, args] = within(near, rktBinary, `--dir=${rkt.dir}`, "run", "--net", ...script);
  assert.equal(spawnSync(program, args, { encoding: "utf8", timeout: 60_000 }).stdout, "1\n0\n");
  end();
});

networkTest("an address of a DHCP server, by CNI's daemon; without it a way out", async (t, rkt) => {
  const server = `rkt-dhcp-${process.pid}`;
  const bridge = `rd${process.pid}`;
  const clean = () => {
    for (const link of [bridge, `${bridge}s`]) spawnSync("ip", ["link", "del", link]);
    spawnSync("ip", ["netns", "del", server]);
  };
  t.after(clean);
  ip("link", "add", bridge, "type", "bridge");
  ip("netns", "add", server);
  ip("link", "add", `${bridge}s`, "type", "veth", "peer", "name", "eth0", "netns", server);
  ip("link", "set", `${bridge}s`, "master", bridge, "up");
  ip("link", "set", bridge, "up");
  ip("-n", server, "addr", "add", "10.253.40.1/24", "dev", "eth0");
  ip("-n", server, "link", "set", "eth0", "up");
  const leases = scratchFile(rkt, "leases", "");
  const served = scratchFile(
    rkt,
    "udhcpd.conf",
    `start 10.253.40.100\nend 10.253.40.110\ninterface eth0\nlease_file ${leases}\npidfile ${leases}.pid\n` +
      "option subnet 255.255.255.0\noption router 10.253.40.1\noption lease 600\n",
  );
  const [program, args] = within(server, "busybox", "udhcpd", "-f", served);
  const dhcp = spawn(program, args, { stdio: "ignore" });
  t.after(() => dhcp.kill("SIGKILL"));

  const daemonSocketPath = join(rkt.scratch, "dhcp.sock");
  const ipam = { type: "dhcp", daemonSocketPath };
  const config = conf(rkt, {
    "lan.conf": JSON.stringify({ cniVersion: "1.0.0", name: "lan", type: "bridge", bridge, ipam }),
  });
  const run = ["run", config, "--net=lan", ...sh("ip -o -4 addr show dev eth0; ip route")];
  rkt.fails(run, 254, /network lan \(.*lan\.conf\): plugin bridge: .*DHCP daemon.*\nhint: dhcp needs its daemon/);
  rkt.fails(["gc", "--grace-period=0"], 254, /cannot release the networks .*DHCP daemon.*rkt rm --force/s);
  const [left = ""] = rkt.containers();
  rkt.ok(["rm", "--force", left.replace(/.*\//, "")]);
  assert.deepEqual(rkt.containers(), []);

  const [plugin = ""] = globSync(join(rkt.dir, "cas/tree/*/rootfs/usr/lib/cni/dhcp"));
  const daemon = spawn(plugin, ["daemon", "-socketpath", daemonSocketPath], { stdio: "ignore" });
  t.after(() => daemon.kill("SIGKILL"));
  await eventually("the daemon listens", () => (existsSync(daemonSocketPath) ? true : undefined));
  const { stdout } = rkt.ok(run);
  assert.match(stdout, /inet 10\.253\.40\.1\d\d\/24/);
  assert.match(stdout, /^default via 10\.253\.40\.1 dev eth0/m);
  // Its DEL gives the lease back.
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
  clean();
});

networkTest("killed, all of it: gc releases what is left, once", async (_, rkt) => {
  const before = host();
  const child = rkt.start(["run", "--net", "--port=8000-tcp:18081", ...sh("sleep 1000")], { stdio: "ignore" });
  const [listed] = await eventually("an address", () => {
    const list: { uuid: string; networks: unknown[] }[] = JSON.parse(rkt.ok(["list", "--format=json"]).stdout);
    return list[0] !== undefined && list[0].networks.length > 0 ? list : undefined;
  });
  assert.ok(listed !== undefined);
  assert.notEqual(host(), before);
  // The waiter first, which would do it.
  killWaiters(listed.uuid);
  const done = finished(child);
  child.kill("SIGKILL");
  await done;
  assert.notEqual(host(), before, "nobody has released it");
  rkt.ok(["gc"]);
  assert.equal(host(), before, "at once, before the grace period ends");
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
});

networkTest("50 starts and kills in parallel leak nothing", async (_, rkt) => {
  rkt.ok(["run", ...sh("true")]);
  const children = Array.from({ length: 50 }, (_, i) =>
    rkt.start(["run", "--net", ...sh(i % 3 === 0 ? "true" : "sleep 1000")], { stdio: ["ignore", "ignore", "pipe"] }),
  );
  const ends = children.map(finished);
  // Some have not begun, some run, some have ended.
  for (const [i, child] of children.entries())
    if (i % 3 !== 0)
      await eventually(
        "it runs, or it is its turn",
        () => (i % 3 === 1 || existsSync(`/proc/${child.pid}/cwd/net/networks`) ? true : undefined),
        120_000,
      ).then(() => child.kill("SIGKILL"));
  for (const [i, end] of ends.entries()) {
    const { status, stderr } = await end;
    if (i % 3 === 0) assert.equal(status, 0, stderr);
  }
  rkt.ok(["gc", "--grace-period=0"]);
  assert.deepEqual(rkt.containers(), []);
});

const conf = (t: Rkt, files: Record<string, string>): string => {
  const dir = join(t.scratch, "config");
  mkdirSync(join(dir, "net.d"), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, "net.d", name), text);
  return `--local-config=${dir}`;
};
const range = (type: string, name: string, third: number, over: object = {}) =>
  JSON.stringify({
    cniVersion: "0.4.0",
    name,
    type,
    ipam: { type: "host-local", subnet: `10.253.${third}.0/29`, routes: [{ dst: "0.0.0.0/0" }] },
    ...over,
  });

networkTest(
  "networks of the administrator's: ptp, macvlan and a list with tuning; several at once, with arguments",
  (t, rkt) => {
    const master = `rm${process.pid}`.slice(0, 14);
    ip("link", "add", master, "type", "veth", "peer", "name", `${master}p`.slice(-15));
    ip("link", "set", master, "up");
    t.after(() => spawnSync("ip", ["link", "del", master]));
    const config = conf(rkt, {
      "10-point.conf": range("ptp", "point", 1, { ipMasq: true }),
      "20-mac.conf": range("macvlan", "mac", 2, { master }),
      "30-tuned.conflist": JSON.stringify({
        cniVersion: "1.0.0",
        name: "tuned",
        plugins: [
          JSON.parse(range("bridge", "tuned", 3, { bridge: "rktt0", isGateway: true })),
          { type: "tuning", sysctl: { "net.core.somaxconn": "500" } },
        ],
      }),
    });
    const { stdout } = rkt.ok([
      "run",
      config,
      "--net=point,mac:IP=10.253.2.5,tuned",
      ...sh("ip -o -4 addr | tr -s ' ' | cut -d' ' -f2,4; cat /proc/sys/net/core/somaxconn"),
    ]);
    assert.match(stdout, /^eth0 10\.253\.1\.\d\/29$/m);
    assert.match(stdout, /^eth1 10\.253\.2\.5\/29$/m);
    assert.match(stdout, /^eth2 10\.253\.3\.\d\/29$/m);
    assert.match(stdout, /^500$/m);
    const [container] = JSON.parse(rkt.ok(["list", "--format=json"]).stdout);
    assert.deepEqual(
      container.networks.map(({ name }: { name: string }) => name),
      ["point", "mac", "tuned"],
    );
    spawnSync("ip", ["link", "del", "rktt0"]);
    spawnSync("ip", ["link", "del", master]);
  },
);

/** What plugins find fault with, by a plugin beside the files of net.d. */
const FAULTFINDER = `#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
ADD) echo '{"cniVersion": "0.4.0", "interfaces": [], "ips": [], "dns": {"nameservers": ["192.0.2.53"]}}' ;;
CHECK) echo '{"code": 11, "msg": "not as I left it"}'; exit 1 ;;
esac
`;

networkTest(
  "a plugin beside the files of net.d; what it finds fault with is told, and no reason not to start",
  (_, rkt) => {
    const config = conf(rkt, { "f.conf": JSON.stringify({ cniVersion: "0.4.0", name: "f", type: "rkt-test-fault" }) });
    const plugin = join(rkt.scratch, "config/net.d/rkt-test-fault");
    const words = ["--debug", "run", config, "--net=f", ...sh("cat /etc/resolv.conf")];
    writeFileSync(plugin, FAULTFINDER);
    rkt.fails(words, 254, /there is no plugin "rkt-test-fault"\nhint: plugins are looked for in \S*config\/net\.d, /);
    chmodSync(plugin, 0o775);
    rkt.fails(
      words,
      254,
      /plugin rkt-test-fault is not run: \S*net\.d\/rkt-test-fault can be written to by others than root\nhint: chown/,
    );
    chmodSync(plugin, 0o755);
    chownSync(plugin, 1000, 0);
    rkt.fails(words, 254, /plugin rkt-test-fault is not run: \S* belongs to user 1000/);
    chownSync(plugin, 0, 0);
    const { stdout, stderr } = rkt.ok(words);
    assert.match(stdout, /^nameserver 192\.0\.2\.53$/m);
    assert.match(stderr, /^rkt: warning: CHECK: network f \(\S*f\.conf\): plugin rkt-test-fault: not as I left it$/m);
  },
);

networkTest(
  "a plugin that is gone when its container ends: gc says so, rm --force abandons what it holds",
  async (t, rkt) => {
    const config = conf(rkt, { "f.conf": JSON.stringify({ cniVersion: "0.4.0", name: "f", type: "rkt-test-fault" }) });
    const plugin = join(rkt.scratch, "config/net.d/rkt-test-fault");
    writeFileSync(plugin, FAULTFINDER, { mode: 0o755 });
    const child = rkt.start(["run", config, "--net=f", ...sh("exec sleep 1000")], { stdio: "ignore" });
    const done = finished(child);
    const uuid = await eventually(
      "a claim",
      () => rkt.run(["list", "--format=json"]).stdout.match(/"uuid":"([^"]*)"/)?.[1],
    );
    const { steps, failed } = networkClaim(uuid);
    await eventually("it runs", () => (rkt.run(["enter", uuid, "/bin/true"]).status === 0 ? true : undefined));
    rmSync(plugin);
    child.kill("SIGKILL");
    await done;
    await eventually("the waiter's try", () => (existsSync(failed) ? true : undefined));
    assert.deepEqual(readdirSync(steps), ["10-f"]);
    rkt.ok(["run", "--net", ...sh("true")]);
    const message =
      /cannot release the networks of container .*: plugin rkt-test-fault is gone, and what it holds of the host is not known/;
    rkt.fails(["gc"], 254, message);
    const other = makeRkt(t).fails(["gc"], 254, message);
    assert.match(other.stderr, new RegExp(`^hint: .* .rm -r \\S*/${uuid}. abandons what is left$`, "m"));
    rkt.fails(["rm", uuid], 254, message);
    rkt.ok(["rm", "--force", uuid]);
    assert.ok(!existsSync(networkClaim(uuid).dir));
    rkt.ok(["gc", "--grace-period=0"]);
  },
);

networkTest("--debug with a published port", (_, rkt) => {
  const { stdout, stderr } = rkt.ok(["--debug", "run", "--net", "--port=80-tcp:18101", ...sh("echo there")]);
  assert.equal(stdout.replaceAll("\r", ""), "there\n");
  // A container without IPv6 has no such rules; the plugin portmap looks for them all the same.
  for (const [line] of stderr.matchAll(/^rkt: warning: .*/gm))
    assert.match(line, /CHECK: network default \(built in\): plugin portmap: could not check ipv6 dnat/);
});

networkTest("default-restricted: the host, and no way further", async (_, rkt) => {
  const before = execFileSync("iptables-save", { encoding: "utf8" }).match(/MASQUERADE/g);
  const neighbour = await standing(rkt, "exec sleep 1000", "--net=default-restricted");
  assert.deepEqual(execFileSync("iptables-save", { encoding: "utf8" }).match(/MASQUERADE/g), before);
  const gateway = neighbour.address.replace(/\.\d+$/, ".1");
  const script = `ip route; for host in ${gateway} ${neighbour.address}; do ping -c1 -W2 $host >/dev/null && echo $host; done; true`;
  const { stdout } = rkt.ok(["run", "--net=default-restricted", ...sh(script)]);
  assert.doesNotMatch(stdout, /^default/m);
  assert.match(stdout, new RegExp(`^169\\.254\\.169\\.255 via ${gateway} dev eth0`, "m"));
  // Nothing that comes from it is forwarded, whatever routes it has.
  assert.ok(stdout.endsWith(`\n${gateway}\n`), stdout);
  await neighbour.end();
});

networkTest(
  "keys in any case, as rkt 1.30 took them; a port over a bridge with ipMasq; --net twice; all",
  async (t, rkt) => {
    t.after(() => spawnSync("ip", ["link", "del", "rktu0"]));
    const ipam = { Type: "host-local", Subnet: "10.253.16.0/29", Routes: [{ Dst: "0.0.0.0/0" }] };
    const config = conf(rkt, {
      "10-big.conf": JSON.stringify({
        Name: "big",
        Type: "bridge",
        Bridge: "rktu0",
        IsGateway: true,
        IpMasq: true,
        Ipam: ipam,
      }),
      "20-point.conf": range("ptp", "point", 17),
    });
    const server = await standing(rkt, SERVE, config, "--net=big", "--port=8000-tcp:18102");
    assert.match(server.address, /^10\.253\.16\./);
    assert.match(
      execFileSync("iptables-save", { encoding: "utf8" }),
      /-A POSTROUTING -s 10\.253\.16\.\d\/32 .*-j CNI-/,
    );
    await eventually("an answer", () => (ask("127.0.0.1", 18102) === "hello\n" ? true : undefined));
    await server.end();
    const addresses = sh("ip -o -4 addr show scope global | tr -s ' ' | cut -d' ' -f2,4");
    const both = rkt.ok(["run", config, "--net=point:IP=10.253.17.5", "--net=big", ...addresses]).stdout;
    assert.match(both, /^eth0 10\.253\.17\.5\/29\neth1 10\.253\.16\.\d\/29\n$/);
    const all = rkt.ok(["run", config, "--net=all,point:IP=10.253.17.6", ...addresses]).stdout;
    assert.match(all, /^eth0 10\.253\.16\.\d\/29\neth1 10\.253\.17\.6\/29\neth2 \d+\.\d+\.\d+\.\d+\/24\n$/);
    rkt.fails(["run", config, "--net=big", "--net=host", ...addresses], 254, /"host" stands alone/);
    spawnSync("ip", ["link", "del", "rktu0"]);
  },
);

networkTest("a port is free as soon as its container has ended, 20 times in a row", (_, rkt) => {
  for (let i = 0; i < 20; i++) rkt.ok(["run", "--net", "--port=8000-tcp:18103", ...sh("exit 0")]);
});

networkTest("while the ports of a container are made, another joins its network", async (_, rkt) => {
  const leases = `${NETWORK_STATE.leases}/default`;
  const leased = () => existsSync(leases) && readdirSync(leases).some((name) => /^\d/.test(name));
  rkt.ok(["run", "--net", ...sh("true")]);
  await eventually("it is released", () => (leased() ? undefined : true));
  // As long as its input is open it has the lock that all who publish ports take.
  const holder = spawn("flock", [NETWORK_STATE.portmapLock, "sh", "-c", "echo locked; cat"]);
  await new Promise((resolve) => holder.stdout.once("data", resolve));
  const slow = rkt.start(["run", "--net", "--port=7999-tcp:18110-18111", ...sh(SERVE)], { stdio: "ignore" });
  const done = finished(slow);
  try {
    await eventually("it has its address", () => (leased() ? true : undefined));
    assert.equal(rkt.ok(["run", "--net", ...sh("echo joined")]).stdout, "joined\n");
  } finally {
    holder.stdin.end();
  }
  await eventually("the ports are made", () => (ask("127.0.0.1", 18_111) === "hello\n" ? true : undefined));
  slow.kill("SIGKILL");
  await done;
});

networkTest("killed with its waiter: the next start, of another data directory, takes the port", async (t, rkt) => {
  const first = await standing(rkt, SERVE, "--net", "--port=8000-tcp:18104");
  const other = makeRkt(t);
  const words = ["run", "--net", "--port=8000-tcp:18104", ...sh("exit 0")];
  other.fails(words, 254, /port tcp 18104 of the host is published by container/);
  other.ok(["gc"]);
  other.fails(words, 254, /port tcp 18104 of the host is published by container/);
  killWaiters(first.uuid);
  await first.end();
  other.ok(words);
});

for (const [waiter, message] of [
  [true, "its waiter releases the networks"],
  [false, "the next start releases the networks"],
] as const)
  networkTest(`a data directory that is removed while its container runs: ${message}`, async (t, rkt) => {
    const leases = "/var/lib/cni/networks/rkt-test-lan";
    t.after(() => {
      spawnSync("ip", ["link", "del", "rkts0"]);
      rmSync(leases, { recursive: true, force: true });
    });
    const lan = {
      cniVersion: "1.0.0",
      name: "rkt-test-lan",
      plugins: [
        JSON.parse(range("bridge", "rkt-test-lan", 18, { bridge: "rkts0", isGateway: true, ipMasq: true })),
        { type: "portmap", capabilities: { portMappings: true }, snat: true },
        { type: "firewall" },
        { type: "bandwidth", egressRate: 8_000_000, egressBurst: 8_000_000 },
      ],
    };
    const config = conf(rkt, { "lan.conflist": JSON.stringify(lan) });
    const before = host();
    const lost = makeRkt(t);
    const container = await standing(lost, SERVE, config, "--net=rkt-test-lan,default", "--port=8000-tcp:18105");
    await eventually("an answer", () => (ask("127.0.0.1", 18105) === "hello\n" ? true : undefined));
    const held = host();
    for (const what of [/CNI-DN-/, /bwp/, /CNI-FORWARD -s 10\.253\.18\./, /MASQUERADE/, /RKT-NAT/, /tcp-18105/])
      assert.match(held, what);
    assert.equal(readdirSync(leases).filter((name) => /^\d/.test(name)).length, 1);
    rmSync(lost.dir, { recursive: true });
    rkt.ok(["gc"]);
    assert.equal(host(), held, "it runs: nobody takes anything from it");
    assert.equal(ask("127.0.0.1", 18105), "hello\n");
    if (!waiter) killWaiters(container.uuid);
    await container.end();
    if (!waiter) {
      assert.ok(existsSync("/run/rkt/net/ports/tcp-18105"), "nobody has released it");
      rkt.ok(["run", config, "--net=rkt-test-lan", "--port=8000-tcp:18105", ...sh("exit 0")]);
    }
    spawnSync("ip", ["link", "del", "rkts0"]);
    await eventually("nothing is left", () => (host() === before ? true : undefined)).catch(() =>
      assert.equal(host(), before),
    );
    assert.deepEqual(
      readdirSync(leases).filter((name) => /^\d/.test(name)),
      [],
      "nor a lease in the plugin's own place",
    );
  });

networkTest("names: --dns, --dns-search, --dns-opt, --hosts-entry, --hostname", (_, rkt) => {
  const { stdout } = rkt.ok([
    "run",
    "--net=none",
    "--dns=192.0.2.53",
    "--dns-search=example.com",
    "--dns-opt=ndots:3",
    "--hosts-entry=192.0.2.7=db",
    "--hostname=box",
    ...sh("cat /etc/resolv.conf /etc/hosts; hostname"),
  ]);
  assert.match(stdout, /^nameserver 192\.0\.2\.53\nsearch example\.com\noptions ndots:3\n/);
  assert.match(stdout, /^192\.0\.2\.7\tdb$/m);
  assert.match(stdout, /^box\n$/m);
  const cat = sh("cat /etc/resolv.conf 2>&1");
  assert.equal(rkt.ok(["run", "--dns=host", "--net=none", ...cat]).stdout, readFileSync("/etc/resolv.conf", "utf8"));
  assert.match(rkt.run(["run", "--dns=none", "--net=none", ...cat]).stdout, /No such file/);
});

const refusals: {
  name: string;
  files?: Record<string, string>;
  net: string;
  port?: string;
  message: RegExp;
  status?: number;
}[] = [
  { name: "an unknown network", net: "nowhere", message: /there is no network "nowhere"\nhint: there are: default/ },
  { name: "no JSON", files: { "a.conf": "{" }, net: "a", message: /net\.d\/a\.conf/ },
  { name: "no type", files: { "a.conf": '{"name":"a"}' }, net: "a", message: /net\.d\/a\.conf: type/ },
  {
    name: "a plugin that is a path",
    files: { "a.conf": '{"name":"a","type":"../../bin/sh"}' },
    net: "a",
    message: /type: must be the file name/,
  },
  {
    name: "a plugin that is not there",
    files: { "a.conf": range("nonesuch", "a", 9) },
    net: "a",
    message: /there is no plugin "nonesuch"\nhint: plugins are looked for in/,
  },
  { name: "a network named twice", net: "default,default", message: /network "default" is named twice/ },
  { name: "host beside another", net: "host,default", message: /"host" stands alone/ },
  { name: "arguments that are none", net: "default:x", message: /are not KEY=VALUE/ },
  {
    name: "a range that is used up",
    files: {
      "a.conf": range("bridge", "a", 9, {
        bridge: "rktx0",
        ipam: {
          type: "host-local",
          subnet: "10.253.9.0/29",
          rangeStart: "10.253.9.2",
          rangeEnd: "10.253.9.2",
          routes: [],
        },
      }),
    },
    net: "a:IP=10.253.9.6",
    message: /plugin bridge: .*\n?/,
  },
  {
    name: "ports that nothing can publish",
    files: { "a.conf": range("bridge", "a", 9) },
    net: "a",
    port: "--port=80-tcp:18082",
    message: /none of the container's networks can publish ports\nhint: a network with ipMasq can, .*portmap/,
  },
  {
    name: "ports on the restricted network alone",
    net: "default-restricted",
    port: "--port=80-tcp:18082",
    message: /none of the container's networks can publish ports/,
  },
  { name: "all beside host", net: "all,host", message: /"host" stands alone/ },
];
for (const c of refusals)
  networkTest(`refused: ${c.name}`, (_, rkt) => {
    const config = conf(rkt, c.files ?? {});
    const options = [config, `--net=${c.net}`, ...(c.port === undefined ? [] : [c.port])];
    rkt.fails(["run", ...options, ...sh("true")], c.status ?? 254, c.message);
    spawnSync("ip", ["link", "del", "rktx0"]);
    rkt.ok(["gc", "--grace-period=0"]);
    assert.deepEqual(rkt.containers(), []);
  });

networkTest(
  "a plugin that fails half-way: the earlier ones are rolled back, and the message names file and plugin",
  (_, rkt) => {
    const plugins = "/etc/rkt/plugins/net";
    const existed = existsSync(plugins);
    mkdirSync(plugins, { recursive: true });
    const failing = join(plugins, "rkt-test-failing");
    writeFileSync(
      failing,
      `#!/bin/sh\n[ "$CNI_COMMAND" = DEL ] && exit 0\necho '{"code": 11, "msg": "no such luck"}'; exit 1\n`,
    );
    chmodSync(failing, 0o755);
    try {
      const config = conf(rkt, {
        "a.conflist": JSON.stringify({
          cniVersion: "0.4.0",
          name: "a",
          plugins: [
            JSON.parse(range("bridge", "a", 8, { bridge: "rkty0" })),
            // More than a pipe holds: the plugin has ended before all of it is written.
            { type: "rkt-test-failing", unread: "x".repeat(200_000) },
          ],
        }),
      });
      rkt.fails(
        ["run", config, "--net=default,a", ...sh("true")],
        254,
        /network a \(.*a\.conflist\): plugin rkt-test-failing: no such luck/,
      );
    } finally {
      spawnSync("rm", ["-rf", failing, ...(existed ? [] : ["/etc/rkt/plugins"])]);
      spawnSync("ip", ["link", "del", "rkty0"]);
    }
  },
);

networkTest("a range that is used up names file and plugin, and gives again what was given back", async (t, rkt) => {
  t.after(() => spawnSync("ip", ["link", "del", "rktz0"]));
  const one = { rangeStart: "10.253.12.2", rangeEnd: "10.253.12.2" };
  const ipam = { type: "host-local", subnet: "10.253.12.0/29", ...one };
  const config = conf(rkt, { "one.conf": range("bridge", "one", 12, { bridge: "rktz0", ipam }) });
  const first = await standing(rkt, "sleep 1000", config, "--net=one");
  assert.equal(first.address, "10.253.12.2");
  const message =
    /network one \(.*net\.d\/one\.conf\): plugin bridge: .*no IP addresses available.*\nhint: its range of addresses is used up/;
  rkt.fails(["run", config, "--net=one", ...sh("true")], 254, message);
  await first.end();
  const free = await eventually("the address is free", () => {
    const { status, stdout } = rkt.run(["run", config, "--net=one", ...sh("ip -o -4 addr show dev eth0")]);
    return status === 0 ? stdout : undefined;
  });
  assert.match(free, /10\.253\.12\.2\/29/);
  spawnSync("ip", ["link", "del", "rktz0"]);
});

networkTest("without iptables: said, and nothing is left", (_, rkt) => {
  rkt.ok(["prepare", busybox]);
  const containers = rkt.containers();
  const hidden = 'mount -t tmpfs none /usr/sbin && exec "$0" "$@"';
  for (const [words, message] of [
    [["--net"], /network default: cannot run iptables-restore: .*ENOENT\nhint: install iptables/],
    [
      ["--net=a", "--port=80-tcp:18083"],
      /network a \(.*a\.conflist\): plugin portmap: .*iptables.*\nhint: install iptables/,
    ],
  ] as const) {
    const plugins = [
      JSON.parse(range("bridge", "a", 13, { bridge: "rktw0" })),
      { type: "portmap", capabilities: { portMappings: true } },
    ];
    const list = JSON.stringify({ cniVersion: "0.4.0", name: "a", plugins });
    const args = [rktBinary, `--dir=${rkt.dir}`, conf(rkt, { "a.conflist": list }), "run", ...words, ...sh("true")];
    const done = spawnSync("unshare", ["--mount", "sh", "-c", hidden, ...args], { encoding: "utf8", timeout: 60_000 });
    assert.equal(done.status, 254, done.stderr);
    assert.match(done.stderr, message);
    rkt.ok(["gc", "--grace-period=0"]);
    assert.deepEqual(rkt.containers(), containers);
    spawnSync("ip", ["link", "del", "rktw0"]);
  }
});

networkTest("beside rules of nft: the administrator's table is what it was, and ours come and go", async (t, rkt) => {
  if (!requires(t, "nft")) return;
  const table = `rkt_test_${process.pid}`;
  t.after(() => spawnSync("nft", ["delete", "table", "inet", table]));
  const rules = `table inet ${table} {
  chain forward { type filter hook forward priority 10; policy accept; ct state established counter accept; }
  chain out { type nat hook postrouting priority 90; ip saddr 192.0.2.0/24 masquerade; }
}`;
  execFileSync("nft", ["-f", "-"], { input: rules });
  const ruleset = () => execFileSync("nft", ["list", "ruleset"], { encoding: "utf8" });
  const others = /CNI-DN-/.test(ruleset());
  const listed = () => execFileSync("nft", ["-s", "list", "table", "inet", table], { encoding: "utf8" });
  const before = listed();
  const server = await standing(rkt, SERVE, "--net", "--port=8000-tcp:18084");
  await eventually("an answer", () => (ask("127.0.0.1", 18084) === "hello\n" ? true : undefined));
  assert.equal(listed(), before);
  await server.end();
  await eventually("ours are gone", () =>
    /RKT-/.test(ruleset()) || (!others && /CNI-HOSTPORT/.test(ruleset())) ? undefined : true,
  );
  assert.equal(listed(), before);
});

networkTest("a UDP port, from loopback and from the host's address", async (t, rkt) => {
  if (!requires(t, "gcc")) return;
  const program = join(rkt.scratch, "udp-echo");
  execFileSync("gcc", ["-static", "-o", program, join(import.meta.dirname, "../fixtures/udp-echo.c")]);
  const aci = join(rkt.scratch, "udp.aci");
  writeFileSync(aci, makeAci([{ name: "rootfs/echo", data: readFileSync(program), mode: 0o755 }]));
  const args = ["--insecure-options=image", "--net", "--port=5300-udp:18085", aci, "--exec=/echo", "--", "5300"];
  const child = rkt.start(["run", ...args], { stdio: ["ignore", "ignore", "inherit"] });
  const done = finished(child);
  const socket = createSocket("udp4");
  t.after(() => socket.close());
  for (const address of ["127.0.0.1", ip("-4", "-o", "addr", "show", "scope", "global").match(/inet ([\d.]+)/)?.[1]]) {
    if (address === undefined) continue;
    const answered = new Promise((resolve) => socket.once("message", (bytes) => resolve(String(bytes))));
    // Until somebody answers: a datagram that comes too early is lost.
    const asking = setInterval(() => socket.send(`to ${address}`, 18085, address), 50);
    assert.equal(await answered, `to ${address}`);
    clearInterval(asking);
    socket.removeAllListeners("message");
  }
  child.kill("SIGKILL");
  await done;
});

networkTest("a bridge behind a firewall", (t, rkt) => {
  t.after(() => spawnSync("ip", ["link", "del", "rktv0"]));
  const bridge = JSON.parse(range("bridge", "guarded", 15, { bridge: "rktv0", isGateway: true }));
  const list = { cniVersion: "0.4.0", name: "guarded", plugins: [bridge, { type: "firewall" }] };
  const config = conf(rkt, { "guarded.conflist": JSON.stringify(list) });
  const { stdout } = rkt.ok(["run", config, "--net=guarded", ...sh("ip -o -4 addr show dev eth0")]);
  assert.match(stdout, /10\.253\.15\.\d\/29/);
  spawnSync("ip", ["link", "del", "rktv0"]);
});

networkTest("a port that a process of the host listens on", async (t, rkt) => {
  const busy = createServer().listen(0, "0.0.0.0");
  t.after(() => busy.close());
  await new Promise((resolve) => busy.once("listening", resolve));
  const { port } = busy.address() as { port: number };
  rkt.fails(
    ["run", "--net", `--port=80-tcp:${port}`, ...sh("true")],
    254,
    new RegExp(`a process of the host listens on port tcp ${port}\nhint: .ss `),
  );
});

networkTest(
  "what an app of 0.1.1 was promised: its own network, and the metadata service at port 80",
  async (t, rkt) => {
    if (!requires(t, "go")) return;
    const images = earlyImages(rkt.scratch, "0.1.1");
    const service = await startMetadataService(t, rkt, []);
    const db = join(rkt.scratch, "db");
    mkdirSync(db);
    const run = ["--insecure-options=image", "run", "--mds-register", "-volume", `database:${db}`, ...images];
    const { status, stdout, stderr } = rkt.run(run);
    await service.stop();
    assert.equal(status, 0, `${stdout}${stderr}`);
    assert.deepEqual(stdout.split("\n").sort(), ["", "main OK", "poststop OK", "prestart OK", "sidekick OK"]);
    assert.equal(stderr, "", "the isolator private-network has its effect");
  },
);

networkTest(
  "the metadata service knows a container by its address, as the first specification had it",
  async (t, rkt) => {
    const service = await startMetadataService(t, rkt, []);
    assert.equal(service.url, "http://169.254.169.255:330");
    const entry = `${service.url}/acMetadata/v1/container`;
    const ask = "wget -q -O - --header 'Metadata-Flavor: AppContainer'";
    const { stdout } = rkt.ok(["run", "--net", ...sh(`${ask} ${entry}/uid; echo; ${ask} ${entry}/manifest`)]);
    const [uid = "", manifest = ""] = stdout.split("\n");
    const [container] = JSON.parse(rkt.ok(["list", "--format=json"]).stdout);
    assert.equal(uid, container.uuid);
    assert.equal(JSON.parse(manifest).acKind, "ContainerRuntimeManifest");
    assert.doesNotMatch(manifest, /metadata-url/, "whoever takes the address does not get the token");
    assert.equal(rkt.run(["run", ...sh(`${ask} ${entry}/uid`)]).status, 1, "the host's address is nobody's");
    assert.equal(await service.stop(), 0);
    assert.doesNotMatch(ip("address", "show", "lo"), /169\.254\.169\.255/);
  },
);

networkTest(
  "a container cannot pass for its neighbour, or for the gateway: not by ARP, not by what it sends",
  async (t, rkt) => {
    if (!requires(t, "gcc", "ebtables-nft-restore")) return;
    const tools = join(rkt.scratch, "tools");
    mkdirSync(tools);
    const source = join(import.meta.dirname, "../fixtures/attack.c");
    execFileSync("gcc", ["-static", "-o", join(tools, "attack"), source]);
    const victim = await standing(rkt, "exec sleep 1000", "--net");
    const victims = JSON.parse(rkt.ok(["list", "--format=json"]).stdout)[0].uuid;
    const gateway = victim.address.replace(/\.\d+$/, ".1");
    const heard: string[] = [];
    const socket = createSocket("udp4", (message) => heard.push(message.toString()));
    t.after(() => socket.close());
    await new Promise<void>((resolve) => socket.bind(18_097, () => resolve()));

    const neighbours = (who: string) =>
      rkt.ok(["enter", victims, "/bin/busybox", "ip", "neigh", "show", who]).stdout.split(" ").slice(0, 5).join(" ");
    const greet = ["enter", victims, "/bin/busybox", "ping", "-c1", gateway];
    await eventually("the victim runs", () => (rkt.run(greet).status === 0 ? true : undefined));
    const [known, host] = [
      neighbours(gateway),
      ip("neigh", "show", victim.address).replace(/ (REACHABLE|STALE|DELAY|PROBE)/, ""),
    ];
    assert.match(`${known}\n${host}`, /lladdr.*\n.*lladdr/);
    const script = `set -- $(ip -o link show eth0 | sed 's/.*ether //'); mac=$1
own=$(ip -o -4 addr show dev eth0 | sed 's/.*inet \\([^/]*\\).*/\\1/')
cd /tools
./attack arp eth0 $mac ${victim.address} ${gateway}
./attack arp eth0 $mac ${gateway} ${victim.address}
./attack send eth0 $mac ${victim.address} ${gateway} 18097 forged
./attack send eth0 02:00:00:00:00:09 $own ${gateway} 18097 forged
./attack send eth0 $mac $own ${gateway} 18097 honest
echo tried`;
    const mount = ["--mount=volume=tools,target=/tools"];
    const { stdout, stderr } = rkt.ok([
      "run",
      "--net",
      `--volume=tools:${tools}`,
      busybox,
      ...mount,
      ...sh(script).slice(1),
    ]);
    assert.deepEqual([stdout, stderr], ["tried\n", ""]);
    await eventually("the honest one is heard", () => (heard.includes("honest") ? true : undefined));
    assert.ok(!heard.includes("forged"), `${heard}`);
    assert.equal(neighbours(gateway), known, "the neighbour knows the gateway");
    assert.equal(
      ip("neigh", "show", victim.address).replace(/ (REACHABLE|STALE|DELAY|PROBE)/, ""),
      host,
      "the host knows the neighbour",
    );
    await victim.end();
  },
);

networkTest(
  "a script of a release that was never finished, and a claim's other half-written files: gone at the next gc",
  (_, rkt) => {
    const claim = networkClaim("00000000-0000-4000-8000-00000000dead");
    mkdirSync(claim.dir, { recursive: true, mode: 0o700 });
    for (const file of [claim.lock, claim.temporary]) writeFileSync(file, "", { mode: 0o600 });
    const empty = networkClaim("00000000-0000-4000-8000-000000000bad");
    mkdirSync(empty.dir, { mode: 0o700 });
    rkt.ok(["gc"]);
    assert.deepEqual([existsSync(claim.dir), existsSync(empty.dir)], [false, false]);
  },
);

// Of seed 5000: the fourth is the one of the script.
networkTest("a file of a network that cannot be renamed: said, and nothing of it is left", async (t, rkt) => {
  if (!requires(t, "strace")) return;
  const words = ["run", "--net", ...sh("exit 0")];
  const before = host();
  for (let when = 1; when <= 8; when++) {
    const what = `rename:error=ENOSPC:when=${when}`;
    const { status, stderr } = await withFault(rkt, what, words);
    assertManners(status, stderr, what);
    rkt.ok(["gc", "--grace-period=0"]);
    await eventually(what, () => (host() === before ? true : undefined)).catch(() =>
      assert.equal(host(), before, what),
    );
  }
});

networkTest(
  "system calls that fail while a network is made: said, released, and the next one works",
  async (t, rkt) => {
    if (!requires(t, "strace")) return;
    t.diagnostic(`RKT_FAULTS_SEED=${seed}`);
    const words = ["run", "--net", "--port=8000-tcp:18098", ...sh("exit 0")];
    const faults = {
      unshare: ["ENOSPC"],
      setns: ["EPERM"],
      flock: ["EINTR", "ENOLCK"],
      mkdir: ["ENOSPC"],
      rename: ["ENOSPC", "EIO+"],
      link: ["ENOSPC"],
      write: ["ENOSPC"],
      openat: ["EMFILE+", "EIO"],
      vfork: ["EAGAIN+"],
      clone: ["EAGAIN"],
    };
    const before = host();
    const next = random(0);
    const counts = await countCalls(rkt, faults, words);
    for (let round = 0; round < rounds(1); round++)
      for (const fault of chooseFaults(faults, counts, next)) {
        const what = `seed ${seed}: inject=${fault}`;
        const { status, stderr } = await withFault(rkt, fault, words);
        assertManners(status, stderr, what);
        assert.equal(rkt.run(["gc", "--grace-period=0"]).status, 0, what);
        await eventually(what, () => (host() === before ? true : undefined)).catch(() =>
          assert.equal(host(), before, what),
        );
        assert.deepEqual(rkt.containers(), [], what);
      }
    rkt.ok(words);
  },
);
