/** docs/extend/layout.md says all that is in a container directory, and nothing that isn't. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as annotations from "../../shared/contract/annotations.ts";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { dataLayout } from "../../shared/contract/data-directory.ts";
import { STAGE1 } from "../../shared/contract/stage1-root.ts";
import { exampleAci, makeRkt, requires } from "../helpers/rkt.ts";

const document = readFileSync(join(import.meta.dirname, "../../docs/extend/layout.md"), "utf8");

/** The text of a section, without those below it. */
function section(title: string): string {
  const text = document.split(/^## /m).find((one) => one.startsWith(`${title}\n`));
  assert.ok(text !== undefined, `layout.md has a section "${title}"`);
  return text;
}

/** The first cells of a section's tables. */
const rows = (title: string): string[] =>
  [...section(title).matchAll(/^\| `([^|]*)` +\|/gm)].map(([, cell = ""]) => cell);

/** A pattern of the page as a regular expression: `<app>` is any one name, `{a,b}` one of the words, `/` at the end a directory. */
function pattern(path: string): RegExp {
  const source = path
    .replace(/\/$/, "")
    .replace(/[.*+?^$()|[\]\\]/g, "\\$&")
    .replace(/\{([^}]*)\}/g, (_, words: string) => `(?:${words.replaceAll(",", "|")})`)
    .replace(/sha512-<32 hex>/g, "sha512-[0-9a-f]{32}(?:-\\d+)?")
    .replace(/<[^>]*>/g, "[^/]+");
  return new RegExp(`^${source}$`);
}

/** What the rows of "Container directory" name; "`a`, `….1`" are two. */
const documented = rows("Container directory").flatMap((cell) => {
  const [first = "", ...others] = cell.split("`, `");
  return [first, ...others.map((other) => other.replace("…", first))];
});

/** Each path that the contract names, with stand-ins for what it is asked for. */
function contractPaths(): string[] {
  const layout = containerLayout("DIR");
  const dir = `sha512-${"0".repeat(32)}`;
  const paths = [
    ...[layout.manifest, layout.stage1Manifest, layout.stage1Rootfs, layout.app(dir), layout.trees, layout.upper("stage1")],
    ...[layout.work("stage1"), layout.appStatus("app"), layout.ready, layout.emptyVolume("data"), layout.net, layout.pid],
    ...[layout.appLog("app", "stdout"), layout.appLog("app", "stderr"), layout.layer(3), layout.cgroups, layout.users, layout.userNamespace],
  ];
  return paths.map((path) => path.slice("DIR/".length));
}

test("layout.md names each path of the contract, and the contract each path of layout.md", () => {
  const patterns = documented.map(pattern);
  for (const path of contractPaths())
    assert.ok(patterns.some((one) => one.test(path)), `layout.md does not name ${path}`);
  for (const [i, one] of patterns.entries()) {
    // The file before of a log has its name from the writer of logs.
    if (documented[i]?.endsWith(".1") === true) continue;
    assert.ok(contractPaths().some((path) => one.test(path)), `the contract does not know ${documented[i]}`);
  }
});

test("layout.md names each annotation of the container manifest, and no other", () => {
  const { ANNOTATIONS, RESERVED_ANNOTATIONS, INTERFACE_VERSION_ANNOTATION, ENTRYPOINTS } = annotations;
  const ofApps = [
    annotations.NOTIFY_ANNOTATION,
    annotations.STOP_SIGNAL_ANNOTATION,
    annotations.STOP_TIMEOUT_ANNOTATION,
    annotations.NUMERIC_IDS_ANNOTATION,
    annotations.EARLY_IMAGE_ANNOTATION,
    annotations.IMAGE_SHA256_ANNOTATION,
    annotations.PRE_START_TIMEOUT_ANNOTATION,
    annotations.ACCOUNT_ANNOTATION,
    annotations.MAKE_WORKING_DIRECTORY_ANNOTATION,
  ];
  const known = [...Object.values(ANNOTATIONS), ...ofApps, INTERFACE_VERSION_ANNOTATION, ENTRYPOINTS.init];
  for (const name of known)
    assert.ok(document.includes(`\`${name}\``), `layout.md does not name ${name}`);
  const named = [...document.matchAll(/`(coreos\.com\/rocket\/[a-z0-9/-]+|appc\.io\/[a-z0-9/-]+)`/g)].map(([, name]) => name ?? "");
  for (const name of named.filter((one) => one !== RESERVED_ANNOTATIONS))
    assert.ok((known as string[]).includes(name), `the contract does not know ${name}`);
});

test("layout.md names the directories and files of the store", () => {
  const layout = dataLayout("DATA");
  const tree = section("Data directory");
  for (const path of [layout.blobs, layout.trees, layout.index, layout.tmp, layout.locks, layout.metadataService]) {
    const last = path.split("/").at(-1) ?? "";
    assert.ok(tree.includes(last), `layout.md does not name ${path}`);
  }
  assert.match(tree, /metadata\/activate\.sock/);
  assert.ok(layout.metadataActivation.endsWith("metadata/activate.sock"));
});

test("layout.md names the parts of /rkt in the stage1 root", () => {
  const text = section("From stage 1 to stage 2");
  const inRkt = Object.values(STAGE1)
    .map((path) => String(typeof path === "function" ? path("x", "stdout") : path))
    .filter((path) => path.startsWith("/rkt/"));
  assert.ok(inRkt.length > 5, "the contract has its names below /rkt");
  const missing = inRkt.map((path) => path.split("/")[2] ?? "").filter((name) => !text.includes(name));
  assert.deepEqual(missing, []);
});

test("a container directory has what layout.md says, and nothing else", (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const host = join(rkt.scratch, "host");
  mkdirSync(host);
  const uuidFile = join(rkt.scratch, "uuid");
  const script = "echo out; echo err >&2";
  rkt.ok([
    ...["run", "--insecure-options=image", "--net", "--private-users", `--uuid-file-save=${uuidFile}`],
    ...[`--volume=host,kind=host,source=${host}`, "--volume=data,kind=empty"],
    ...["--mount=volume=host,target=/mnt/host", "--mount=volume=data,target=/mnt/data"],
    ...[exampleAci("busybox"), "--", "-c", script],
  ]);
  const uuid = readFileSync(uuidFile, "utf8").trim();
  const dir = join(rkt.dir, "containers/run", uuid);
  const patterns = documented.map(pattern);
  const parents = documented.map((path) => path.replace(/\/$/, "").split("/"));
  /** Whether the page says what is in a directory: then it is looked into. */
  const opened = (path: string): boolean =>
    parents.some((parts) => parts.length > path.split("/").length && pattern(parts.slice(0, path.split("/").length).join("/")).test(path));
  const unknown: string[] = [];
  const walk = (below: string): void => {
    for (const entry of readdirSync(join(dir, below), { withFileTypes: true })) {
      const path = below === "" ? entry.name : `${below}/${entry.name}`;
      const inner = entry.isDirectory() && opened(path);
      if (!inner && !patterns.some((one) => one.test(path))) unknown.push(path);
      // The stage1 root is an overlay mount of the container's own.
      if (inner && !path.startsWith("stage1/rootfs")) walk(path);
    }
  };
  walk("");
  assert.deepEqual(unknown, []);
  for (const name of ["container", "trees", "users", "cgroups", "status", "log", "net", "overlay", "volumes", "pid"])
    assert.ok(existsSync(join(dir, name)), `the container has ${name}`);
});
