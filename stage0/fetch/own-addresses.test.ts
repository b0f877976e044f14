import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { test } from "node:test";
import { serve, type TestServer } from "../../test/helpers/http-server.ts";
import { openHttp } from "./http.ts";
import { isOwnAddress, isOwnHost, lookupElsewhere } from "./own-addresses.ts";

for (const address of ["127.0.0.1", "127.255.0.9", "0.0.0.0", "0.1.2.3", "169.254.169.254", "::1", "::", "fe80::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "100.100.100.200", "fd00:ec2::254", "fd00:0ec2:0::0:254", "64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::127.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::100.100.100.200", "fe80::1%lo"])
  test(`own: ${address}`, () => assert.ok(isOwnAddress(address)));
for (const address of ["126.0.0.1", "128.0.0.1", "10.0.0.1", "192.168.1.1", "::192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "64:ff9b::192.0.2.1", "2002:c000:201::", "64:ff9c::7f00:1", "100.100.100.201", "fd00:ec2::253", "x"])
  test(`elsewhere: ${address}`, () => assert.ok(!isOwnAddress(address)));

test("own: whatever address an interface of this machine has", () => {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  assert.ok(all.length > 0);
  for (const { address, family } of all) {
    assert.ok(isOwnAddress(address), address);
    if (family === "IPv4") assert.ok(isOwnAddress(`64:ff9b::${address}`), address);
    assert.ok(isOwnHost(new URL(family === "IPv4" ? `http://${address}/` : `http://[${address.replace(/%.*/, "")}]/`)));
  }
});

for (const url of ["http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://2130706433/", "http://0x7f.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://0/"])
  test(`own: ${url}`, () => assert.ok(isOwnHost(new URL(url))));
for (const url of ["http://localhost.example.com/", "http://127.0.0.1.example.com/", "http://notlocalhost/"])
  test(`elsewhere: ${url}`, () => assert.ok(!isOwnHost(new URL(url))));

test("what another host named is not asked for on this machine, nor after a redirect", async (t) => {
  const target: TestServer = await serve(t, (_, response) => void response.end("secret"));
  const from = await serve(t, (_, response) => void response.writeHead(302, { location: `${target.base}/x` }).end());
  const http = openHttp({ env: {}, plainHttp: true });
  t.after(() => http.close());
  const named = new URL("https://images.example.com/");
  for (const base of [target.base, target.base.replace("127.0.0.1", "localhost")])
    await assert.rejects(http.get(new URL(base), { own: { named } }), { code: "bad-redirect", message: /which is this machine/ });
  assert.equal(target.seen.length, 0);
  // The person has named this machine.
  const here = await http.get(new URL(from.base), { own: { named: new URL(from.base), authorization: "Basic x" } });
  here.close();
  assert.equal(here.status, 200);
  assert.equal(from.seen[0]?.headers.authorization, "Basic x");
  assert.equal(target.seen[0]?.headers.authorization, undefined, "another port is another origin");
});

test("a name that stands for this machine is refused where it is looked up", async () => {
  const looked = (name: string) =>
    new Promise((resolve, reject) => {
      lookupElsewhere(name, { all: true }, (error, addresses) => (error === null ? resolve(addresses) : reject(error)));
    });
  await assert.rejects(looked("localhost"), { code: "bad-redirect" });
  assert.deepEqual(await looked("192.0.2.1"), [{ address: "192.0.2.1", family: 4 }]);
});

test("configured credentials of other hosts stay at home", async (t) => {
  const server = await serve(t, (_, response) => void response.end());
  const http = openHttp({ env: {}, plainHttp: true, credentialsFor: () => ({ authorization: "Bearer configured" }) });
  t.after(() => http.close());
  const url = new URL(server.base);
  (await http.get(url, { own: { named: url } })).close();
  (await http.get(url)).close();
  assert.deepEqual(server.seen.map(({ headers }) => headers.authorization), [undefined, "Bearer configured"]);
});
