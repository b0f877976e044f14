import assert from "node:assert/strict";
import { test } from "node:test";
import type { Attachment } from "./cni.ts";
import { arpCommands, hostOnlyRelease, ipv4Rules, ipv6Rules, pairOf } from "./host-only.ts";

const attachment: Attachment = {
  conf: { name: "default-restricted", cniVersion: "1.0.0", file: "built in", disableCheck: false, plugins: [] },
  containerId: "5ab862c3-e475-47aa-95d4-7ed2c849ac66",
  ifName: "eth0",
  args: "",
  portMappings: [],
  pluginDirs: [],
  ownPlugins: "/x",
  busybox: "/x/busybox",
};
const result = {
  interfaces: [
    { name: "veth1a2b", mac: "02:00:00:00:00:02" },
    { name: "eth0", mac: "02:00:00:00:00:03", sandbox: "/proc/1/fd/9" },
  ],
  ips: [{ address: "192.168.255.2/24", interface: 1 }],
};
const C = "RKT-5ab862c3e47547aa95d47ed2";

test("the rules of a container: nothing is forwarded, and its senders are its own", () => {
  const pair = { ...pairOf(attachment, result), counted: false };
  assert.equal(
    ipv4Rules(pair),
    `*mangle
:${C} - [0:0]
-A ${C} -i veth1a2b -j DROP
-A ${C} -o veth1a2b -j DROP
-A FORWARD -j ${C}
COMMIT
*raw
:${C} - [0:0]
-A ${C} -i veth1a2b -s 192.168.255.2/32 -j RETURN
-A ${C} -i veth1a2b -j DROP
-A PREROUTING -j ${C}
COMMIT
`,
  );
  assert.equal(
    ipv6Rules(pair),
    `*mangle
:${C} - [0:0]
-A ${C} -i veth1a2b -j DROP
-A ${C} -o veth1a2b -j DROP
-A FORWARD -j ${C}
COMMIT
*raw
:${C} - [0:0]
-A ${C} -i veth1a2b -p ipv6-icmp -m icmp6 --icmpv6-type router-advertisement -j DROP
-A ${C} -i veth1a2b -s fe80::0:ff:fe00:3/128 -j RETURN
-A ${C} -i veth1a2b -s ::/128 -p ipv6-icmp -j RETURN
-A ${C} -i veth1a2b -j DROP
-A PREROUTING -j ${C}
COMMIT
`,
  );
  assert.deepEqual(arpCommands(pair), [
    `-N ${C}`,
    `-A ${C} -i veth1a2b --source-mac 02:00:00:00:00:03 --source-ip 192.168.255.2 -j RETURN`,
    `-A ${C} -i veth1a2b --h-type 0/0 -j DROP`,
    `-A INPUT --h-type 0/0 -j ${C}`,
  ]);
});

test("where the host tracks connections, the container's are counted before they are the host's, and the rule goes with the others", () => {
  const pair = { ...pairOf(attachment, result), counted: true };
  const input = "RKT-I5ab862c3e47547aa95d47ed";
  for (const [text, bits] of [
    [ipv4Rules(pair), 32],
    [ipv6Rules(pair), 128],
  ] as const)
    assert.match(
      text,
      new RegExp(
        `:${input} - .*\n-A ${input} -i veth1a2b -m conntrack --ctstate NEW ! --ctstatus CONFIRMED -m connlimit --connlimit-above \\d+ --connlimit-mask ${bits} --connlimit-saddr -j DROP\n-A INPUT -j ${input}\nCOMMIT`,
      ),
    );
  assert.match(hostOnlyRelease(pair), new RegExp(`ip6tables -w -t mangle -D INPUT -j ${input};.* -X ${input}`));
});

test("they go by the name of the chain", () => {
  const tables = (name: string) =>
    `{ ${name} -w -t mangle -D FORWARD -j ${C}; ${name} -w -t mangle -F ${C}; ${name} -w -t mangle -X ${C}; ${name} -w -t raw -D PREROUTING -j ${C}; ${name} -w -t raw -F ${C}; ${name} -w -t raw -X ${C}; } 2>/dev/null\n`;
  assert.equal(
    hostOnlyRelease({ ...pairOf(attachment, result), counted: false }),
    `${tables("iptables")}${tables("ip6tables")}{ arptables-nft -D INPUT --h-type 0/0 -j ${C}; arptables-nft -F ${C}; arptables-nft -X ${C}; } 2>/dev/null\n`,
  );
});

for (const [name, odd] of [
  ["no result", undefined],
  ["no pair", { ...result, interfaces: result.interfaces.slice(1) }],
  ["no address", { interfaces: result.interfaces }],
  ["an address that is a rule", { ...result, ips: [{ address: "1.2.3.4 -j ACCEPT" }] }],
  ["a name that is a rule", { ...result, interfaces: [{ name: "veth1\n-F INPUT" }, result.interfaces[1]] }],
] as const)
  test(`without what is needed the container does not start: ${name}`, () => {
    assert.throws(() => pairOf(attachment, odd as never), /network default-restricted: the plugin has not named/);
  });
