/** `rkt config`, and what the configuration changes. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { exampleAci, makeRkt, requires, rktBinary } from "../helpers/rkt.ts";

/** Paths begin with "system", "local" or "user"; contents that are no text are JSON. */
function makeConfig(t: TestContext, files: Record<string, unknown>) {
  const rkt = makeRkt(t);
  for (const [path, content] of Object.entries(files)) {
    const file = join(rkt.scratch, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content), { mode: 0o600 });
  }
  const dirs = ["system", "local", "user"].map((name) => `--${name}-config=${join(rkt.scratch, name)}`);
  return {
    ...rkt,
    dirs,
    config: (...args: string[]) => rkt.run([...dirs, ...args, "config"]),
    /** Without --dir. */
    bare: (...args: string[]) => spawnSync(rktBinary, [...dirs, ...args], { encoding: "utf8", timeout: 60_000 }),
  };
}

const v1 = (rktKind: string, content: object) => ({ rktKind, rktVersion: "v1", ...content });

test("what is in effect, secrets masked", (t) => {
  if (!requires(t, "build")) return;
  const { config, dir } = makeConfig(t, {
    "system/auth.d/common.json": v1("auth", {
      domains: ["a.example", "b.example:8443"],
      type: "oauth",
      credentials: { token: "secret-token" },
    }),
    "local/auth.d/a.json": v1("auth", {
      domains: ["a.example"],
      type: "basic",
      credentials: { user: "me", password: "secret-password" },
    }),
    "local/auth.d/s3.json": v1("auth", {
      domains: ["s3.example"],
      type: "aws",
      credentials: { accessKeyID: "key", secretAccessKey: "secret-access" },
    }),
    "user/auth.d/registry.json": v1("dockerAuth", {
      registries: ["quay.io"],
      credentials: { user: "me", password: "secret-registry" },
    }),
    "local/paths.d/paths.json": v1("paths", { "stage1-images": "/srv/stage1" }),
    "local/stage1.d/default.json": v1("stage1", { name: "example.com/stage1", version: "1", location: "/s.aci" }),
  });
  const { status, stdout, stderr } = config("--debug");
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(stdout + stderr, /secret-/);
  const entry = (rktKind: string, content: object) => ({ rktVersion: "v1", rktKind, ...content });
  assert.deepEqual(JSON.parse(stdout), {
    stage0: [
      entry("auth", { domains: ["a.example"], type: "basic", credentials: { user: "me", password: "***" } }),
      entry("auth", { domains: ["b.example:8443"], type: "oauth", credentials: { token: "***" } }),
      entry("auth", {
        domains: ["s3.example"],
        type: "aws",
        credentials: { accessKeyID: "key", secretAccessKey: "***" },
      }),
      entry("dockerAuth", { registries: ["quay.io"], credentials: { user: "me", password: "***" } }),
      entry("paths", { data: dir, "stage1-images": "/srv/stage1" }),
      entry("stage1", { name: "example.com/stage1", version: "1", location: "/s.aci" }),
    ],
  });
});

test("an error names the file and the place in it, and no secret", (t) => {
  if (!requires(t, "build")) return;
  const auth = (content: object) => ({ "local/auth.d/x.json": v1("auth", content) });
  const credentials = { user: "me", password: "s3cret" };
  const cases: { files: Record<string, unknown>; message: RegExp }[] = [
    { files: { "local/auth.d/x.json": '{"rktKind": "auth", }' }, message: /\/local\/auth\.d\/x\.json: / },
    { files: { "local/auth.d/x.json": "[]" }, message: /\/x\.json: must be an object/ },
    { files: { "local/auth.d/x.json": {} }, message: /\/x\.json: rktKind: is required/ },
    { files: { "local/auth.d/x.json": v1("paths", {}) }, message: /\/x\.json: rktKind: / },
    {
      files: { "local/auth.d/x.json": { rktKind: "auth", rktVersion: "v9" } },
      message: /\/x\.json: rktVersion: /,
    },
    { files: auth({ type: "basic", credentials }), message: /\/x\.json: domains: is required/ },
    { files: auth({ domains: ["a", 7], type: "basic", credentials }), message: /\/x\.json: domains\[1\]: / },
    { files: auth({ domains: ["a"], type: "digest", credentials }), message: /\/x\.json: type: / },
    {
      files: auth({ domains: ["a"], type: "basic", credentials: { password: "s3cret" } }),
      message: /\/x\.json: credentials\.user: is required/,
    },
    {
      files: auth({ domains: ["a"], type: "basic", credentials: { ...credentials, password: "s3cret\n" } }),
      message: /\/x\.json: credentials\.password: has characters that it must not have/,
    },
    {
      files: {
        ...auth({ domains: ["a"], type: "basic", credentials }),
        "local/auth.d/y.json": v1("auth", { domains: ["a"], type: "basic", credentials }),
      },
      message: /\/y\.json: domains\[0\]: is given in .*\/x\.json too/,
    },
    { files: { "user/paths.d/x.json": v1("paths", { data: "srv" }) }, message: /\/user\/paths\.d\/x\.json: data: / },
    {
      files: { "system/stage1.d/x.json": v1("stage1", { name: "example.com/stage1" }) },
      message: /\/system\/stage1\.d\/x\.json: version: is required beside a name/,
    },
  ];
  for (const { files, message } of cases) {
    const { config } = makeConfig(t, files);
    const { status, stdout, stderr } = config();
    assert.equal(status, 254, `${message} ${stdout} ${stderr}`);
    assert.match(stderr, message);
    assert.equal(stdout, "");
    assert.doesNotMatch(stderr, /s3cret/);
  }
});

