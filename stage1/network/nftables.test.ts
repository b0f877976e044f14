/** What the kernel has understood of the tables, as nft(8) shows it. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { requires } from "../../test/helpers/rkt.ts";
import { containerTable, hostTable } from "./neighbours.ts";
import { newTable, type Table } from "./nftables.ts";

/** Sends messages over a netlink socket in a network namespace of its own, and lists its tables while the socket is open. */
const LIST = `import socket, subprocess, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(sys.stdin.buffer.read())
assert s.recv(4096)[16:20] == bytes(4), "the kernel refuses it"
subprocess.run(["nft", "list", "ruleset"], check=True)`;

const sets = [4, 6]
  .map((family) => `set hops${family} { type ipv${family}_addr size 64 flags dynamic,timeout timeout 1m }`)
  .join(" ");
const filter = (hook: string) => `type filter hook ${hook} priority filter; policy accept;`;

const cases: { name: string; table: Table; listed: string }[] = [
  {
    name: "in the container's namespace",
    table: containerTable("eth0", ["172.16.28.1", "fd00::ab:1"]),
    listed: `table inet rkt-eth0 { ${sets} chain back { ${filter("forward")} iifname != "eth0" accept oifname != "eth0" accept drop } chain hops { ${filter("postrouting")} oifname != "eth0" accept rt ip nexthop 172.16.28.1 accept rt ip6 nexthop fd00::ab:1 accept rt ip6 nexthop ff02::1:ffab:1 accept rt ip6 nexthop ff02::2 accept rt ip6 nexthop ff02::16 accept update @hops4 { rt ip nexthop } accept update @hops6 { rt ip6 nexthop } accept drop } }`,
  },
  {
    name: "in the host's, of one sender",
    table: hostTable("rkt-x-eth0", { device: "rkt0", senders: ["172.16.28.2", "fd00::2"] }),
    listed: `table inet rkt-x-eth0 { flags owner ${sets} chain hops { ${filter("forward")} iifname != "rkt0" accept ip saddr 172.16.28.2 update @hops4 { rt ip nexthop } accept ip saddr 172.16.28.2 drop ip6 saddr fd00::2 update @hops6 { rt ip6 nexthop } accept ip6 saddr fd00::2 drop } }`,
  },
  {
    name: "in the host's, of an interface",
    table: hostTable("rkt-x-eth1", { device: "veth12345678901", senders: undefined }),
    listed: `table inet rkt-x-eth1 { flags owner ${sets} chain hops { ${filter("forward")} iifname != "veth12345678901" accept update @hops4 { rt ip nexthop } accept update @hops6 { rt ip6 nexthop } accept drop } }`,
  },
];

for (const { name, table, listed } of cases)
  test(`a table of neighbours ${name}`, (t) => {
    if (!requires(t, "root", "nft")) return;
    // The machine's own limits do not matter here.
    const input = newTable({ ...table, sets: table.sets.map((set) => ({ ...set, size: 64 })) });
    const done = spawnSync("unshare", ["-n", "python3", "-c", LIST], { input, encoding: "utf8" });
    assert.equal(done.stderr, "");
    assert.equal(done.stdout.replace(/ # progname .*/g, "").replace(/\s+/g, " ").trim(), listed);
  });
