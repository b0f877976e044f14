import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { authFiles, findLogin } from "./containers-auth.ts";

const auth = (pair: string) => ({ auth: Buffer.from(pair).toString("base64") });

function file(t: TestContext, content: object | string): string {
  const dir = mkdtempSync(join(tmpdir(), "rkt-auth-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "auth.json");
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content), { mode: 0o600 });
  return path;
}

const FILE = {
  auths: {
    "quay.io": auth("me:pass:word"),
    "quay.io/org": auth("org:o"),
    "quay.io/org/app": auth("app:a"),
    "https://index.docker.io/v1/": auth("hub:h"),
    "Registry.example.com:5000": auth("port:p"),
    "token.example.com": { identitytoken: "refresh", auth: auth("x:y").auth },
    "empty.example.com": {},
  },
  HttpHeaders: { "User-Agent": "Docker" },
};

const logins: [host: string, repository: string, login: object | undefined][] = [
  ["quay.io", "other/app", { user: "me", password: "pass:word" }],
  ["quay.io", "org/x", { user: "org", password: "o" }],
  ["quay.io", "org/app", { user: "app", password: "a" }],
  ["quay.io", "org/app/x", { user: "app", password: "a" }],
  ["quay.io", "organ/app", { user: "me", password: "pass:word" }],
  ["docker.io", "library/nginx", { user: "hub", password: "h" }],
  ["registry.example.com:5000", "x", { user: "port", password: "p" }],
  ["registry.example.com", "x", undefined],
  ["token.example.com", "x", { identityToken: "refresh" }],
  ["empty.example.com", "x", undefined],
  ["io", "x", undefined],
];

for (const [host, repository, login] of logins)
  test(`login for ${host}/${repository}`, async (t) => {
    const path = file(t, FILE);
    const found = await findLogin(["/none", path], host, repository);
    assert.deepEqual(found, login === undefined ? undefined : { ...login, origin: path });
  });

test("the first file that says anything counts", async (t) => {
  const one = file(t, { auths: { "a.example": auth("one:1") } });
  const two = file(t, { auths: { "a.example": auth("two:2"), "b.example": auth("two:2") } });
  assert.equal((await findLogin([one, two], "a.example", "x"))?.origin, one);
  assert.equal((await findLogin([one, two], "b.example", "x"))?.origin, two);
});

for (const [name, content] of [
  ["no JSON", '{"auths": {"a.example": {"auth": "c2VjcmV0'],
  ["no base64 of a pair", { auths: { "a.example": auth("secret") } }],
  ["a line break", { auths: { "a.example": auth("me:sec\nret") } }],
] as const)
  test(`a file that is wrong, ${name}: its secret is not shown`, async (t) => {
    const path = file(t, content);
    await assert.rejects(findLogin([path], "a.example", "x"), (error: Error & { code: string }) => {
      assert.equal(error.code, "config-invalid");
      assert.doesNotMatch(`${error.stack} ${(error.cause as Error | undefined)?.stack}`, /sec|c2Vj/);
      return true;
    });
  });

test("a file that others can write is not believed", async (t) => {
  const path = file(t, FILE);
  chmodSync(path, 0o620);
  await assert.rejects(findLogin([path], "quay.io", "x"), { code: "config-unsafe" });
});

test("root's files, whatever the environment says", () => {
  assert.deepEqual(authFiles("/h", 0), [
    "/run/containers/0/auth.json",
    "/h/.config/containers/auth.json",
    "/h/.docker/config.json",
  ]);
});

// --- helpers: in a directory of root's own, because none other is looked in ------------------------------

function helper(t: TestContext, script: string): string {
  const name = `rkt-test-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const path = `/usr/local/bin/docker-credential-${name}`;
  writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  t.after(() => rmSync(path));
  return name;
}

const ANSWER = 'read url; [ "$1" = get ] || exit 3; echo "{\\"ServerURL\\":\\"$url\\",\\"Username\\":\\"$url\\",\\"Secret\\":\\"$HOME $SECRET $PATH\\"}"';

test("a helper is asked by stdin, without the caller's environment", async (t) => {
  const name = helper(t, ANSWER);
  process.env["SECRET"] = "leaked";
  t.after(() => delete process.env["SECRET"]);
  const all = file(t, { credsStore: name });
  const one = file(t, { credHelpers: { "a.example": name } });
  const login = (await findLogin([all], "a.example", "x")) as { user: string; password: string; origin: string };
  assert.equal(login.user, "a.example");
  assert.match(login.password, /^\/\S* {2}\/usr\/local\/sbin:/);
  assert.equal(login.origin, `docker-credential-${name} (${all})`);
  assert.equal(await findLogin([one], "b.example", "x"), undefined);
});

test("Docker Hub is called as docker calls it", async (t) => {
  const name = helper(t, 'read url; [ "$url" = https://index.docker.io/v1/ ] && echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"t\\"}"');
  const path = file(t, { credsStore: name });
  assert.deepEqual(await findLogin([path], "docker.io", "x"), {
    identityToken: "t",
    origin: `docker-credential-${name} (${path})`,
  });
});

for (const [name, script, message] of [
  ["fails", "exit 7", /it ends with 7$/],
  ["prints nonsense", "echo secret", /its answer is no JSON$/],
  ["prints no secret", "echo '{}'", /no Username and Secret$/],
  ["prints without end", "yes secret", /it prints more than 65536 bytes$/],
] as const)
  test(`a helper that ${name}`, async (t) => {
    const path = file(t, { credsStore: helper(t, script) });
    await assert.rejects(findLogin([path], "a.example", "x"), (error: Error & { code: string }) => {
      assert.equal(error.code, "credential-helper");
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  });

test("a helper that knows nothing, and one that is not there", async (t) => {
  const nothing = helper(t, "echo credentials not found in native keychain; exit 1");
  const path = file(t, { credsStore: nothing, auths: { "a.example": auth("me:x") } });
  assert.deepEqual(await findLogin([path], "a.example", "x"), { user: "me", password: "x", origin: path });
  for (const [name, message] of [
    ["rkt-none", /there is no such program/],
    ["../../tmp/evil", /names a credential helper/],
    ["a b", /names a credential helper/],
  ] as const) {
    await assert.rejects(findLogin([file(t, { credsStore: name })], "a.example", "x"), { code: "credential-helper", message });
  }
});
