/**
 * The specification's own conformance programs, built from their source as
 * Debian has it, in images of ours, by the command of the founding document.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { makeAci, manifest } from "../fixtures/aci.ts";
import { makeGpg } from "../fixtures/gpg.ts";
import { earlyImages } from "../fixtures/early-images.ts";
import { buildGo } from "../helpers/go.ts";
import { finished, makeRkt, requires, scratchFile } from "../helpers/rkt.ts";
import { startMetadataService } from "../helpers/metadata-service.ts";

const build = mkdtempSync(join(tmpdir(), "rkt-conformance-"));
test.after(() => rmSync(build, { recursive: true }));
const validator = join(build, "ace-validator");

before(() => buildGo("github.com/appc/spec/ace", validator));

const gpg = makeGpg();
const signer = gpg.newKey("Validator");

const program = () => ({ name: "rootfs/ace-validator", mode: 0o755, data: readFileSync(validator) });
const database = { name: "database", path: "/db" };

/** The images as the specification's build script has them: what the programs look for is in their source. */
function images(directory: string): { main: string; sidekick: string } {
  const main = join(directory, "ace-validator-main.aci");
  const mainManifest = manifest({
    name: "example.com/ace-validator-main",
    app: {
      exec: ["/ace-validator", "main"],
      user: "0",
      group: "0",
      workingDirectory: "/opt/acvalidator",
      environment: [{ name: "IN_ACE_VALIDATOR", value: "correct" }],
      eventHandlers: [
        { name: "pre-start", exec: ["/ace-validator", "prestart"] },
        { name: "post-stop", exec: ["/ace-validator", "poststop"] },
      ],
      mountPoints: [database],
      ports: [{ name: "www", protocol: "tcp", port: 80 }],
      isolators: [{ name: "resource/memory", value: { limit: "1G" } }],
    },
    annotations: [
      { name: "homepage", value: "https://example.com/spec" },
      { name: "lorem", value: "ipsum" },
    ],
  });
  writeFileSync(main, makeAci([directoryEntry("opt/acvalidator"), program()], mainManifest));
  const sidekick = join(directory, "ace-validator-sidekick.aci");
  const sidekickManifest = manifest({
    name: "example.com/ace-validator-sidekick",
    app: { exec: ["/ace-validator", "sidekick"], user: "0", group: "0", mountPoints: [database] },
  });
  writeFileSync(sidekick, makeAci([program()], sidekickManifest));
  for (const image of [main, sidekick]) {
    const checked = spawnSync("actool", ["validate", image], { encoding: "utf8" });
    assert.equal(checked.status, 0, checked.stderr);
    writeFileSync(`${image}.asc`, gpg.sign(readFileSync(image), [signer]));
  }
  return { main, sidekick };
}

const directoryEntry = (path: string) => ({ name: `rootfs/${path}`, type: "5" });

for (const [spelling, ...options] of [
  ["database,kind=host,source="],
  ["database:"],
  ["bind:"],
  ["database,idmap=true,kind=host,source=", "--private-users"],
])
  test(`the validators of 0.8.11 pass, volume by ${[spelling, ...options].join(", ")}`, async (t) => {
    if (!requires(t, "root", "build", "overlay")) return;
    const rkt = makeRkt(t);
    const { main, sidekick } = images(rkt.scratch);
    await startMetadataService(t, rkt);
    const db = join(rkt.scratch, "db");
    mkdirSync(db);
    const key = scratchFile(rkt, "key.asc", gpg.export(signer));
    const config = `--local-config=${join(rkt.scratch, "config")}`;
    const run = ["run", ...options, config, "-volume", `${spelling}${db}`, main, sidekick];
    rkt.fails(run, 254, /no key .*is trusted|rkt trust/);
    rkt.ok(["trust", config, "--prefix=example.com/ace-validator-main", "--skip-fingerprint-review", key]);
    rkt.ok(["trust", config, "--prefix=example.com/ace-validator-sidekick", "--skip-fingerprint-review", key]);
    const { status, stdout, stderr } = rkt.run(run);
    assert.equal(status, 0, `${stdout}${stderr}`);
    assert.deepEqual(stdout.split("\n").sort(), ["", "main OK", "poststop OK", "prestart OK", "sidekick OK"]);
    const verified = "rkt: signature verified:\n  Validator <Validator@example.com>\n";
    assert.equal(stderr, verified.repeat(2));
  });

for (const version of ["0.3.0", "0.4.0"] as const)
  test(`what an app of ${version} was promised, in signed images of that time`, async (t) => {
    if (!requires(t, "root", "build", "overlay")) return;
    const rkt = makeRkt(t);
    const images = earlyImages(rkt.scratch, version);
    for (const image of images) writeFileSync(`${image}.asc`, gpg.sign(readFileSync(image), [signer]));
    await startMetadataService(t, rkt);
    const key = scratchFile(rkt, "key.asc", gpg.export(signer));
    const config = `--local-config=${join(rkt.scratch, "config")}`;
    rkt.ok(["trust", config, "--root", "--skip-fingerprint-review", key]);
    const db = join(rkt.scratch, "db");
    mkdirSync(db);
    const { status, stdout, stderr } = rkt.run(["run", config, "-volume", `database:${db}`, ...images]);
    assert.equal(status, 0, `${stdout}${stderr}`);
    assert.deepEqual(stdout.split("\n").sort(), ["", "main OK", "poststop OK", "prestart OK", "sidekick OK"]);
  });

test("a service that is about to start is waited for", async (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const { main, sidekick } = images(rkt.scratch);
  const db = join(rkt.scratch, "db");
  mkdirSync(db);
  const run = ["run", "--mds-register", "--insecure-options=image", "-volume", `database:${db}`, main, sidekick];
  const container = finished(rkt.start(run));
  await startMetadataService(t, rkt);
  const { status, stdout, stderr } = await container;
  assert.equal(status, 0, `${stdout}${stderr}`);
});

test("without the metadata service they say so", async (t) => {
  if (!requires(t, "root", "build", "overlay")) return;
  const rkt = makeRkt(t);
  const { main, sidekick } = images(rkt.scratch);
  const db = join(rkt.scratch, "db");
  mkdirSync(db);
  const argv = ["run", "--insecure-options=image", "--volume", `database:${db}`, main, sidekick];
  const { status, stdout, stderr } = await finished(rkt.start(argv));
  assert.equal(status, 1);
  assert.match(stdout, /^main FAIL$/m);
  assert.match(stderr, /^==> AC_METADATA_URL is not set$/m);
});
