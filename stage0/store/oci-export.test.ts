/** OCI images out of the store, judged by skopeo, podman, umoci and actool. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { dir, file, hard, symlink } from "../../test/fixtures/oci-images.ts";
import { bring, type OciImage, ociImage, ociManifest, readLayout, sha256, treeFacts, umociUnpack } from "../../test/helpers/oci.ts";
import { scratch } from "../../test/helpers/scratch.ts";
import { type ExportOptions, exportImage } from "./export-image.ts";
import { openStore, type Store, type StoredImage } from "./store.ts";

/** What skopeo's transport "dir" writes. */
function readDirectory(path: string): OciImage {
  const blob = (digest: string) => readFileSync(join(path, digest.slice("sha256:".length)));
  const manifest = readFileSync(join(path, "manifest.json"));
  type Named = { mediaType: string; digest: string };
  const { config, layers } = JSON.parse(manifest.toString()) as { config: Named; layers: Named[] };
  return { manifest, config: blob(config.digest), layers: layers.map((one) => ({ ...one, bytes: blob(one.digest) })) };
}

const run = (program: string, ...args: string[]): string => {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
  assert.equal(status, 0, `${program} ${args.join(" ")}\n${stderr}`);
  return stdout;
};

const image = (): OciImage =>
  ociImage(
    [
      [dir("bin"), file("bin/sh", "x", { mode: 0o4755 }), hard("bin/ash", "bin/sh"), dir("var", { uid: 5, mode: 0o711 }), file("var/old"), symlink("l", "bin")],
      [file("var/.wh.old", ""), file("var/new", "new", { pax: { "SCHILY.xattr.user.x": "y" } })],
      [],
    ],
    { compressions: ["gzip", "none"], config: { Cmd: ["/bin/sh"] }, over: { created: "2020-01-01T00:00:00Z" } },
  );

const out = (store: Store, data: string, stored: StoredImage, path: string, options: Partial<ExportOptions>) =>
  exportImage(data, stored, store, path, { format: "aci", compress: false, overwrite: false, ...options });

const inspect = (reference: string): { Digest: string; Layers: string[] } => JSON.parse(run("skopeo", "inspect", reference));

// For skopeo an OCI layout's reference is never of Docker's manifest; without one, the only manifest is meant.
for (const [name, made, reference] of [
  ["an OCI image", image(), ":1"],
  ["a Docker image", dockerOf(image()), ""],
] as const)
  test(`${name} goes out as an OCI archive with its digests`, async (t) => {
    const { store, data, dir: base } = scratch(t, openStore);
    const stored = await bring(store, made, "docker.io/library/test");
    const path = join(base, "out.tar");
    await out(store, data, stored, path, { format: "oci-archive" });
    const found = inspect(`oci-archive:${path}${reference}`);
    assert.equal(found.Digest, sha256(made.manifest));
    assert.deepEqual(found.Layers, made.layers.map(({ digest }) => digest));
    const layout = join(base, "layout");
    run("skopeo", "copy", "--quiet", "--preserve-digests", `oci-archive:${path}${reference}`, `dir:${layout}`);
    const again = readDirectory(layout);
    assert.deepEqual([again.manifest, again.config], [made.manifest, made.config]);
    const other = openStore(join(base, "other"));
    t.after(() => other.close());
    assert.equal((await bring(other, again, "docker.io/library/test")).id, stored.id);
    const twice = join(base, "twice.tar");
    await out(store, data, stored, twice, { format: "oci-archive" });
    assert.ok(readFileSync(path).equals(readFileSync(twice)));
  });

/** The same with Docker's media types. */
function dockerOf({ config, layers }: OciImage): OciImage {
  const docker = layers.map((layer) => ({ ...layer, mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip" }));
  const manifest = ociManifest(config, docker, { mediaType: "application/vnd.docker.distribution.manifest.v2+json" });
  return {
    manifest: Buffer.from(
      manifest.toString().replace("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"),
    ),
    config,
    layers: docker,
  };
}

test("an image goes out as Docker's archive, with its configuration", async (t) => {
  const { store, data, dir: base } = scratch(t, openStore);
  const made = image();
  const stored = await bring(store, made, "docker.io/library/test");
  const path = join(base, "out.tar");
  await out(store, data, stored, path, { format: "docker-archive" });
  const storage = ["--root", join(base, "storage"), "--runroot", join(base, "run"), "--storage-driver", "vfs"];
  run("podman", ...storage, "load", "--quiet", "--input", path);
  const [loaded] = JSON.parse(run("podman", ...storage, "image", "inspect", "docker.io/library/test:1")) as { Id: string }[];
  assert.equal(`sha256:${loaded?.Id}`, sha256(made.config));
  const layout = join(base, "layout");
  run("skopeo", "copy", "--quiet", `docker-archive:${path}`, `oci:${layout}:copied`);
  assert.deepEqual(readLayout(layout, "copied").config.toString().match(/sha256:[0-9a-f]{64}/g), made.config.toString().match(/sha256:[0-9a-f]{64}/g));
});

test("an image goes out squashed to an App Container image", async (t) => {
  const { store, data, dir: base } = scratch(t, openStore);
  const made = image();
  const stored = await bring(store, made, "docker.io/library/test");
  const [first, second] = [join(base, "a.aci"), join(base, "b.aci")];
  await out(store, data, stored, first, {});
  run("actool", "validate", first);
  const unpacked = join(base, "unpacked");
  mkdirSync(unpacked);
  run("tar", "-C", unpacked, "--xattrs", "--xattrs-include=*", "-xpf", first);
  const { writeLayout } = await import("../../test/helpers/oci.ts");
  writeLayout(join(base, "layout"), made);
  assert.equal(treeFacts(join(unpacked, "rootfs")), treeFacts(umociUnpack(join(base, "layout"), join(base, "bundle"))));

  const other = openStore(join(base, "other"));
  t.after(() => other.close());
  const elsewhere = await bring(other, made, "docker.io/library/test");
  await out(other, join(base, "other"), elsewhere, second, {});
  assert.ok(readFileSync(first).equals(readFileSync(second)));
  const imported = await other.importFile(first);
  assert.equal(imported.digest, undefined);
  assert.deepEqual(other.manifest(imported.key).app, other.manifest(elsewhere.key).app);
});

test("nothing is written of an image with a damaged layer, or of another kind", async (t) => {
  const { store, data, dir: base, file: write } = scratch(t, openStore);
  const made = image();
  const stored = await bring(store, made, "docker.io/library/test");
  const { dataLayout } = await import("../../shared/contract/data-directory.ts");
  const { writeFileSync } = await import("node:fs");
  const blob = dataLayout(data).layerBlob(made.layers[0]?.digest ?? "");
  const bytes = readFileSync(blob);
  bytes[20] = (bytes[20] ?? 0) ^ 1;
  writeFileSync(blob, bytes);
  const target = join(base, "out");
  mkdirSync(target);
  for (const format of ["oci-archive", "docker-archive"] as const)
    await assert.rejects(out(store, data, stored, join(target, "file"), { format }), /is damaged/);
  const { makeAci } = await import("../../test/fixtures/aci.ts");
  const aci = await store.importFile(write("plain.aci", makeAci()));
  await assert.rejects(out(store, data, aci, join(target, "file"), { format: "oci-archive" }), /is an App Container image/);
  assert.ok(existsSync(target));
  assert.deepEqual(readdirSync(target), []);
});
