import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import type { RktError } from "../../shared/errors.ts";
import { credentialsFrom, readAuth } from "./auth.ts";
import type { ConfigDirs } from "./config-files.ts";
import { readDefaultStage1, readPaths } from "./settings.ts";

/** Paths begin with "system", "local" or "user"; contents that are no text are JSON. */
function configuration(t: TestContext, files: Record<string, unknown>): ConfigDirs {
  const base = mkdtempSync(join(tmpdir(), "rkt-config-"));
  t.after(() => rmSync(base, { recursive: true }));
  for (const [path, content] of Object.entries(files)) {
    const file = join(base, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content), { mode: 0o600 });
  }
  return { systemConfig: join(base, "system"), localConfig: join(base, "local"), userConfig: join(base, "user") };
}

const header = (rktKind: string) => ({ rktKind, rktVersion: "v1" });
const basic = (user: string, ...domains: string[]) => ({
  ...header("auth"),
  domains,
  type: "basic",
  credentials: { user, password: "secret" },
});
const oauth = (token: string, ...domains: string[]) => ({
  ...header("auth"),
  domains,
  type: "oauth",
  credentials: { token },
});

test("no configuration at all", (t) => {
  const dirs = { ...configuration(t, {}), userConfig: undefined };
  assert.deepEqual(readPaths(dirs), { data: undefined, stage1Images: undefined });
  assert.deepEqual(readDefaultStage1(dirs), { name: undefined, version: undefined, location: undefined });
  assert.deepEqual(readAuth(dirs), { hosts: new Map(), registries: new Map(), warnings: [] });
});

test("a later directory overrides single hosts, whatever its files are called", (t) => {
  const dirs = configuration(t, {
    "system/auth.d/coreos.json": oauth("common", "coreos.com", "tectonic.com", "kubernetes.io"),
    "local/auth.d/specific-coreos.json": basic("foo", "CoreOS.com"),
    "user/auth.d/coreos.json": oauth("mine", "tectonic.com", "example.com:8443"),
  });
  assert.deepEqual(
    readAuth(dirs).hosts,
    new Map<string, unknown>([
      ["coreos.com", { type: "basic", user: "foo", password: "secret" }],
      ["example.com:8443", { type: "oauth", token: "mine" }],
      ["kubernetes.io", { type: "oauth", token: "common" }],
      ["tectonic.com", { type: "oauth", token: "mine" }],
    ]),
  );
});

test("registries are apart from hosts", (t) => {
  const credentials = { user: "u", password: "p" };
  const dirs = configuration(t, {
    "local/auth.d/a.json": { ...header("dockerAuth"), registries: ["quay.io"], credentials },
    "local/auth.d/b.json": oauth("t", "quay.io"),
  });
  const [[registry, login] = []] = readAuth(dirs).registries;
  assert.equal(registry, "quay.io");
  assert.deepEqual(login?.credentials, { type: "basic", ...credentials });
  assert.match(login?.path ?? "", /\/auth\.d\/.*\.json$/);
  assert.deepEqual(readAuth(dirs).hosts, new Map([["quay.io", { type: "oauth", token: "t" }]]));
});

test("only *.json files count, not those further down; links are followed", (t) => {
  const dirs = configuration(t, {
    "local/auth.d/README": "not JSON",
    "local/auth.d/x.json.bak": "not JSON",
    "local/auth.d/old/x.json": oauth("old", "a.example"),
    "local/auth.d/dir.json/x": "",
    "elsewhere/secret": oauth("linked", "b.example"),
  });
  symlinkSync("../../elsewhere/secret", join(dirs.localConfig, "auth.d/linked.json"));
  assert.deepEqual([...readAuth(dirs).hosts.keys()], ["b.example"]);
});

test("paths and the default stage1 image override field by field", (t) => {
  const dirs = configuration(t, {
    "system/paths.d/p.json": { ...header("paths"), data: "/a", "stage1-images": "/b" },
    "local/paths.d/p.json": { ...header("paths"), data: "/c" },
    "system/stage1.d/s.json": { ...header("stage1"), name: "example.com/s", version: "1", location: "/s.aci" },
    "local/stage1.d/l.json": { ...header("stage1"), location: "https://example.com/l.aci", addedLater: true },
  });
  assert.deepEqual(readPaths(dirs), { data: "/c", stage1Images: "/b" });
  assert.deepEqual(readDefaultStage1(dirs), {
    name: "example.com/s",
    version: "1",
    location: "https://example.com/l.aci",
  });
});

// --- what is refused ----------------------------------------------------------------------

const read = { auth: readAuth, paths: readPaths, stage1: readDefaultStage1 };

