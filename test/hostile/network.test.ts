/** Hostile containers on the default network, and hostile neighbours of the host. The host is a network namespace. */

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { NETWORK_STATE } from "../../shared/contract/host-state.ts";
import { takeOwnHost } from "../helpers/own-host.ts";
import {
  eventually,
  exampleAci,
  finished,
  makeRkt,
  type Result,
  type Rkt,
  requires,
  rktBinary,
} from "../helpers/rkt.ts";

takeOwnHost();

const busybox = exampleAci("busybox");
const ip = (...args: string[]): string => execFileSync("ip", args, { encoding: "utf8" });

interface Host {
  rkt: Rkt;
  /** Where the programs of test/fixtures are; containers find them in /tools. */
  tools: string;
  /** The output of a command on the host. */
  says(...command: string[]): string;
  /** The output of a command on the host's neighbour, which has the interface `lan` and the host as its router. */
  neighbourSays(...command: string[]): string;
  start(...command: string[]): { child: ChildProcess; done: Promise<Result>; output(): string };
  /** What the UDP datagrams say that reach a port of the host's, or of its neighbour's; by IPv4 or IPv6. */
  hears(who: "host" | "neighbour", port: number): Promise<() => string>;
  /** A container that runs the script; `app` is options of the app's. */
  container(options: string[], script: string, app?: string[]): string[];
  /** A container that runs until `end`, and its address. */
  standing(options: string[], script: string): Promise<{ address: string; output(): string; end(): Promise<unknown> }>;
}