test("credentials that everybody can read are warned of", (t) => {
  if (!requires(t, "build")) return;
  const { config, scratch } = makeConfig(t, {});
  const file = join(scratch, "local/auth.d/x.json");
  mkdirSync(dirname(file), { recursive: true });
  const content = v1("auth", { domains: ["a"], type: "oauth", credentials: { token: "t" } });
  writeFileSync(file, JSON.stringify(content), { mode: 0o644 });
  const { status, stderr } = config();
  assert.equal(status, 0);
  assert.match(stderr, /^rkt: warning: .*x\.json holds credentials, and everybody can read it: chmod o-r /m);
});

test("paths: the configured data directory, overridden by the user's and by --dir", (t) => {
  if (!requires(t, "build", "root")) return;
  const { bare, scratch } = makeConfig(t, {});
  const data = join(scratch, "configured");
  const write = (layer: string, path: string) => {
    mkdirSync(join(scratch, layer, "paths.d"), { recursive: true });
    writeFileSync(join(scratch, layer, "paths.d/paths.json"), JSON.stringify(v1("paths", { data: path })));
  };
  const effective = (...args: string[]) => JSON.parse(bare(...args, "config").stdout).stage0[0].data;
  write("local", data);
  assert.equal(effective(), data);
  const fetched = bare("fetch", exampleAci("busybox"));
  assert.equal(fetched.status, 0, fetched.stderr);
  assert.ok(existsSync(join(data, "cas")));
  write("user", "/elsewhere");
  assert.equal(effective(), "/elsewhere");
  assert.equal(effective("--dir=/given"), "/given");

  writeFileSync(join(scratch, "user/paths.d/paths.json"), "{");
  assert.equal(bare("list").status, 254);
  assert.equal(bare("list", "--help").status, 0);
});

test("stage1: the configured image is the one that is taken", (t) => {
  if (!requires(t, "build", "root")) return;
  const { dirs, fails, containers } = makeConfig(t, {
    "local/stage1.d/default.json": v1("stage1", { location: "/nowhere/stage1.aci" }),
  });
  fails([...dirs, "prepare", exampleAci("busybox")], 254, /\/nowhere\/stage1\.aci/);
  fails([...dirs, "prepare", "--stage1-path=/other.aci", exampleAci("busybox")], 254, /\/other\.aci/);
  assert.deepEqual(containers(), []);
});

test("the documentation's files are valid", (t) => {
  if (!requires(t, "build")) return;
  const text = readFileSync(join(import.meta.dirname, "../../docs/operate/configuration.md"), "utf8");
  const examples = [...text.matchAll(/^`\/etc\/rkt\/(\S+)`\n\n```json\n([\s\S]*?)^```$/gm)];
  assert.equal(examples.length, 6);
  const files = Object.fromEntries(examples.map(([, path, json]) => [`local/${path}`, json]));
  const { config } = makeConfig(t, files);
  const { status, stdout, stderr } = config();
  assert.equal(status, 0, stderr);
  const kinds = JSON.parse(stdout).stage0.map((entry: { rktKind: string }) => entry.rktKind);
  assert.deepEqual([...new Set(kinds)], ["auth", "dockerAuth", "paths", "stage1"]);
});