const refused: { of: keyof typeof read; content: unknown; says: string }[] = [
  { of: "auth", content: "bogus", says: 'line 1, column 1: expected a value, got "b"' },
  { of: "auth", content: '{"token": "hunter2" x', says: 'line 1, column 21: expected "," or "}", got "x"' },
  { of: "auth", content: [], says: "must be an object, got a list" },
  { of: "auth", content: {}, says: "rktKind: is required" },
  { of: "auth", content: { rktKind: "auth" }, says: "rktVersion: is required" },
  { of: "auth", content: { rktKind: "auth", rktVersion: "v2" }, says: 'rktVersion: must be "v1", got "v2"' },
  { of: "auth", content: header("paths"), says: 'rktKind: must be "auth" or "dockerAuth", got "paths"' },
  { of: "auth", content: { ...basic("u"), domains: undefined }, says: "domains: is required" },
  { of: "auth", content: { ...basic("u"), domains: "a" }, says: 'domains: must be a list, got "a"' },
  { of: "auth", content: basic("u"), says: "domains: must not be empty" },
  {
    of: "auth",
    content: basic("u", "a.example", "https://b.example"),
    says: 'domains[1]: must be a host, or a host and port like "example.com:8080", got "https://b.example"',
  },
  { of: "auth", content: basic("u", "a.example", "A.example"), says: "domains[1]: is given twice" },
  {
    of: "auth",
    content: { ...basic("u", "a"), type: "none" },
    says: 'type: must be "basic" or "oauth" or "aws", got "none"',
  },
  { of: "auth", content: { ...oauth("t", "a"), credentials: undefined }, says: "credentials: is required" },
  { of: "auth", content: { ...oauth("t", "a"), credentials: {} }, says: "credentials.token: is required" },
  { of: "auth", content: oauth("", "a"), says: "credentials.token: must not be empty" },
  {
    of: "auth",
    content: oauth("hunter2\r\nx: y", "a"),
    says: "credentials.token: has characters that it must not have",
  },
  {
    of: "auth",
    content: { ...oauth("", "a"), credentials: { token: 123456 } },
    says: "credentials.token: must be a string",
  },
  { of: "auth", content: basic("u:v", "a"), says: "credentials.user: has characters that it must not have" },
  {
    of: "auth",
    content: { ...basic("u", "a"), type: "aws" },
    says: "credentials.accessKeyID: is required",
  },
  { of: "paths", content: { ...header("paths"), data: "data" }, says: 'data: must be absolute, got "data"' },
  { of: "stage1", content: { ...header("stage1"), name: "x" }, says: "version: is required beside a name" },
  { of: "stage1", content: { ...header("stage1"), version: "1" }, says: "name: is required beside a version" },
  {
    of: "stage1",
    content: { ...header("stage1"), location: "docker://busybox" },
    says: 'location: must be an absolute path, or a file:, http: or https: URL, got "docker://busybox"',
  },
];

for (const { of, content, says } of refused)
  test(`refused: ${says}`, (t) => {
    const dirs = configuration(t, { [`local/${of}.d/x.json`]: content });
    const file = join(dirs.localConfig, `${of}.d/x.json`);
    assert.throws(
      () => read[of](dirs),
      (error: RktError) => {
        assert.deepEqual([error.code, error.message], ["config-invalid", `${file}: ${says}`]);
        return true;
      },
    );
  });

test("two files of one directory that contradict each other name each other", (t) => {
  const dirs = configuration(t, {
    "local/auth.d/1.json": basic("u", "a.example"),
    "local/auth.d/2.json": oauth("t", "b.example", "a.example"),
    "local/paths.d/1.json": { ...header("paths"), data: "/a" },
    "local/paths.d/2.json": { ...header("paths"), data: "/a" },
  });
  const at = (file: string) => join(dirs.localConfig, file);
  assert.throws(() => readAuth(dirs), {
    message: `${at("auth.d/2.json")}: domains[1]: is given in ${at("auth.d/1.json")} too`,
  });
  assert.throws(() => readPaths(dirs), {
    message: `${at("paths.d/2.json")}: data: is given in ${at("paths.d/1.json")} too`,
  });
});

test("a subdirectory that is a file", (t) => {
  const dirs = configuration(t, { "local/auth.d": "" });
  assert.throws(() => readAuth(dirs), {
    code: "config-unreadable",
    message: `cannot read the configuration: scandir ${dirs.localConfig}/auth.d: ENOTDIR`,
  });
});

// --- credentials ------------------------------------------------------------------------

test("credentials go to their own host and port, and nowhere else", (t) => {
  const dirs = configuration(t, {
    "local/auth.d/1.json": basic("Aladdin", "a.example", "[::1]:5000", "p.example:443"),
    "local/auth.d/2.json": oauth("t", "a.example:8443"),
  });
  const credentialsFor = credentialsFrom(dirs, assert.fail);
  const of = (url: string) => credentialsFor(new URL(url))?.["authorization"];
  const aladdin = `Basic ${Buffer.from("Aladdin:secret").toString("base64")}`;
  const cases: Record<string, string | undefined> = {
    "https://a.example/x.aci": aladdin,
    "https://A.EXAMPLE:443/x.aci": aladdin,
    "https://a.example:8443/x.aci": "Bearer t",
    "https://a.example:9/x.aci": undefined,
    "https://b.a.example/": undefined,
    "https://a.example.evil.example/": undefined,
    "https://p.example/": aladdin,
    "http://p.example/": undefined,
    "https://[::1]:5000/": aladdin,
    "https://[::1]/": undefined,
  };
  for (const [url, expected] of Object.entries(cases)) assert.equal(of(url), expected, url);
});

test("the files are read at the first question; a secret that everybody can read is warned of once", (t) => {
  const dirs = configuration(t, { "local/auth.d/1.json": oauth("t", "a.example") });
  const file = join(dirs.localConfig, "auth.d/1.json");
  chmodSync(file, 0o644);
  const warnings: string[] = [];
  const credentialsFor = credentialsFrom(dirs, (text) => warnings.push(text));
  assert.deepEqual(warnings, []);
  for (let i = 0; i < 2; i++)
    assert.deepEqual(credentialsFor(new URL("https://a.example/")), { authorization: "Bearer t" });
  assert.deepEqual(warnings, [`${file} holds credentials, and everybody can read it: chmod o-r ${file}`]);
});