function hostTest(name: string, body: (host: Host, t: TestContext) => Promise<void>): void {
  test(name, async (t) => {
    if (
      !requires(
        t,
        "root",
        "build",
        "ip",
        "nsenter",
        "iptables-save",
        "ebtables-nft-restore",
        "bridge",
        "gcc",
        "flock",
      ) ||
      !requires(t, "arptables-nft", "strace", "nft")
    )
      return;
    const rkt = makeRkt(t);
    const tools = join(rkt.scratch, "tools");
    mkdirSync(tools);
    for (const program of ["attack", "frames"]) {
      const source = join(import.meta.dirname, `../fixtures/${program}.c`);
      execFileSync("gcc", ["-static", "-o", join(tools, program), source]);
    }
    const [near, far] = [`rkt-near-${process.pid}`, `rkt-far-${process.pid}`];
    const children: ChildProcess[] = [];
    t.after(() => {
      for (const child of children) child.kill("SIGKILL");
      for (const namespace of [near, far]) spawnSync("ip", ["netns", "del", namespace]);
    });
    for (const namespace of [near, far]) ip("netns", "add", namespace);
    ip("link", "add", "lan", "netns", near, "type", "veth", "peer", "name", "lan", "netns", far);
    for (const [namespace, last] of [[near, 1] as const, [far, 2] as const]) {
      ip("-n", namespace, "addr", "add", `198.51.100.${last}/24`, "dev", "lan");
      for (const device of ["lo", "lan"]) ip("-n", namespace, "link", "set", device, "up");
    }
    ip("-n", near, "route", "add", "default", "via", "198.51.100.2");
    ip("-n", far, "route", "add", "172.16.0.0/12", "via", "198.51.100.1");

    const said = (namespace: string, command: string[]): string => {
      const { status, stdout, stderr } = spawnSync("nsenter", [`--net=/run/netns/${namespace}`, ...command], {
        encoding: "utf8",
        input: "",
        timeout: 60_000,
      });
      // Some of the attacks are to fail: what they say explains another failure.
      if (status !== 0) t.diagnostic(`${command.join(" ")} ended with ${status}: ${stderr}`);
      return stdout;
    };
    const start = (...command: string[]) => {
      const child = spawn("nsenter", [`--net=/run/netns/${near}`, ...command], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      children.push(child);
      let output = "";
      child.stdout?.on("data", (bytes) => {
        output += bytes;
      });
      return { child, done: finished(child), output: () => output };
    };
    const container = (options: string[], script: string, app: string[] = []): string[] => [
      ...[rktBinary, `--dir=${rkt.dir}`, "run", ...options, `--volume=tools:${tools}`, busybox, ...app],
      ...["--mount=volume=tools,target=/tools", "--exec=/bin/sh", "--", "-c", script],
    ];
    const host: Host = {
      ...{ rkt, tools, start, container },
      says: (...command) => said(near, command),
      neighbourSays: (...command) => said(far, command),
      async hears(who, port) {
        const listen = [join(tools, "frames"), "listen", "::", String(port)];
        const there = who === "host" ? [] : ["nsenter", `--net=/run/netns/${far}`];
        const { output } = start(...there, ...listen);
        await eventually("it listens", () => (output() === "ready\n" ? true : undefined));
        return output;
      },
      async standing(options, script) {
        const { child, done, output } = start(...container(options, script));
        const address = await eventually("an address", () => {
          const list: { pid?: number; networks: { addresses: string[] }[] }[] = JSON.parse(
            rkt.ok(["list", "--format=json"]).stdout,
          );
          return list.find(({ pid }) => pid === child.pid)?.networks[0]?.addresses[0]?.replace(/\/.*/, "");
        });
        const end = () => {
          child.kill("SIGKILL");
          return done;
        };
        return { address, output, end };
      },
    };
    host.says("sysctl", "-qw", "net.ipv4.ip_forward=0");
    await body(host, t);
    await eventually("the host's network is as before", () =>
      /rkt0|RKT|veth/.test(host.says("sh", "-c", RULES)) ? undefined : true,
    );
  });
}

const RULES = "ip link; iptables-save; ip6tables-save; ebtables-nft-save; arptables-nft-save";

/** The container does in turn what the files say that are put into its directory. */
const OBEY = `for order in 1 2; do
  until [ -e /tools/order$order ]; do sleep 0.1; done
  . /tools/order$order
  echo did $order
done
exec sleep 1000`;

const OWN_MAC = "mac=$(ip -o link show eth0 | sed 's/.*ether \\([^ ]*\\).*/\\1/')";

const SEND = `set -- $(ip -o link show eth0 | sed 's/.*ether //'); mac=$1
own=$(ip -o -4 addr show dev eth0 | sed 's/.*inet \\([^/]*\\).*/\\1/')
send() { /tools/attack send eth0 $mac "$@"; }\n`;

/** A network of the administrator's, with ports. */
function ownNetwork({ scratch }: Rkt): string[] {
  const dir = join(scratch, "config");
  const ipam = { type: "host-local", dataDir: "/run/rkt/net/leases", subnet: "10.253.42.0/24" };
  const plugins = [
    { type: "bridge", bridge: "rktl0", isGateway: true, hairpinMode: true, ipam },
    { type: "portmap", capabilities: { portMappings: true }, snat: true },
  ];
  mkdirSync(join(dir, "net.d"), { recursive: true });
  writeFileSync(join(dir, "net.d/own.conflist"), JSON.stringify({ cniVersion: "0.4.0", name: "own", plugins }));
  return [`--local-config=${dir}`, "--net=own"];
}

for (const [network, options, bridge] of [
  ["the default network", () => ["--net"], "rkt0"],
  ["a network of the administrator's", ownNetwork, "rktl0"],
] as const)
  hostTest(
    `127.0.0.1 of the host is nobody else's: not a container's, not a neighbour's (CVE-2020-8558), on ${network}`,
    async ({ says, neighbourSays, start, standing, container, tools, rkt }) => {
      const net = options(rkt);
      const listen = "exec /tools/frames listen 0.0.0.0 8000";
      const published = await standing([...net, "--port=8000-udp:127.0.0.1:18099"], listen);
      const service = start(join(tools, "frames"), "listen", "127.0.0.1", "18096");
      for (const { output } of [published, service])
        await eventually("it listens", () => (output() === "ready\n" ? true : undefined));
      const routes = () => says("sysctl", "-n", `net.ipv4.conf.${bridge}.route_localnet`).trim();
      assert.equal(routes(), "1", "portmap sets it");
      const forged = ["$own", "127.0.0.1"].flatMap((from) =>
        [18_096, 18_099].map((port) => `send ${from} 127.0.0.1 ${port} forged`),
      );
      assert.equal(says(...container(net, `${SEND}${forged.join("\n")}\necho tried`)), "tried\n");
      const neighbour = ["send", "lan", "02:00:00:00:00:09", "198.51.100.2", "127.0.0.1", "18099", "forged"];
      neighbourSays(join(tools, "attack"), ...neighbour);
      for (const port of [18_096, 18_099]) says("bash", "-c", `printf honest >/dev/udp/127.0.0.1/${port}`);
      for (const { output } of [published, service])
        await eventually("the host itself is heard", () => (output() === "ready\n" ? undefined : true));
      assert.deepEqual(
        { service: service.output(), published: published.output() },
        { service: "ready\nhonest\n", published: "ready\nhonest\n" },
      );
      await published.end();
      await eventually("no packets for 127.0.0.1", () => (routes() === "1" ? undefined : true));
    },
  );

hostTest(
  "a neighbour's Ethernet address brings nothing of the neighbour's, and invented ones stay unknown to the bridge",
  async ({ says, start, standing, container }) => {
    const victim = await standing(["--net"], "exec /tools/frames listen 0.0.0.0 5000 >/dev/null");
    says("busybox", "ping", "-c1", victim.address);
    start("bash", "-c", `while :; do echo secret >/dev/udp/${victim.address}/5000; sleep 0.02; done`);
    // Everybody, and two of the addresses that a bridge keeps for itself: LLDP's and 802.1X's.
    for (const to of ["ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:0e", "01:80:c2:00:00:03"]) {
      const script = `ping -c1 -W1 ${victim.address} >/dev/null
mac=$(sed -n 's/^${victim.address} .* \\(..:..:..:..:..:..\\) .*/\\1/p' /proc/net/arp)
/tools/frames steal eth0 $mac ${to}; /tools/frames invent eth0 2000 ${to}; sleep 5`;
      const { child, done, output } = start(...container(["--net"], script));
      await eventually("both are tried", () => (output().split("tried").length === 3 ? true : undefined));
      assert.ok(!output().includes("STOLEN"), to);
      const learned = says("bridge", "fdb", "show", "br", "rkt0").match(/^02:77:.*$/gm) ?? [];
      assert.deepEqual(learned, [], to);
      child.kill("SIGKILL");
      await done;
    }
    await victim.end();
  },
);

hostTest(
  "a port that is not published has no neighbour, and the host is no router for longer than a container needs it",
  async ({ says, neighbourSays, standing }) => {
    const ask = (address: string) => ["busybox", "nc", "-w", "3", address, "8000"];
    const forwards = () => says("sysctl", "-n", "net.ipv4.ip_forward").trim();
    const serve = "exec nc -ll -p 8000 -e /bin/echo hello";
    const first = await standing(["--net"], serve);
    await eventually("an answer", () => (says(...ask(first.address)) === "hello\n" ? true : undefined));
    assert.equal(neighbourSays(...ask(first.address)), "");
    const second = await standing(["--net", "--port=8000-tcp:18100"], serve);
    await eventually("an answer", () =>
      neighbourSays("busybox", "nc", "-w", "3", "198.51.100.1", "18100") === "hello\n" ? true : undefined,
    );
    await first.end();
    assert.equal(forwards(), "1", "the second container needs it");
    await second.end();
    await eventually("no router", () => (forwards() === "0" ? true : undefined));

    const third = await standing(["--net"], serve);
    says("iptables", "-A", "FORWARD", "-s", "192.0.2.0/24", "-j", "ACCEPT");
    await third.end();
    await eventually("the bridge is gone", () => (says("ip", "link").includes("rkt0") ? undefined : true));
    await eventually("it is released", () =>
      says("sh", "-c", "ls /run/rkt/net/settings 2>/dev/null") === "" ? true : undefined,
    );
    assert.equal(forwards(), "1", "somebody else has rules for it by now");
  },
);

hostTest(
  "a container on the restricted network reaches the host and nobody else, and passes for nobody, whoever switches forwarding on",
  async ({ says, neighbourSays, hears, standing, tools }) => {
    says("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0");
    neighbourSays("ip", "addr", "add", "fd09::2/64", "dev", "lan", "nodad");
    says("ip", "addr", "add", "fd09::1/64", "dev", "lan", "nodad");
    says("ip", "-6", "route", "add", "default", "via", "fd09::2", "dev", "lan");
    const [host, neighbour] = [await hears("host", 18_096), await hears("neighbour", 18_095)];
    const restricted = await standing(["--net=default-restricted"], OBEY);
    const order = async (number: number, script: string): Promise<void> => {
      writeFileSync(join(tools, "order"), script);
      renameSync(join(tools, "order"), join(tools, `order${number}`));
      const done = `did ${number}\n`;
      await eventually(done, () => (restricted.output().endsWith(done) ? true : undefined));
    };
    const [, veth = "", mac = ""] = /(veth\w+)@.*link\/ether ([0-9a-f:]{17})/.exec(says("ip", "-o", "link")) ?? [];
    const [, hostsOwn = ""] = /inet6 (fe80::[^/]*)/.exec(says("ip", "-6", "addr", "show", "dev", veth)) ?? [];
    const gateway = restricted.address.replace(/\.\d+$/, ".1");
    const nobody = (last: number) => restricted.address.replace(/\.\d+$/, `.${last}`);

    const prelude = `${OWN_MAC}
own=$(ip -o -6 addr show dev eth0 | sed 's/.*inet6 \\([^/]*\\).*/\\1/')
send() { /tools/frames send eth0 $mac ${mac} "$@"; }
ask() { /tools/frames arp eth0 $mac ff:ff:ff:ff:ff:ff "$@" ${gateway}; }\n`;
    await order(1, `${prelude}/tools/frames advertise eth0 $mac $own\nask 1 ${nobody(98)}\nask 6 ${nobody(99)}`);
    assert.ok(!says("ip", "-6", "route").includes(`default via fe80::`), "the container is no router of the host's");
    assert.doesNotMatch(says("ip", "neigh", "show", "dev", veth), new RegExp(`${nobody(98)} |${nobody(99)} `));

    says("sysctl", "-qw", "net.ipv4.ip_forward=0");
    const other = await standing(["--net"], "exec /tools/frames listen :: 5000");
    const forwarding = says("sysctl", "-n", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding");
    assert.equal(forwarding, "1\n1\n", "the other container's network forwards");
    const sent = [
      `${restricted.address} 198.51.100.2 18095 forwarded`,
      `fd09::77 fd09::2 18095 forwarded`,
      `$own fd09::2 18095 forwarded`,
      `${restricted.address} ${other.address} 5000 forwarded`,
      ...["198.51.100.2", other.address, nobody(98)].map((from) => `${from} 198.51.100.1 18096 forged`),
      ...["fd09::2", "fe80::1"].map((from) => `${from} ${hostsOwn} 18096 forged`),
      `:: ${hostsOwn} 18096 forged`,
      `${restricted.address} 198.51.100.1 18096 honest`,
      `$own ${hostsOwn} 18096 honest6`,
    ];
    await order(2, `${prelude}${sent.map((words) => `send ${words}\n`).join("")}`);
    says("bash", "-c", "for to in 198.51.100.2/18095 fd09::2/18095; do printf honest >/dev/udp/$to; done");
    says("bash", "-c", `printf honest >/dev/udp/${other.address}/5000`);
    for (const [name, output, hears] of [
      ["the host", host, ["ready", "honest", "honest6"]],
      ["the neighbour", neighbour, ["ready", "honest"]],
      ["the other container", other.output, ["ready", "honest"]],
    ] as const) {
      const heard = () => [...new Set(output().trim().split("\n"))];
      await eventually(`${name} is reached`, () => (hears.every((text) => heard().includes(text)) ? true : undefined));
      assert.deepEqual(heard(), hears, name);
    }
    await restricted.end();
    await other.end();
  },
);

hostTest("of IPv6's link-local addresses a container on the default network has its own", async (host) => {
  const { says, standing, container } = host;
  const show = "ip -o -6 addr show dev eth0 scope link; ip -o link show eth0 | sed 's/.*ether \\([^ ]*\\).*/\\1/'";
  const victim = await standing(["--net"], `${show}; exec /tools/frames listen :: 5000`);
  await eventually("it listens", () => (victim.output().endsWith("ready\n") ? true : undefined));
  const [, its = "", mac = ""] = /inet6 (fe80::\S*)\/64.*\n(.*)\n/.exec(victim.output()) ?? [];
  const [, gateway = ""] = /inet6 (fe80::[^/]*)/.exec(says("ip", "-6", "addr", "show", "dev", "rkt0")) ?? [];
  const sent = [gateway, its, "fe80::1", "::"].map((from) => `send ${from} ${its} 5000 forged\n`).join("");
  const script = `${OWN_MAC}
own=$(ip -o -6 addr show dev eth0 scope link | sed 's/.*inet6 \\([^/]*\\).*/\\1/')
send() { /tools/frames send eth0 $mac ${mac} "$@"; }
${sent}send $own ${its} 5000 honest\necho tried`;
  assert.equal(says(...container(["--net"], script)), "tried\n");
  await eventually("the honest one is heard", () => (victim.output().includes("honest") ? true : undefined));
  assert.doesNotMatch(victim.output(), /forged/);
  await victim.end();
});

/** A pair of interfaces with the host, of the administrator's own. */
function ownPair({ scratch }: Rkt): string[] {
  const dir = join(scratch, "config");
  const ipam = { type: "host-local", dataDir: "/run/rkt/net/leases", subnet: "10.253.43.0/24" };
  mkdirSync(join(dir, "net.d"), { recursive: true });
  const conf = { cniVersion: "0.4.0", name: "pair", type: "ptp", ipam: { ...ipam, routes: [{ dst: "0.0.0.0/0" }] } };
  writeFileSync(join(dir, "net.d/pair.conf"), JSON.stringify(conf));
  return [`--local-config=${dir}`, "--net=pair"];
}

const GATEWAY = "gateway=$(ip route | sed -n 's/.*via \\([^ ]*\\).*/\\1/p' | head -n1)\n";
const USER = ["--user=1000", "--group=1000", "--working-dir=/"];

for (const [network, options] of [
  ["the default network", () => ["--net"]],
  ["the default network, with users of its own", () => ["--net", "--private-users"]],
  ["the restricted network", () => ["--net=default-restricted"]],
  ["a pair of interfaces of the administrator's", ownPair],
] as const)
  hostTest(`an app takes 64 of the machine's 1024 neighbours, and reaches its gateway, on ${network}`, async (host) => {
    const { says, hears, container, rkt } = host;
    const heard = await hears("host", 9);
    const script = `${GATEWAY}/tools/attack hops eth0 11.0.0.1 2000; /tools/attack hops eth0 fe80::1:0:1 2000
arp=$(grep -c eth0 /proc/net/arp); [ $arp -le 65 ] || echo $arp entries
/tools/attack hops - $gateway 1`;
    // Of the addresses of IPv6, each takes two: its own, and that where its Ethernet address is asked for.
    assert.match(says(...container(options(rkt), script, USER)), /^6[34] sent\n(?:3\d|[456]\d) sent\n1 sent\n$/);
    await eventually("the gateway is reached", () => (heard() === "ready\nx\n" ? true : undefined));
  });

hostTest("a neighbour takes nothing of a container's share by what the container would forward", async (host) => {
  const { says, standing, container, tools } = host;
  const victim = await standing(["--net"], `echo up\n${OBEY}`);
  await eventually("it runs", () => (victim.output() === "up\n" ? true : undefined));
  // A network namespace forwards where the machine does, which with a default network it does.
  const inVictim = `pid=$(pgrep -n -f 'until [[] -e /tools/order'); exec nsenter -t $pid -n`;
  says("sh", "-c", `${inVictim} sysctl -qw net.ipv4.ip_forward=1`);
  assert.equal(says("sh", "-c", `${inVictim} sysctl -n net.ipv4.ip_forward`), "1\n");
  const script = `${SEND}ping -c1 ${victim.address} >/dev/null
its=$(sed -n 's/^${victim.address} .* \\(..:..:..:..:..:..\\) .*/\\1/p' /proc/net/arp)
for i in 11 12 13 14 15 16 17 18; do /tools/frames send eth0 $mac $its $own \${own%.*}.2$i 9 forwarded; done; echo sent`;
  assert.equal(says(...container(["--net"], script)), "sent\n");
  writeFileSync(join(tools, "order"), "/tools/attack hops eth0 11.0.0.1 100");
  renameSync(join(tools, "order"), join(tools, "order1"));
  await eventually("it has counted", () => (victim.output().includes("did 1") ? true : undefined));
  // The neighbour is one, which it has answered.
  assert.match(victim.output(), /^63 sent$/m);
  await victim.end();
});

/** Who is asked for on the link: destinations of neighbour discovery, and what ARP asks for. */
const ASKED = `table netdev asked {
  set addresses6 { type ipv6_addr; flags dynamic; size 65535; }
  set addresses4 { type ipv4_addr; flags dynamic; size 65535; }
  chain seen {
    type filter hook ingress device lan priority 0;
    ip6 daddr ff02::1:ff00:0/104 add @addresses6 { ip6 daddr }
    arp daddr ip 10.254.0.0/16 add @addresses4 { arp daddr ip }
  }
}`;

for (const [network, options, families] of [
  ["the default network", () => ["--net"], [4, 6]],
  ["a pair of interfaces of the administrator's", ownPair, [4]],
] as const)
  hostTest(`of the host's own neighbours a container takes 64, on ${network}`, async (host) => {
    const { says, neighbourSays, start, container, rkt } = host;
    says("ip", "addr", "add", "fd09::1/64", "dev", "lan", "nodad");
    says("ip", "-6", "route", "add", "default", "via", "fd09::2", "dev", "lan");
    says("ip", "addr", "add", "10.254.0.1/16", "dev", "lan");
    // Not every plugin switches it on.
    says("sysctl", "-qw", "net.ipv4.ip_forward=1");
    neighbourSays("sh", "-c", `echo '${ASKED}' | nft -f -`);
    const asked = (family: 4 | 6) => {
      const list = neighbourSays("nft", "list", "set", "netdev", "asked", `addresses${family}`);
      return list.match(/ff02::1:ff01:|10\.254\.7\./g)?.length;
    };
    const round = "/tools/attack hops - fd09::1:1 200; /tools/attack hops - 10.254.7.1 200; echo done";
    const { child, done, output } = start(...container(options(rkt), `while :; do ${round}; sleep 0.1; done`, USER));
    // Only from when the container has found its own gateway.
    await eventually("it has asked", () =>
      [...families].every((family) => asked(family) !== undefined) ? true : undefined,
    );
    const rounds = () => output().split("done").length;
    const before = rounds();
    await eventually("it goes on", () => (rounds() > before + 5 ? true : undefined));
    // Where a bridge's frames go through iptables (br_netfilter), what the container asks its gateway for takes a place.
    for (const family of families) assert.match(`IPv${family}: ${asked(family)}`, /: 6[234]$/);
    // The rules of the host end with the container, however it ends.
    assert.match(says("nft", "list", "tables"), /rkt-/);
    child.kill("SIGKILL");
    await done;
    await eventually("no table of rkt's", () => (says("nft", "list", "tables").includes("rkt-") ? undefined : true));
  });

/**
 * The table is of 262,144 connections on most machines, and only the machine's first network namespace can make it smaller:
 * so these tests fill a share, and look at what is left.
 */
for (const [network, options, target] of [
  ["the default network", ["--net"], "198.51.100.2"],
  ["the restricted network", ["--net=default-restricted"], "$gateway"],
] as const)
  hostTest(`of the connections that the host knows an app has a sixteenth, on ${network}`, async (host) => {
    const { says, hears, start, container } = host;
    const share = Math.floor(Number(readFileSync("/proc/sys/net/netfilter/nf_conntrack_max", "latin1")) / 16);
    const count = () => Number(says("cat", "/proc/sys/net/netfilter/nf_conntrack_count"));
    // The host tracks connections whether there are containers or not.
    says("iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP");
    says("busybox", "ping", "-c1", "198.51.100.2");
    assert.ok(count() > 0);
    const heard = await hears(target === "$gateway" ? "host" : "neighbour", 9);
    const script = `${GATEWAY}/tools/attack flows ${target} ${share + 4000}; echo done; exec sleep 1000`;
    const { child, done, output } = start(...container([...options], script, USER));
    await eventually("it has tried", () => (output() === "done\n" ? true : undefined));
    const counted = count();
    assert.ok(counted > share * 0.9 && counted < share + 100, `${counted} of ${share}`);
    // Its first datagrams were let through, and those of another container are.
    const before = heard();
    says(...container([...options], `${GATEWAY}/tools/attack hops - ${target} 1`, USER));
    await eventually("another container is heard", () => (heard().length > before.length ? true : undefined));
    assert.match(before, /x/);
    assert.equal(says("bash", "-c", "printf y >/dev/udp/127.0.0.1/9 && echo sent"), "sent\n");
    child.kill("SIGKILL");
    await done;
    says("iptables", "-F", "INPUT");
  });

hostTest(
  "what a container asks of link-local addresses leaves the host for nobody, but for a name server",
  async (host) => {
    const { says, neighbourSays, start, container } = host;
    for (const address of ["169.254.169.254", "169.254.169.255"])
      neighbourSays("ip", "addr", "add", `${address}/32`, "dev", "lo");
    for (const port of [53, 80, 330]) {
      const serve = ["busybox", "nc", "-ll", "-p", String(port), "-e", "/bin/echo", "fake"];
      start("nsenter", `--net=/run/netns/rkt-far-${process.pid}`, ...serve);
    }
    const ask = (address: string, port: number) => ["busybox", "nc", "-w", "5", address, String(port)];
    for (const [address, port] of [
      ["169.254.169.254", 53],
      ["169.254.169.254", 80],
      ["169.254.169.255", 330],
    ] as const)
      await eventually("the host is answered", () => (says(...ask(address, port)) === "fake\n" ? true : undefined));
    const asked = ["169.254.169.254 80", "169.254.169.255 330", "169.254.169.255 53", "169.254.169.254 53"]
      .map((to) => `echo ${to}: $(nc -w 5 ${to} 2>&1 </dev/null)\n`)
      .join("");
    const refused = "nc: can't connect to remote host";
    assert.equal(
      says(...container(["--net"], asked)).replaceAll(/ \(.*\): No route to host/g, ""),
      `169.254.169.254 80: ${refused}\n169.254.169.255 330: ${refused}\n169.254.169.255 53: ${refused}\n169.254.169.254 53: fake\n`,
    );
  },
);

hostTest(
  "when the metadata service was killed, no other user of the host takes its place",
  async ({ rkt, says, start }) => {
    const service = () => {
      const { child, done } = start(
        rktBinary,
        `--dir=${rkt.dir}`,
        "metadata-service",
        "--pid-file",
        join(rkt.scratch, "pid"),
      );
      const ready = eventually("it listens", () => (says("ss", "-Hltn", "sport = :330") === "" ? undefined : true));
      return { child, done, ready };
    };
    const first = service();
    await first.ready;
    first.child.kill("SIGKILL");
    await first.done;
    assert.match(says("ip", "addr", "show", "lo"), /169\.254\.169\.255/, "the address stays");
    const squat = "busybox nc -l -p 330 2>&1";
    assert.match(says("setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", squat), /Permission denied/);
    const second = service();
    await second.ready;
    second.child.kill("SIGTERM");
    await second.done;
    says("ip", "addr", "del", "169.254.169.255/32", "dev", "lo");
  },
);

hostTest("/sys shows a container's own interfaces, and not the host's", async ({ says, standing, container, rkt }) => {
  const look = "echo $(ls /sys/class/net) $(ls /sys/devices/virtual/net)";
  for (const [options, interfaces] of [
    [["--net=none"], "lo lo"],
    [["--net=none", "--private-users"], "lo lo"],
    [["--net"], "eth0 lo eth0 lo"],
    [["--net", "--private-users"], "eth0 lo eth0 lo"],
    [["--net=default-restricted"], "eth0 lo eth0 lo"],
    [["--net=none", "--insecure-options=all-run"], "lo lo"],
  ] as const)
    assert.equal(says(...container([...options], look)), `${interfaces}\n`, options.join(" "));
  assert.match(says(...container([], look)), /\blan\b/, "the host's network is the host's");
  const { end, output } = await standing(["--net"], "echo up; exec sleep 1000");
  await eventually("it runs", () => (output() === "up\n" ? true : undefined));
  const [{ uuid }] = JSON.parse(rkt.ok(["list", "--format=json"]).stdout).filter(({ pid }: { pid?: number }) => pid);
  assert.equal(rkt.ok(["enter", uuid, "/bin/sh", "-c", look]).stdout, "eth0 lo eth0 lo\n");
  await end();
});

hostTest(
  "a container that is killed while its network is made leaves no file behind",
  async ({ says, container, rkt }) => {
    const files = () =>
      readdirSync(NETWORK_STATE.dir, { recursive: true })
        .map(String)
        // Locks stay, and the directories that plugins keep their leases in.
        .filter((name) => !/\.lock$|^leases|^(containers|ports)$/.test(name))
        .sort();
    const before = files();
    const trace = join(rkt.scratch, "trace");
    // The image is in the store from then on.
    assert.equal(says(...container([], "echo started")), "started\n");
    for (const [network, name] of [
      ["--net", "default.json"],
      ["--net=default-restricted", "default-restricted.json"],
    ] as const) {
      const traced = (...inject: string[]) => {
        const options = ["-f", "-qq", "-o", trace, "-e", "trace=rename", "-e", "signal=none", ...inject];
        return says("strace", ...options, ...container([network], "echo started"));
      };
      assert.equal(traced(), "started\n");
      // strace counts the calls of each process by itself.
      const calls = readFileSync(trace, "utf8").split("\n");
      const at = calls.findIndex((call) => call.includes(`"${NETWORK_STATE.dir}/${name}"`));
      const pid = (call = "") => call.split(" ", 1)[0];
      const when = calls.slice(0, at + 1).filter((call) => pid(call) === pid(calls[at])).length;
      assert.equal(traced("-e", `inject=rename:signal=SIGKILL:when=${when}`), "");
      assert.match(
        readFileSync(trace, "utf8"),
        new RegExp(`"${NETWORK_STATE.dir}/${name}"(?: <unfinished|\\) += \\?)`),
      );
      rkt.ok(["gc", "--grace-period=0"]);
      await eventually("nothing is left", () => (`${files()}` === `${before}` ? true : undefined)).catch(() =>
        assert.deepEqual(files(), before),
      );
    }
  },
);
