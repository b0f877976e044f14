import assert from "node:assert/strict";
import { test } from "node:test";
import { requires } from "../../test/helpers/rkt.ts";
import { guardRelease, guardRules, installGuard, linkLocalAddress } from "./source-guard.ts";

const UUID = "5ab862c3-e475-47aa-95d4-7ed2c849ac66";
const result = {
  interfaces: [
    { name: "rkt0", mac: "02:00:00:00:00:01" },
    { name: "veth1a2b", mac: "02:00:00:00:00:02" },
    { name: "eth0", mac: "02:00:00:00:00:03", sandbox: "/proc/1/fd/9" },
  ],
  ips: [
    { address: "172.16.28.2/24", interface: 2 },
    { address: "fd00::2/64", interface: 2 },
  ],
};

test("the rules of a container with both kinds of addresses", () => {
  assert.equal(
    guardRules(UUID, result),
    `*nat
:RKT-5ab862c3e47547aa95d47ed2 RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type router-advertisement -j DROP
-A RKT-5ab862c3e47547aa95d47ed2 -p IPv6 -s 02:00:00:00:00:03 --ip6-src fe80::0:ff:fe00:3 -j RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -p IPv6 -s 02:00:00:00:00:03 --ip6-src :: --ip6-proto ipv6-icmp -j RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -p IPv4 -s 02:00:00:00:00:03 --ip-src 172.16.28.2 -j RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -p ARP -s 02:00:00:00:00:03 --arp-mac-src 02:00:00:00:00:03 --arp-ip-src 172.16.28.2 -j RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -p IPv6 -s 02:00:00:00:00:03 --ip6-src fd00::2 -j RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -j DROP
-A PREROUTING -i veth1a2b -j RKT-5ab862c3e47547aa95d47ed2
*filter
:RKT-5ab862c3e47547aa95d47ed2 RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type router-advertisement -j DROP
-A RKT-5ab862c3e47547aa95d47ed2 -p IPv6 -s 02:00:00:00:00:03 --ip6-src fe80::0:ff:fe00:3 -j RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -p IPv6 -s 02:00:00:00:00:03 --ip6-src :: --ip6-proto ipv6-icmp -j RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -p IPv4 -s 02:00:00:00:00:03 --ip-src 172.16.28.2 -j RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -p ARP -s 02:00:00:00:00:03 --arp-mac-src 02:00:00:00:00:03 --arp-ip-src 172.16.28.2 -j RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -p IPv6 -s 02:00:00:00:00:03 --ip6-src fd00::2 -j RETURN
-A RKT-5ab862c3e47547aa95d47ed2 -j DROP
-A INPUT -i veth1a2b -j RKT-5ab862c3e47547aa95d47ed2
`,
  );
});

for (const [mac, address] of [
  ["34:56:78:9a:bc:de", "fe80::3656:78ff:fe9a:bcde"],
  ["FE:00:0a:00:00:01", "fe80::fc00:aff:fe00:1"],
] as const)
  test(`the link-local address of ${mac}`, () => {
    assert.equal(linkLocalAddress(mac), address);
  });

test("they go as they came", () => {
  assert.equal(
    guardRelease(UUID, result),
    `ebtables-nft-restore --noflush 2>/dev/null <<'EOF'
*nat
-D PREROUTING -i veth1a2b -j RKT-5ab862c3e47547aa95d47ed2
-F RKT-5ab862c3e47547aa95d47ed2
-X RKT-5ab862c3e47547aa95d47ed2
EOF
ebtables-nft-restore --noflush 2>/dev/null <<'EOF'
*filter
-D INPUT -i veth1a2b -j RKT-5ab862c3e47547aa95d47ed2
-F RKT-5ab862c3e47547aa95d47ed2
-X RKT-5ab862c3e47547aa95d47ed2
EOF
`,
  );
});

for (const [name, odd] of [
  ["no result", undefined],
  ["no interfaces", { ips: result.ips }],
  ["no pair", { ...result, interfaces: result.interfaces.slice(2) }],
  [
    "an address that is none",
    { ...result, interfaces: [result.interfaces[1], { name: "eth0", mac: "x\n-F", sandbox: "x" }] },
  ],
  ["a name that is a rule", { ...result, interfaces: [{ name: "veth1\n-F INPUT" }, result.interfaces[2]] }],
] as const)
  test(`without what is needed there are none: ${name}`, () => {
    assert.equal(guardRules(UUID, odd as never), undefined);
  });

test("a guard that can't be installed: what that means, and why", (t) => {
  if (!requires(t, "root", "ebtables-nft-restore")) return;
  assert.match(
    installGuard("no rules\n", "/nowhere") ?? "",
    /^the container can pass for its neighbours on the default network: .*ebtables.*line 1/,
  );
});
