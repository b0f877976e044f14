import assert from "node:assert/strict";
import { test } from "node:test";
import { addressBytes, containerTable, hostTable, shareOf } from "./neighbours.ts";
import { ACCEPT, countNextHop, nextHopIs, newTable } from "./nftables.ts";

for (const [address, hex] of [
  ["172.16.28.1", "ac101c01"],
  ["fd00::1", "fd000000000000000000000000000001"],
  ["fe80::", "fe800000000000000000000000000000"],
  ["1:2:3:4:5:6:7:abcd", "0001000200030004000500060007abcd"],
] as const)
  test(`the bytes of ${address}`, () => assert.equal(addressBytes(address).toString("hex"), hex));

/** Types and flags of the messages in a transaction, which they fill. */
function messages(batch: Buffer): string[] {
  const found: string[] = [];
  let at = 0;
  while (at < batch.length) {
    assert.equal(at % 4, 0);
    found.push(`${batch.readUInt16LE(at + 4).toString(16)} ${batch.readUInt16LE(at + 6).toString(16)}`);
    at += batch.readUInt32LE(at);
  }
  assert.equal(at, batch.length);
  return found;
}

test("a table is one transaction, and its last rule asks for an answer", () => {
  const rules = Array.from({ length: 10 }, (_, i) => `a06 ${i < 9 ? "c01" : "c05"}`);
  assert.deepEqual(messages(newTable(containerTable("eth0", ["172.16.28.1"]))), [
    ...["10 1", "a00 401", "a03 401", "a03 401", "a09 401", "a09 401"],
    ...rules,
    "11 1",
  ]);
  const host = messages(newTable(hostTable("x", { device: "rkt0", senders: ["172.16.28.2", "fd00::2"] })));
  assert.equal(host.filter((one) => one.startsWith("a06")).length, 5);
});

test("expressions are nf_tables' own: a name, and numbers in the order of the network", () => {
  const rt = `2000 0180 0700 0100 72740000 1400 0280 0800 0100 00000001 0800 0200 00000001`;
  const cmp = `2c00 0180 0800 0100 636d7000 2000 0280 0800 0100 00000001 0800 0200 00000000 0c00 0380 0800 0100 ac101c01`;
  const accept = `3000 0180 0e00 0100 696d6d65646961746500 0000 1c00 0280 0800 0100 00000000 1000 0280 0c00 0280 0800 0100 00000001`;
  const dynset = `3000 0180 0b00 0100 64796e73657400 00 2000 0280 0a00 0100 686f70733400 0000 0800 0300 00000001 0800 0400 00000001`;
  const hex = (...parts: string[]) => parts.join("").replaceAll(" ", "");
  assert.equal(
    Buffer.concat([...nextHopIs(4, addressBytes("172.16.28.1")), ACCEPT]).toString("hex"),
    hex(rt, cmp, accept),
  );
  assert.equal(Buffer.concat(countNextHop(4, "hops4")).toString("hex"), hex(rt, dynset));
});

test("a gateway of IPv6 is asked for at its solicited-node address, beside itself", () => {
  const table = Buffer.concat(
    containerTable("eth0", ["fd00::ab:1"]).chains.flatMap(({ rules }) => rules.flat()),
  ).toString("hex");
  assert.ok(table.includes("ff0200000000000000000001ffab0001"));
  assert.ok(table.includes("fd000000000000000000000000ab0001"));
});

test("a share is a sixteenth of the machine's table, and 16 at least", () => {
  assert.deepEqual([undefined, "1024\n", "16384\n", "128\n", "-1\n"].map(shareOf), [64, 64, 1024, 16, 16]);
});
