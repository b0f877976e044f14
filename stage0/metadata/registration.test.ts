import assert from "node:assert/strict";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { RktError } from "../../shared/errors.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { flock, LOCK_EX } from "../../shared/syscall/descriptor.ts";
import { register } from "./registration.ts";

/** A data directory whose service says where it listens, and runs or has ended. */
function dataDirectory(t: TestContext, url: string, running = true): string {
  const data = mkdtempSync(join(tmpdir(), "rkt-registration-"));
  t.after(() => rmSync(data, { recursive: true }));
  const path = dataLayout(data).metadataService;
  mkdirSync(dirname(path));
  writeFileSync(path, `${url}\n`);
  if (running) {
    const fd = openSync(path, "r");
    flock(fd, LOCK_EX);
    t.after(() => closeSync(fd));
  }
  return data;
}

const cases: [name: string, url: string, network: string, refusal: string | undefined][] = [
  ["the host's network", "http://127.0.0.1:18112", "host", undefined],
  ["the usual address", "http://169.254.169.255:330", "default", undefined],
  ["loopback is each network's own", "http://127.0.0.1:18112", "default", "metadata-service-unreachable"],
  ["of both families", "http://[::1]:18112", "default", "metadata-service-unreachable"],
  ["no network", "http://169.254.169.255:330", "none", "no-network"],
];
for (const [name, url, network, refusal] of cases)
  test(`register: ${name}`, async (t) => {
    const given = await register({ data: dataDirectory(t, url), network });
    if (refusal === undefined) {
      assert.ok(typeof given === "string");
      assert.equal(given.slice(0, -64), `${url}/`);
      assert.match(given.slice(-64), /^[0-9a-f]{64}$/);
    } else {
      assert.ok(given instanceof RktError);
      assert.equal(given.code, refusal);
      assert.ok(given.hint);
    }
  });

test("register: each container has a token of its own", async (t) => {
  const data = dataDirectory(t, "http://127.0.0.1:18112");
  const one = await register({ data, network: "host" });
  assert.notEqual(one, await register({ data, network: "host" }));
});

test("register: a service that has ended is none, though its file is there", async (t) => {
  const given = await register({ data: dataDirectory(t, "http://127.0.0.1:18112", false), network: "host" });
  assert.ok(given instanceof RktError);
  assert.equal(given.code, "no-metadata-service");
});

test("register: a service that is about to start is waited for, if that is asked for", async (t) => {
  const data = dataDirectory(t, "", false);
  const path = dataLayout(data).metadataService;
  rmSync(path);
  const waiting = register({ data, network: "host", wait: true });
  setTimeout(() => {
    writeFileSync(path, "http://127.0.0.1:18112\n");
    const fd = openSync(path, "r");
    flock(fd, LOCK_EX);
    t.after(() => closeSync(fd));
  }, 100);
  const given = await waiting;
  assert.ok(typeof given === "string", String(given));
  assert.equal(given.slice(0, -64), "http://127.0.0.1:18112/");
});
