/** docs/extend/stage1-guide.md says what shared/contract/ does, all of it and nothing else; its example runs. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  ANNOTATIONS,
  EARLY_IMAGE_ANNOTATION,
  IMAGE_SHA256_ANNOTATION,
  ENTRYPOINTS,
  INTERFACE_VERSION_ANNOTATION,
  LATER_ENTRYPOINTS,
  NOTIFY_ANNOTATION,
  NUMERIC_IDS_ANNOTATION,
  IPC_SUPPORT,
  PRIVATE_USERS_SUPPORT,
  SOCKETS_SUPPORT,
  PROTECTIONS,
  STOP_SIGNAL_ANNOTATION,
  STOP_TIMEOUT_ANNOTATION,
} from "../../shared/contract/annotations.ts";
import { DEFAULT_STAGE1_IMAGE, STAGE1_IMAGE_DIRS } from "../../shared/contract/configuration.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { ENV_LOCK_FD, ENV_STOP_TIME, ENV_USERS_FD } from "../../shared/contract/environment.ts";
import { LAYOUT_VERSION, STAGE1_INTERFACE_VERSION } from "../../shared/contract/versions.ts";
import { exampleAci, makeRkt, requires } from "../helpers/rkt.ts";

const root = join(import.meta.dirname, "../..");
const guide = readFileSync(join(root, "docs/extend/stage1-guide.md"), "utf8");
/** What stands between backquotes, outside of blocks. */
const spans = [...guide.replace(/^```[\s\S]*?^```$/gm, "").matchAll(/`([^`\n]+)`/g)].map(([, text = ""]) => text);

const here = containerLayout(".");
const paths = Object.entries(here)
  // Not below the directory, but the directory; and a function of paths that are the image's own.
  .filter(([name]) => name !== "dir" && name !== "inStage1")
  .flatMap(([name, path]): string[] => {
    if (typeof path === "string") return [path];
    if (name === "appLog") return [here.appLog("<app>", "stdout"), here.appLog("<app>", "stderr")];
    if (name === "upper" || name === "work") return [];
    const argument = name === "appStatus" ? "<app>" : name === "emptyVolume" ? "<name>" : name === "layer" ? "<n>" : "<dir>";
    return [(path as (of: string) => string)(argument)];
  })
  .map((path) => path.replace(/^\.\//, ""));

const annotations = [
  ...Object.values(ENTRYPOINTS),
  ...Object.values(LATER_ENTRYPOINTS),
  INTERFACE_VERSION_ANNOTATION,
  IPC_SUPPORT,
  PRIVATE_USERS_SUPPORT,
  SOCKETS_SUPPORT,
  ...Object.values(ANNOTATIONS),
  EARLY_IMAGE_ANNOTATION,
  IMAGE_SHA256_ANNOTATION,
  NUMERIC_IDS_ANNOTATION,
];

test("every name of the contract is in the guide", () => {
  const named = new Set(spans);
  const missing = [
    ...annotations,
    ...paths,
    ENV_LOCK_FD,
    ENV_USERS_FD,
    ENV_STOP_TIME,
    NOTIFY_ANNOTATION,
    STOP_SIGNAL_ANNOTATION,
    STOP_TIMEOUT_ANNOTATION,
    ...PROTECTIONS,
    DEFAULT_STAGE1_IMAGE,
  ].filter((name) => !named.has(name));
  assert.deepEqual(missing, []);
  for (const dir of STAGE1_IMAGE_DIRS.slice(0, 1)) assert.ok(named.has(dir), dir);
});

test("every annotation, variable and path in the guide is one of the contract", () => {
  assert.deepEqual(
    spans.filter((text) => text.startsWith("coreos.com/") && !annotations.some((key) => key === text)),
    [],
  );
  assert.deepEqual(
    [...guide.matchAll(/\bRKT_[A-Z_]+/g)]
      .map(([name]) => name)
      .filter((name) => ![ENV_LOCK_FD, ENV_USERS_FD, ENV_STOP_TIME].some((known) => known === name)),
    [],
  );
  const first = new Set(paths.map((path) => path.split("/", 1)[0]));
  const rotated = [here.appLog("<app>", "stdout"), here.appLog("<app>", "stderr")].map((path) => `${path.slice(2)}.1`);
  // What is executed from the image's root is the image's own affair.
  const own = (text: string) => !/^stage1\/rootfs\/(usr|bin|lib)/.test(text);
  const pathLike = spans.filter((text) => /^[a-z0-9]+\/[^ ]*$/.test(text) && first.has(text.split("/", 1)[0] ?? ""));
  assert.deepEqual(
    pathLike.filter(own).filter((text) => !paths.includes(text) && !rotated.includes(text)),
    [],
  );
  assert.ok(pathLike.length > 10);
});

test("the guide is about the versions that rkt speaks", () => {
  assert.match(guide, new RegExp(`\\*\\*interface version ${STAGE1_INTERFACE_VERSION}\\*\\*`));
  assert.match(guide, new RegExp(`\\| \`coreos.com/rocket/layout-version\` +\\| \`${LAYOUT_VERSION}\` `));
  assert.match(guide, new RegExp(`^\\| ${STAGE1_INTERFACE_VERSION} +\\| [\\d.]+ +\\|`, "m"));
});

test("every option that chooses a stage1 is in the guide, and no other", () => {
  const help = spawnSync(join(root, "dist/rkt"), ["run", "--help"], { encoding: "utf8" }).stdout;
  const options = (text: string) =>
    [...new Set([...text.matchAll(/--stage1-[a-z-]+/g)].map(([option]) => option))].sort();
  assert.deepEqual(options(guide), options(help));
});

test("the guide's first stage1 is made and run as it says", (t) => {
  if (!requires(t, "root", "build", "jq")) return;
  const rkt = makeRkt(t);
  const [, script] = /^```sh\n([\s\S]*?)^```$/m.exec(guide) ?? [];
  assert.ok(script !== undefined);
  const made = spawnSync("sh", ["-e"], { cwd: rkt.scratch, input: script, encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  const stage1 = `--stage1-image=${join(rkt.scratch, "my-stage1.aci")}`;
  const done = rkt.run(["run", stage1, exampleAci("busybox"), "--exec=/bin/sh", "--", "-c", "echo it runs; exit 5"]);
  assert.deepEqual([done.stdout, done.status], ["it runs\n", 5], done.stderr);
  const [uuid = ""] = rkt.containers().map((name) => name.replace("run/", ""));
  const status = rkt.ok(["status", uuid]);
  assert.match(status.stdout, /^stage1=example\.com\/my-stage1$[\s\S]*^app-busybox=5$/m);
  assert.equal(status.stderr, "");
});
