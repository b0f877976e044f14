/** Which image of the store a name stands for: never one that nobody vouches for, in the place of one that was signed. */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { containerLayout } from "../../shared/contract/container-directory.ts";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { makeGpg } from "../fixtures/gpg.ts";
import { exampleAci, makeRkt, requires, type Result, scratchFile } from "../helpers/rkt.ts";

const gpg = makeGpg();
const publisher = gpg.newKey("publisher");
const DB = "example.com/db";
const NEVER = "--pull-policy=never";

const called =
  (wanted: string) =>
  ({ name }: { name: string }) =>
    name === wanted;

/** An rkt that trusts the publisher for all images. */
function site(t: TestContext) {
  const rkt = makeRkt(t);
  const config = join(rkt.scratch, "config");
  const words = (args: readonly string[]) => [`--local-config=${config}`, ...args];
  rkt.ok(words(["trust", "--root", "--skip-fingerprint-review", scratchFile(rkt, "key.asc", gpg.export(publisher))]));
  const ok = (...args: string[]): Result => rkt.ok(words(args));
  return {
    rkt,
    config,
    ok,
    fails: (message: RegExp, ...args: string[]) => rkt.fails(words(args), 254, message),
    image(name: string, what: string, { signed = false, over = {} } = {}): string {
      const aci = makeAci(
        [
          { name: "rootfs/what", data: what },
          { name: "rootfs/bin/true", mode: 0o755 },
        ],
        manifest({ name, ...over }),
      );
      const path = scratchFile(rkt, `${what}.aci`, aci);
      if (signed) writeFileSync(`${path}.asc`, gpg.sign(aci, [publisher]));
      return path;
    },
    /** Hash of the image that a container is prepared with. */
    prepared(...args: string[]): string {
      const uuid = ok("prepare", ...args).stdout.trim();
      return JSON.parse(ok("cat-manifest", uuid).stdout).apps[0].image.id.slice(0, 39);
    },
    /** Hash of the stage1 image that it would run on. */
    stage1(...args: string[]): string {
      const { trees } = containerLayout(join(rkt.dir, "containers/prepared", ok("prepare", ...args).stdout.trim()));
      return JSON.parse(readFileSync(trees, "utf8")).stage1.image.slice(0, 39);
    },
  };
}

test("a stranger's file that was run once does not take the place of the publisher's image", (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  const { image, ok, prepared, fails } = site(t);
  const stranger = prepared(image(DB, "stranger"));
  const hint = new RegExp(
    `image ${DB} is not in the store\\nhint: ${stranger} has that name, but no trusted key.*=image`,
  );
  for (const command of ["fetch", "run", "prepare"]) fails(hint, command, NEVER, DB);
  assert.equal(prepared(stranger), stranger, "by its hash");
  assert.equal(prepared(NEVER, "--insecure-options=image", DB), stranger);

  const good = ok("fetch", image(DB, "good", { signed: true })).stdout.trim();
  for (const later of [image(DB, "later"), image(DB, "stranger")]) {
    prepared(later);
    ok("--insecure-options=image", "fetch", later);
    assert.equal(prepared(DB), good);
    assert.equal(prepared("--insecure-options=image", DB), good);
    assert.equal(ok("fetch", NEVER, DB).stdout.trim(), good);
  }
  assert.equal(JSON.parse(ok("image", "cat-manifest", DB).stdout).name, DB);
});

test("a file that the operator fetched counts for its name, until a signed image is there", (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  const { rkt, image, ok, prepared, fails } = site(t);
  const own = image(DB, "own");
  prepared(own);
  fails(/no trusted key/, "prepare", NEVER, DB);
  const given = ok("fetch", own).stdout.trim();
  assert.equal(prepared(DB), given);
  const provenance = () => JSON.parse(ok("image", "list", "--format=json").stdout).find(called(DB)).provenance;
  assert.equal(provenance(), "given");
  const good = ok("fetch", image(DB, "good", { signed: true })).stdout.trim();
  assert.equal(prepared(DB), good);

  for (const suffix of ["", "-wal", "-shm"]) rmSync(join(rkt.dir, `cas/index.sqlite${suffix}`), { force: true });
  assert.equal(provenance(), "none");
  fails(/no trusted key/, "prepare", NEVER, DB);
  ok("fetch", join(rkt.scratch, "good.aci"));
  assert.equal(prepared(DB), good);
});

test("a dependency by name is no stranger's; by its ID it is what was meant", (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  const { image, ok, prepared, fails } = site(t);
  prepared(image(DB, "stranger"));
  const { id } = JSON.parse(ok("image", "list", "--format=json").stdout).find(
    (one: { name: string }) => one.name === DB,
  );
  const top = image("example.com/top", "top", { over: { dependencies: [{ imageName: DB }] } });
  fails(/dependency of image example\.com\/top: .*\nhint: sha512-.* has that name/, "prepare", NEVER, top);
  prepared("--insecure-options=image", NEVER, top);
  prepared(NEVER, image("example.com/pinned", "pinned", { over: { dependencies: [{ imageName: DB, imageID: id }] } }));
  ok("fetch", image(DB, "good", { signed: true }));
  const hash = prepared(NEVER, top);
  ok("image", "render", "--rootfs-only", hash, "out");
});

test("a stage1 by name is a signed one, whatever is turned off for apps", (t) => {
  if (!requires(t, "root", "build", "gpg")) return;
  const { config, image, ok, stage1, fails } = site(t);
  const annotations = [{ name: "coreos.com/rocket/stage1/init", value: "/what" }];
  const name = "example.com/stage1";
  ok("fetch", image(name, "app", { over: { annotations } }));
  const app = exampleAci("busybox");
  const hint =
    /image example\.com\/stage1\S* is not in the store\nhint: sha512-\w{32} has that name.*: give its hash or its file\n/;
  for (const off of [[], ["--insecure-options=image"]])
    fails(hint, "prepare", ...off, NEVER, `--stage1-name=${name}`, app);

  const labels = [{ name: "version", value: "1" }];
  const location = image(name, "location", { over: { annotations, labels } });
  mkdirSync(join(config, "stage1.d"), { recursive: true });
  const configured = { rktKind: "stage1", rktVersion: "v1", name, version: "1", location };
  writeFileSync(join(config, "stage1.d/x.json"), JSON.stringify(configured));
  ok("fetch", image(name, "configured", { over: { annotations, labels } }));
  assert.equal(stage1(app), stage1(`--stage1-path=${location}`, app), "from its location");

  const signed = ok("fetch", image(name, "signed", { signed: true, over: { annotations } })).stdout.trim();
  assert.equal(stage1(NEVER, `--stage1-name=${name}`, app), signed);

  const on = { annotations, dependencies: [{ imageName: DB }] };
  ok("fetch", image(DB, "file"));
  for (const off of [[], ["--insecure-options=image"]])
    fails(
      /has that name/,
      "prepare",
      ...off,
      NEVER,
      `--stage1-path=${image("example.com/s2", "s2", { over: on })}`,
      app,
    );
});
